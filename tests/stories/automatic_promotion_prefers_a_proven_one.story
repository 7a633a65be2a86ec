# Of two standbys that lack nothing, the one that has changed is second, even if it is the first of the list.
pool by_role newest backends=3 automatic=none
at 0ms a ok primary tl=1 at=1000
  a health unknown -> up cause=probe (ok)
  a role unknown -> primary
  a unknown -> eligible
at 1ms b ok standby tl=1 at=1000 hears
  b health unknown -> up cause=probe (ok)
  b role unknown -> standby
  b unknown -> standby
at 2ms c ok standby tl=1 at=1000 hears
  c health unknown -> up cause=probe (ok)
  c role unknown -> standby
  c unknown -> standby
  verdict settling -> switch
  activate a epoch=1 cause=startup
  pace a normal
  pace b normal
  pace c normal
at 1s proof b unproven version
  b proof proven -> unproven (version)
at 2s passive a standing_lost
  probe a now
  suspend epoch=1
  pace a urgent
at 2001ms a refused
  a health up -> down cause=two_signals (refused)
  a role primary -> unknown
  a eligible -> down
  verdict keep -> no_eligible
  revoke a epoch=1 abort cause=down
  pace b urgent
  pace c urgent
at 3s b ok standby tl=1 at=1000 deaf
at 3001ms c ok standby tl=1 at=1000 deaf
  promotion promote: a -> c
at 4s nothing
expect operation promote
at 4100ms c ok primary tl=2 at=1000
  [4.001s tick] promotion failed in promote: deadline
  [4.001s tick] promotion promote: a -> b
  c role standby -> primary
  c standby -> eligible
  verdict no_eligible -> switch
  activate c epoch=2 cause=down
  suspend epoch=2
  pace c normal
expect active c
