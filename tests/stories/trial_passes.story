# After a switchover on trial: two signs of trouble in a minute, and two in another one, are not three.
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
at 2s a ok standby tl=2 at=1100 hears
at 10s b timeout
  pace b fast
at 11s b ok primary tl=2 at=1100
  pace b normal
at 12s b timeout
  pace b fast
at 13s b ok primary tl=2 at=1100
  pace b normal
at 71s b timeout
  pace b fast
at 72s b ok primary tl=2 at=1100
  pace b normal
expect trial yes
at 10m nothing
  [301.005s tick] trial ends: passed
expect trial no
expect active b
