# The standby still hears the primary: mainstay is the one that is cut off.
pool by_role newest automatic=required
at 0ms a ok primary tl=1 at=1000
  a health unknown -> up cause=probe (ok)
  a role unknown -> primary
  a unknown -> eligible
at 1ms b ok standby tl=1 at=1000 hears
  b health unknown -> up cause=probe (ok)
  b role unknown -> standby
  b unknown -> standby
  verdict settling -> switch
  activate a epoch=1 cause=startup
  pace a normal
  pace b normal
at 1s a connect_timeout
  pace a fast
at 2s a connect_timeout
  a health up -> down cause=probe (connect_timeout)
  a role primary -> unknown
  a eligible -> down
  verdict keep -> no_eligible
  revoke a epoch=1 abort cause=down
  pace a urgent
  pace b urgent
expect active nobody
at 3s b ok standby tl=1 at=1100 hears
at 60s nothing
expect operation none
expect active nobody
