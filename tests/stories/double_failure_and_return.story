# Everything is down for ten minutes, then the last one active comes back.
pool by_role newest
at 0ms a ok primary tl=1
  a health unknown -> up cause=probe (ok)
  a role unknown -> primary
  a unknown -> eligible
at 1ms b ok standby tl=1
  b health unknown -> up cause=probe (ok)
  b role unknown -> standby
  b unknown -> standby
  verdict settling -> switch
  activate a epoch=1 cause=startup
  pace a normal
  pace b normal
at 1s a refused
  pace a fast
at 2s a refused
  a health up -> down cause=probe (refused)
  a role primary -> unknown
  a eligible -> down
  verdict keep -> no_eligible
  revoke a epoch=1 abort cause=down
  pace a urgent
  pace b urgent
at 3s b refused
at 4s b refused
  b health up -> down cause=probe (refused)
  b role standby -> unknown
  b standby -> down
expect active nobody
at 10m a ok primary tl=1
  a role unknown -> primary
expect a=down
at 601s a ok primary tl=1
  a health down -> up cause=probe (ok)
  a down -> eligible
  verdict no_eligible -> switch
  activate a epoch=2 cause=down
  pace a normal
  pace b normal
expect active a
