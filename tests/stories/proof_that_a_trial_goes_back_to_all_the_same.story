# A rolling update: the old one was updated as well, and is in its soak when the new one fails. With `warn` its proofs keep nobody
# from going back, neither at the beginning nor in the middle.
pool by_role newest
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
at 1s switchover b promoter demote trial=5m
  suspend epoch=1
  switchover gate: a -> b
at 1001ms done gate
  switchover drain: a -> b
at 1002ms done drain
  switchover demote: a -> b
  pace a urgent
  pace b urgent
at 1003ms a ok standby tl=1 at=1000
  a role primary -> standby
  a eligible -> standby
  verdict keep -> no_eligible
  revoke a epoch=1 abort cause=command
at 1004ms done demote
  probe a now
  switchover promote: a -> b
at 1005ms b ok primary tl=2 at=1100
  b role standby -> primary
  b standby -> eligible
  verdict no_eligible -> switch
  activate b epoch=2 cause=command
  ungate
  switchover done in promote: complete
  trial begins
  pace a normal
  pace b normal
at 3s a ok standby tl=2 at=1200 hears
at 3001ms b ok primary tl=2 at=1200
at 3002ms b ok primary tl=2 at=1200
at 4s proof a unproven version
  a proof proven -> unproven (version)
at 4001ms proof a proving version
  a proof unproven -> proving (version)
at 5s proof b failed top
  b proof proven -> failed (top)
  suspend epoch=2
  trial failed (top)
  trial ends: went_back
  switchover gate: b -> a
expect trial no
expect operation gate
at 5001ms done gate
  switchover drain: b -> a
at 5002ms proof a failed smoke
  a proof proving -> failed (smoke)
at 5003ms nothing
expect operation drain
