# Another order ends a trial; so does the loss of the new one.
pool by_order
at 0ms a ok
  a health unknown -> up cause=probe (ok)
  a unknown -> eligible
at 1ms b ok
  b health unknown -> up cause=probe (ok)
  b unknown -> eligible
  verdict settling -> switch
  activate a epoch=1 cause=startup
  pace a normal
  pace b normal
at 1s switchover b trial=5m
  suspend epoch=1
  switchover gate: a -> b
at 1001ms done gate
  switchover drain: a -> b
at 1002ms done drain
  verdict keep -> switch
  revoke a epoch=1 abort cause=command
  activate b epoch=2 cause=command
  switchover activate: a -> b
  ungate
  switchover done in activate: complete
  trial begins
expect trial yes
at 2s switchover a trial=5m
  suspend epoch=2
  switchover gate: b -> a
  trial ends: ordered
expect trial no
at 2001ms done gate
  switchover drain: b -> a
at 2002ms done drain
  verdict keep -> switch
  revoke b epoch=2 abort cause=command
  activate a epoch=3 cause=command
  switchover activate: b -> a
  ungate
  switchover done in activate: complete
  trial begins
expect trial yes
expect active a
at 3s maint b
  b admin ready -> maint
  b eligible -> maint
  trial ends: lost
expect trial no
at 4s ready b
  b admin maint -> ready
  b maint -> eligible
at 5s switchover b trial=5m
  suspend epoch=3
  switchover gate: a -> b
at 5001ms done gate
  switchover drain: a -> b
at 5002ms done drain
  verdict keep -> switch
  revoke a epoch=3 abort cause=command
  activate b epoch=4 cause=command
  switchover activate: a -> b
  ungate
  switchover done in activate: complete
  trial begins
expect trial yes
at 6s abort
  trial ends: ordered
expect trial no
at 7s switchover a trial=5m
  suspend epoch=4
  switchover gate: b -> a
at 7001ms done gate
  switchover drain: b -> a
at 7002ms done drain
  verdict keep -> switch
  revoke b epoch=4 abort cause=command
  activate a epoch=5 cause=command
  switchover activate: b -> a
  ungate
  switchover done in activate: complete
  trial begins
expect active a
# It dies: that is an ordinary failover, and nothing else.
at 8s a refused
  pace a fast
at 9s a refused
  a health up -> down cause=probe (refused)
  a eligible -> down
  verdict keep -> switch
  revoke a epoch=5 abort cause=down
  activate b epoch=6 cause=down
  trial ends: lost
  pace a normal
expect trial no
expect active b
expect operation none
