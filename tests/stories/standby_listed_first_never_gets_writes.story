# The list order chooses nobody when the check knows roles.
pool by_role newest
at 0ms a ok standby tl=1
  a health unknown -> up cause=probe (ok)
  a role unknown -> standby
  a unknown -> standby
at 1ms b ok primary tl=1
  b health unknown -> up cause=probe (ok)
  b role unknown -> primary
  b unknown -> eligible
  verdict settling -> switch
  activate b epoch=1 cause=startup
  pace a normal
  pace b normal
expect active b
at 1s b timeout
  pace b fast
at 2s b timeout
  b health up -> down cause=probe (timeout)
  b role primary -> unknown
  b eligible -> down
  verdict keep -> no_eligible
  revoke b epoch=1 abort cause=down
  pace a urgent
  pace b urgent
expect active nobody
expect a=standby
at 1m nothing
expect active nobody
