# pause: new clients wait, sessions go on; a failover meanwhile opens nothing, and the pause ends by command or by itself.
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
expect active a
at 1s pause 30s
  paused until 31s
  suspend epoch=1
expect suspended yes
at 2s a refused
  pace a fast
at 3s a refused
  a health up -> down cause=probe (refused)
  a eligible -> down
  verdict keep -> switch
  revoke a epoch=1 abort cause=down
  activate b epoch=2 cause=down
  suspend epoch=2
  pace a normal
expect active b
expect suspended yes
at 5s resume
  pause ends
  resume epoch=2
expect suspended no
at 6s pause 10s
  paused until 16s
  suspend epoch=2
expect suspended yes
at 15s nothing
expect suspended yes
at 16s nothing
  [16s tick] pause ends
  [16s tick] resume epoch=2
expect suspended no
