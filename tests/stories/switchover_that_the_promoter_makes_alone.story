# A promoter that does both, as Patroni and Redis do: there is no demote step. The old primary is seen as a standby before the new one
# is a primary. That is no failover, and costs nothing of its budget.
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
at 1s switchover b promoter
  suspend epoch=1
  switchover gate: a -> b
at 1010ms done gate
  switchover drain: a -> b
at 1100ms done drain
  switchover promote: a -> b
  pace a urgent
  pace b urgent
expect operation promote
at 1200ms a ok standby tl=1 standing
  a role primary -> standby
  a eligible -> standby
  verdict keep -> no_eligible
  revoke a epoch=1 abort cause=command
expect active nobody
expect operation promote
at 1210ms b ok primary tl=2
  b role standby -> primary
  b standby -> eligible
  verdict no_eligible -> switch
  activate b epoch=2 cause=command
  ungate
  switchover done in promote: complete
  pace a normal
  pace b normal
expect active b
expect operation none
at 1300ms done promote
expect active b
