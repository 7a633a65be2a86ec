# Nobody is active, and a person decides. The old primary is fenced first.
pool by_role newest
at 0ms a ok primary tl=1 at=1000
  a health unknown -> up cause=probe (ok)
  a role unknown -> primary
  a unknown -> eligible
at 1ms b ok standby tl=1 at=1000 hears
  b health unknown -> up cause=probe (ok)
  b role unknown -> standby
  b unknown -> standby
  verdict settling -> switch
  activate a epoch=1 cause=startup
  pace a normal
  pace b normal
at 1s a refused
  pace a fast
at 1100ms a refused
  a health up -> down cause=probe (refused)
  a role primary -> unknown
  a eligible -> down
  verdict keep -> no_eligible
  revoke a epoch=1 abort cause=down
  pace a urgent
  pace b urgent
expect active nobody
at 2s promote promoter fence=required
  promote fence: a -> b
expect operation fence
at 2100ms done fence
  promote promote: a -> b
expect operation promote
at 2200ms done promote
  probe b now
  promote activate: a -> b
at 2210ms b ok primary tl=2
  b role standby -> primary
  b standby -> eligible
  verdict no_eligible -> switch
  activate b epoch=2 cause=command
  promote done in activate: complete
  pace a normal
  pace b normal
expect active b
expect operation none
