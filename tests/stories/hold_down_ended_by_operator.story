# The budget binds automation, never the operator.
pool by_order rise=1 fall=1 budget=1/10m
at 0s a ok
  a health unknown -> up cause=probe (ok)
  a unknown -> eligible
at 0s b ok
  b health unknown -> up cause=probe (ok)
  b unknown -> eligible
  verdict settling -> switch
  activate a epoch=1 cause=startup
  pace a normal
  pace b normal
at 10s a refused
  a health up -> down cause=probe (refused)
  a eligible -> down
  verdict keep -> switch
  revoke a epoch=1 abort cause=down
  activate b epoch=2 cause=down
at 20s a ok
  a health down -> up cause=probe (ok)
  a down -> eligible
at 30s b refused
  b health up -> down cause=probe (refused)
  b eligible -> down
  verdict keep -> hold_down
  revoke b epoch=2 abort cause=down
  pace a urgent
  pace b urgent
expect verdict hold_down
at 40s switchover a
  verdict hold_down -> switch
  activate a epoch=3 cause=command
  switchover activate: nobody -> a
  switchover done in activate: complete
  pace a normal
  pace b normal
expect active a
