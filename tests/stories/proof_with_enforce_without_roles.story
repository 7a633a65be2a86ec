# With `enforce`, the others do not take over before they have proven themselves: the first that passes serves. An operator may force
# another one.
pool by_order backends=3 guard=enforce
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
  b eligible -> unproven
at 1s proof c unproven version
  c proof proven -> unproven (version)
  c eligible -> unproven
expect b=unproven
at 2s a timeout
  pace a fast
at 2100ms a timeout
  a health up -> down cause=probe (timeout)
  a eligible -> down
  verdict keep -> no_proven_node
  revoke a epoch=1 abort cause=down
  prove b now
  prove c now
  pace a urgent
  pace b urgent
  pace c urgent
expect active nobody
expect verdict no_proven_node
at 2200ms proof b failed smoke
  b proof unproven -> failed (smoke)
expect active nobody
at 2300ms proof c proven
  c proof unproven -> proven
  c unproven -> eligible
  verdict no_proven_node -> switch
  activate c epoch=2 cause=down
  pace a normal
  pace b normal
  pace c normal
expect active c
at 3s switchover b
  refused: unproven b
expect operation none
at 4s switchover b force
  suspend epoch=2
  switchover gate: c -> b
expect operation gate
at 4001ms done gate
  switchover drain: c -> b
at 4002ms done drain
  b unproven -> eligible
  verdict keep -> switch
  revoke c epoch=2 abort cause=command
  activate b epoch=3 cause=command
  switchover activate: c -> b
  ungate
  switchover done in activate: complete
expect active b
expect b=eligible
at 5s proof b failed index
  b proof failed -> failed (index)
expect active b
expect epoch 3
