# maint: no clients at all. Without roles the next one takes over, and the budget is not touched.
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
at 1s maint a
  a admin ready -> maint
  a eligible -> maint
  verdict keep -> switch
  revoke a epoch=1 abort cause=command
  activate b epoch=2 cause=command
expect active b
at 2s ready a
  a admin maint -> ready
  a maint -> eligible
expect active b
