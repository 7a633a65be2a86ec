# drain and maint of the active backend need another one that takes over at once, or force.
pool by_role newest
at 0s a ok primary tl=1
  a health unknown -> up cause=probe (ok)
  a role unknown -> primary
  a unknown -> eligible
at 0s b ok standby tl=1
  b health unknown -> up cause=probe (ok)
  b role unknown -> standby
  b unknown -> standby
  verdict settling -> switch
  activate a epoch=1 cause=startup
  pace a normal
  pace b normal
expect active a
at 1s maint a
  refused: nobody takes over from a
expect active a
at 2s drain a
  refused: nobody takes over from a
expect active a
at 3s maint b
  b admin ready -> maint
  b standby -> maint
expect active a
expect b=maint
at 4s maint a force
  a admin ready -> maint
  a eligible -> maint
  verdict keep -> no_eligible
  revoke a epoch=1 abort cause=command
expect active nobody
at 5s ready a
  a admin maint -> ready
  a maint -> eligible
  verdict no_eligible -> switch
  activate a epoch=2 cause=command
expect active a
