# While an operation runs, automation begins nothing: a failback that is due waits for its end.
pool by_order rise=1 fall=1 failback=10s backends=3
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
at 1s a refused
  a health up -> down cause=probe (refused)
  a eligible -> down
  verdict keep -> switch
  revoke a epoch=1 abort cause=down
  activate b epoch=2 cause=down
expect active b
at 5s a ok
  a health down -> up cause=probe (ok)
  a down -> eligible
at 14s switchover c limit=5s
  suspend epoch=2
  switchover gate: b -> c
at 16s nothing
expect operation gate
expect active b
at 17s abort
  verdict keep -> switch
  revoke b epoch=2 abort cause=failback
  activate a epoch=3 cause=failback
  ungate
  switchover aborted in gate: command
expect active a
