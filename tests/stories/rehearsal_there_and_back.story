# A rehearsal goes back as soon as that loses nothing; clients are served in between.
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
at 1s switchover b promoter demote return=1m
  suspend epoch=1
  switchover gate: a -> b
at 1001ms done gate
  switchover drain: a -> b
at 1002ms done drain
  switchover demote: a -> b
  pace a urgent
  pace b urgent
at 1003ms a refused
at 1004ms a refused
  a health up -> down cause=probe (refused)
  a role primary -> unknown
  a eligible -> down
  verdict keep -> no_eligible
  revoke a epoch=1 abort cause=command
at 1005ms done demote
  probe a now
  switchover promote: a -> b
at 1006ms b ok primary tl=2 at=1100
  b role standby -> primary
  b standby -> eligible
  verdict no_eligible -> switch
  activate b epoch=2 cause=command
  ungate
  switchover done in promote: complete
  trial begins
  pace a normal
  pace b normal
expect active b
expect suspended no
expect operation none
at 2s a starting
  pace a fast
at 3s a ok standby tl=1 at=1000 deaf
  [2.006s tick] trial waits: not_eligible
  a role unknown -> standby
at 4s a ok standby tl=2 at=1100 hears
  a health down -> up cause=probe (ok)
  a down -> standby
  suspend epoch=2
  trial ends: went_back
  switchover gate: b -> a
  pace a normal
expect operation gate
at 4001ms done gate
  switchover drain: b -> a
at 4002ms done drain
  switchover demote: b -> a
  pace a urgent
  pace b urgent
at 4003ms b ok standby tl=2 at=1100
  b role primary -> standby
  b eligible -> standby
  verdict keep -> no_eligible
  revoke b epoch=2 abort cause=command
at 4004ms done demote
  probe b now
  switchover promote: b -> a
at 4005ms a ok primary tl=3 at=1200
  a role standby -> primary
  a standby -> eligible
  verdict no_eligible -> switch
  activate a epoch=3 cause=command
  ungate
  switchover done in promote: complete
  pace a normal
  pace b normal
expect active a
expect trial no
expect operation none
