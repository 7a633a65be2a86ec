# The old primary does not follow the new one: what was written since would be lost, so mainstay stays, and tells it.
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
at 2s a ok standby tl=2 at=1100 deaf
at 3s b timeout
  pace b fast
at 4s b ok primary tl=2 at=1200
  pace b normal
at 5s b timeout
  pace b fast
at 6s b ok primary tl=2 at=1300
  pace b normal
at 7s b timeout
  trial failed (timeout)
  trial waits: not_streaming
  pace b fast
at 8s b ok primary tl=2 at=1400
  pace b normal
# It does not say whether it follows: that is not enough.
at 9s a ok standby tl=2 at=1400
expect operation none
# It follows, and lacks something.
at 10s b ok primary tl=2 at=1500
at 11s a ok standby tl=2 at=1390 hears
  trial waits: lag
expect operation none
expect trial yes
at 10m nothing
  [301.005s tick] trial ends: stayed
expect trial no
expect active b
