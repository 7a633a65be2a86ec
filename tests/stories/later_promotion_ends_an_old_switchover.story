# A switchover weeks ago does not overrule a promotion that its operator could not know of.
pool by_role newest
at 0ms a ok primary tl=1
  a health unknown -> up cause=probe (ok)
  a role unknown -> primary
  a unknown -> eligible
at 1ms b ok standby tl=1
  b health unknown -> up cause=probe (ok)
  b role unknown -> standby
  b unknown -> standby
  verdict settling -> switch
  activate a epoch=1 cause=startup
  pace a normal
  pace b normal
at 1s switchover a
  switchover activate: a -> a
  switchover done in activate: complete
expect active a
at 20m b ok primary tl=2
  b role standby -> primary
  probe a now
  b standby -> eligible
  verdict keep -> switch
  revoke a epoch=1 abort cause=conflict
  activate b epoch=2 cause=conflict
  a eligible -> fenced
expect active b
expect a=fenced
