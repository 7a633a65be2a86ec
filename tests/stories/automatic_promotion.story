# Every condition holds: the primary is dead and refuses, the standby has lost it, and has all that it was seen to have.
pool by_role newest automatic=none
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
at 1s passive a standing_lost
  probe a now
  suspend epoch=1
  pace a urgent
at 1001ms a refused
  a health up -> down cause=two_signals (refused)
  a role primary -> unknown
  a eligible -> down
  verdict keep -> no_eligible
  revoke a epoch=1 abort cause=down
  pace b urgent
expect active nobody
at 1500ms b ok standby tl=1 at=1000 deaf
expect operation none
at 2001ms nothing
  [2.001s tick] promotion promote: a -> b
expect operation promote
at 2100ms done promote
at 2110ms b ok primary tl=2 at=1000
  b role standby -> primary
  b standby -> eligible
  verdict no_eligible -> switch
  activate b epoch=2 cause=down
  promotion done in promote: complete
  pace a normal
  pace b normal
expect active b
expect operation none
