# Nobody leaves a good backend for a doubtful one.
pool by_order rise=1 fall=2 failback=1m
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
  pace a fast
at 11s a refused
  a health up -> down cause=probe (refused)
  a eligible -> down
  verdict keep -> switch
  revoke a epoch=1 abort cause=down
  activate b epoch=2 cause=down
  pace a normal
expect active b
at 20s a ok
  a health down -> up cause=probe (ok)
  a down -> eligible
at 79s a timeout
  pace a fast
at 80s nothing
expect active b
at 81s a ok
  verdict keep -> switch
  revoke b epoch=2 abort cause=failback
  activate a epoch=3 cause=failback
  pace a normal
expect active a
