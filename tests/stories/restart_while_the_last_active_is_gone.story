# mainstay was restarted, and the last one active does not answer: the settling time ends, the other one serves, and stays.
pool by_order settle=1s last=b
at 1ms a ok
  a health unknown -> up cause=probe (ok)
  a unknown -> eligible
at 999ms nothing
expect active nobody
at 1s nothing
  [1s tick] verdict settling -> switch
  [1s tick] activate a epoch=1 cause=startup
  [1s tick] pace a normal
  [1s tick] pace b fast
expect active a
at 5s b ok
  b health unknown -> up cause=probe (ok)
  b unknown -> eligible
  pace b normal
expect active a
