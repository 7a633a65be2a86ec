# Without roles the pool is sticky: the old one may hold old data.
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
at 20s a ok
  a health down -> up cause=probe (ok)
  a down -> eligible
at 60m nothing
expect active b
at 61m switchover a
  suspend epoch=2
  switchover gate: b -> a
at 61m done gate
  switchover drain: b -> a
at 61m done drain
  verdict keep -> switch
  revoke b epoch=2 abort cause=command
  activate a epoch=3 cause=command
  switchover activate: b -> a
  ungate
  switchover done in activate: complete
expect active a
