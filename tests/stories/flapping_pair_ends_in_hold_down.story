# Both die in turns. After three switches in ten minutes, automation stops switching and says so; time or a human ends it.
pool by_order rise=1 fall=1 budget=3/10m
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
at 20s a ok
  a health down -> up cause=probe (ok)
  a down -> eligible
at 30s b refused
  b health up -> down cause=probe (refused)
  b eligible -> down
  verdict keep -> switch
  revoke b epoch=2 abort cause=down
  activate a epoch=3 cause=down
at 40s b ok
  b health down -> up cause=probe (ok)
  b down -> eligible
at 50s a refused
  a health up -> down cause=probe (refused)
  a eligible -> down
  verdict keep -> switch
  revoke a epoch=3 abort cause=down
  activate b epoch=4 cause=down
# Each has failed twice by now, and must answer twice.
at 60s a ok
  pace a fast
at 60s a ok
  a health down -> up cause=probe (ok)
  a down -> eligible
  pace a normal
expect active b
at 70s b refused
  b health up -> down cause=probe (refused)
  b eligible -> down
  verdict keep -> hold_down
  revoke b epoch=4 abort cause=down
  pace a urgent
  pace b urgent
expect active nobody
expect verdict hold_down
# The one that was active last may return: that is no switch.
at 80s b ok
at 80s b ok
  b health down -> up cause=probe (ok)
  b down -> eligible
  verdict hold_down -> switch
  activate b epoch=5 cause=down
  pace a normal
  pace b normal
expect active b
at 90s b refused
  b health up -> down cause=probe (refused)
  b eligible -> down
  verdict keep -> hold_down
  revoke b epoch=5 abort cause=down
  pace a urgent
  pace b urgent
expect active nobody
# The first switch leaves the window.
at 11m nothing
  [610s tick] verdict hold_down -> switch
  [610s tick] activate a epoch=6 cause=down
  [610s tick] pace a normal
  [610s tick] pace b normal
expect active a
