# A spent budget never blocks a candidate that has not failed.
pool by_order backends=3 rise=1 fall=1 budget=1/10m
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
at 10s a refused
  a health up -> down cause=probe (refused)
  a eligible -> down
  verdict keep -> switch
  revoke a epoch=1 abort cause=down
  activate b epoch=2 cause=down
expect active b
at 20s b refused
  b health up -> down cause=probe (refused)
  b eligible -> down
  verdict keep -> switch
  revoke b epoch=2 abort cause=down
  activate c epoch=3 cause=down
expect active c
