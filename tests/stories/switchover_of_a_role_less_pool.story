# The operator moves the pool, there and back.
pool by_order
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
at 1s switchover b
  suspend epoch=1
  switchover gate: a -> b
expect suspended yes
at 1010ms done gate
  switchover drain: a -> b
at 1020ms done drain
  verdict keep -> switch
  revoke a epoch=1 abort cause=command
  activate b epoch=2 cause=command
  switchover activate: a -> b
  ungate
  switchover done in activate: complete
expect active b
at 2s switchover
  suspend epoch=2
  switchover gate: b -> a
at 2010ms done gate
  switchover drain: b -> a
at 2020ms done drain
  verdict keep -> switch
  revoke b epoch=2 abort cause=command
  activate a epoch=3 cause=command
  switchover activate: b -> a
  ungate
  switchover done in activate: complete
expect active a
expect epoch 3
