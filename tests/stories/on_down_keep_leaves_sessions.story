# on_down: keep. Sessions of a dead backend end by themselves, or when the next one is activated.
pool by_order fall=1 rise=1 on_down=drain
at 0s a ok
  a health unknown -> up cause=probe (ok)
  a unknown -> eligible
at 0s b refused
  b health unknown -> down cause=probe (refused)
  b unknown -> down
  verdict settling -> switch
  activate a epoch=1 cause=startup
  pace a normal
  pace b normal
at 1s a timeout
  a health up -> down cause=probe (timeout)
  a eligible -> down
  verdict keep -> no_eligible
  revoke a epoch=1 drain cause=down
  pace a urgent
  pace b urgent
expect active nobody
at 2s b ok
  b health down -> up cause=probe (ok)
  b down -> eligible
  verdict no_eligible -> switch
  activate b epoch=2 cause=down
  pace a normal
  pace b normal
expect active b
