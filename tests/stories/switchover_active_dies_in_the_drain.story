# A crash in the middle is a crash: the operation is aborted, and the ordinary failover follows in the same step.
pool by_order rise=1 fall=1 backends=3
at 0ms a ok
  a health unknown -> up cause=probe (ok)
  a unknown -> eligible
at 1ms b ok
  b health unknown -> up cause=probe (ok)
  b unknown -> eligible
at 2ms c ok
  c health unknown -> up cause=probe (ok)
  c unknown -> eligible
  verdict settling -> switch
  activate a epoch=1 cause=startup
  pace a normal
  pace b normal
  pace c normal
at 1s switchover c
  suspend epoch=1
  switchover gate: a -> c
at 1010ms done gate
  switchover drain: a -> c
expect operation drain
at 1020ms a refused
  a health up -> down cause=probe (refused)
  a eligible -> down
  verdict keep -> switch
  revoke a epoch=1 abort cause=down
  activate b epoch=2 cause=down
  ungate
  switchover aborted in drain: active_lost
expect operation none
expect active b
expect suspended no
