# Without roles a good one is preferred to the order of the list, and nobody fails back to one that has changed.
pool by_order backends=3 failback=10s
at 0s a ok
  a health unknown -> up cause=probe (ok)
  a unknown -> eligible
at 0s b ok
  b health unknown -> up cause=probe (ok)
  b unknown -> eligible
at 0s c ok
  c health unknown -> up cause=probe (ok)
  c unknown -> eligible
  verdict settling -> switch
  activate a epoch=1 cause=startup
  pace a normal
  pace b normal
  pace c normal
at 1s proof b unproven version
  b proof proven -> unproven (version)
at 2s a timeout
  pace a fast
at 3s a timeout
  a health up -> down cause=probe (timeout)
  a eligible -> down
  verdict keep -> switch
  revoke a epoch=1 abort cause=down
  activate c epoch=2 cause=down
  pace a normal
expect active c
at 4s a ok
  pace a fast
at 5s a ok
  a health down -> up cause=probe (ok)
  a down -> eligible
  pace a normal
at 5001ms proof a unproven version
  a proof proven -> unproven (version)
at 1m nothing
expect active c
at 61s proof a proven
  a proof unproven -> proven
  verdict keep -> switch
  revoke c epoch=2 abort cause=failback
  activate a epoch=3 cause=failback
expect active a
expect epoch 3
