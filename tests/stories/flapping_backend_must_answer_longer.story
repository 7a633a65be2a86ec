# Each Down within ten minutes of the one before doubles the successes that Up needs. Ten minutes without one forget it all.
pool by_order rise=1 fall=1
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
at 11s a ok
  a health down -> up cause=probe (ok)
  a down -> eligible
expect active b
expect a=eligible
at 12s a refused
  a health up -> down cause=probe (refused)
  a eligible -> down
at 13s a ok
  pace a fast
expect a=down
at 13100ms a ok
  a health down -> up cause=probe (ok)
  a down -> eligible
  pace a normal
expect a=eligible
at 14s a refused
  a health up -> down cause=probe (refused)
  a eligible -> down
# Four in a row: three and a failure are none.
at 15s a ok
  pace a fast
at 15100ms a ok
at 15200ms a ok
at 15300ms a refused
  pace a normal
at 16s a ok
  pace a fast
at 16100ms a ok
at 16200ms a ok
expect a=down
at 16300ms a ok
  a health down -> up cause=probe (ok)
  a down -> eligible
  pace a normal
expect a=eligible
# Crash recovery in place is no Down and counts for nothing.
at 20s a starting
  a eligible -> starting
  pace a fast
at 21s a ok
  a starting -> eligible
  pace a normal
expect a=eligible
# More than ten minutes after the last Down the first success is enough again.
at 11m a refused
  a health up -> down cause=probe (refused)
  a eligible -> down
at 11m a ok
  a health down -> up cause=probe (ok)
  a down -> eligible
expect a=eligible
at 12m a refused
  a health up -> down cause=probe (refused)
  a eligible -> down
at 13m a ok
  pace a fast
expect a=down
# The window is over, and with it what was held against it: the next success counts.
at 22m a ok
  a health down -> up cause=probe (ok)
  a down -> eligible
  pace a normal
expect a=eligible
expect active b
expect epoch 2
