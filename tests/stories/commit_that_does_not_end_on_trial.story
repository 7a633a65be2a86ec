# After a switchover on trial, a commit on the new active backend does not end: mainstay goes back. One on the old one does not count.
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
expect active b
expect trial yes
at 3s a ok standby tl=2 at=1200 hears
at 3001ms b ok primary tl=2 at=1200
at 3002ms b ok primary tl=2 at=1200
at 4s cannot_commit a a full disk
expect trial yes
at 5s cannot_commit b a commit has not ended for 9 s
  suspend epoch=2
  trial failed (a commit has not ended for 9 s)
  trial ends: went_back
  switchover gate: b -> a
expect trial no
expect operation gate
expect active b
