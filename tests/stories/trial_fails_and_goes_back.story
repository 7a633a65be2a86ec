# Three signs of trouble within a minute, and the old primary follows: mainstay goes back, once.
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
at 2s a ok standby tl=2 at=1100 hears
at 3s b saturated
  b alert saturated (saturated)
at 4s passive b dial_failed
  probe b now
at 4001ms b ok primary tl=2 at=1200
  b alert ok (ok)
# The third; b is in doubt, and nothing begins before it has answered.
at 5s passive b standing_lost
  probe b now
  suspend epoch=2
  trial failed (the standing session was lost)
  trial waits: in_doubt
  pace b urgent
expect operation none
expect trial yes
at 5001ms b ok primary tl=2 at=1200
  resume epoch=2
  trial waits: lag
  pace b normal
expect operation none
# a has not got all that b had.
at 5002ms a ok standby tl=2 at=1200 hears
  suspend epoch=2
  trial ends: went_back
  switchover gate: b -> a
expect operation gate
expect trial no
at 5003ms done gate
  switchover drain: b -> a
at 5004ms done drain
  switchover demote: b -> a
  pace a urgent
  pace b urgent
at 5005ms b ok standby tl=2 at=1200
  b role primary -> standby
  b eligible -> standby
  verdict keep -> no_eligible
  revoke b epoch=2 abort cause=command
at 5006ms done demote
  probe b now
  switchover promote: b -> a
at 5007ms a ok primary tl=3 at=1300
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
# What follows is no trial.
at 6s b ok standby tl=3 at=1300 hears
at 7s a timeout
  pace a fast
at 8s a ok primary tl=3 at=1300
  pace a normal
at 9s a timeout
  pace a fast
at 10s a ok primary tl=3 at=1300
  pace a normal
at 11s a timeout
  pace a fast
at 12s a ok primary tl=3 at=1300
  pace a normal
at 30m nothing
expect active a
expect operation none
