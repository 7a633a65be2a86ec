# failback: {after: 10m}: ten minutes without a break, and a blip starts them over.
pool by_order rise=1 fall=1 failback=10m
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
expect active b
at 1m a ok
  a health down -> up cause=probe (ok)
  a down -> eligible
at 10m a refused
  a health up -> down cause=probe (refused)
  a eligible -> down
# The second time within ten minutes it must answer twice.
at 11m a ok
  pace a fast
at 11m a ok
  a health down -> up cause=probe (ok)
  a down -> eligible
  pace a normal
at 20m nothing
expect active b
at 21m nothing
  [1260s tick] verdict keep -> switch
  [1260s tick] revoke b epoch=2 abort cause=failback
  [1260s tick] activate a epoch=3 cause=failback
expect active a
