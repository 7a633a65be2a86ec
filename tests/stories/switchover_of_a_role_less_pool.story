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
  verdict keep -> switch
  revoke a epoch=1 abort cause=command
  activate b epoch=2 cause=command
expect active b
at 2s switchover a
  verdict keep -> switch
  revoke b epoch=2 abort cause=command
  activate a epoch=3 cause=command
expect active a
expect epoch 3
