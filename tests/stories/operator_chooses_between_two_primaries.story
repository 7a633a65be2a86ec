# The operator takes the older of two primaries, knowing both: that stands.
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
at 1s b ok primary tl=2
  b role standby -> primary
  probe a now
  b standby -> eligible
  verdict keep -> switch
  revoke a epoch=1 abort cause=conflict
  activate b epoch=2 cause=conflict
  a eligible -> fenced
at 1001ms a ok primary tl=1
  conflict begins [a b]
expect active b
at 2s switchover a accept_loss
  suspend epoch=2
  switchover gate: b -> a
expect active b
at 2010ms done gate
  switchover drain: b -> a
at 2020ms done drain
  a fenced -> eligible
  verdict keep -> switch
  revoke b epoch=2 abort cause=command
  activate a epoch=3 cause=command
  switchover activate: b -> a
  ungate
  switchover done in activate: complete
expect active a
at 3s b ok primary tl=2
expect active a
expect conflict yes
