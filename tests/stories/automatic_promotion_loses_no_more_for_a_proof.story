# `max_lag` allows a loss. Nobody loses more because of a setting that has changed: the position comes before the proof.
pool by_role newest backends=3 automatic=none loss=500
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
at 3001ms c ok standby tl=1 at=990 deaf
  promotion promote: a -> b
expect operation promote
at 4100ms b ok primary tl=2 at=1000
  [4.001s tick] promotion failed in promote: deadline
  [4.001s tick] promotion promote: a -> c
  b role standby -> primary
  b standby -> eligible
  verdict no_eligible -> switch
  activate b epoch=2 cause=down
  suspend epoch=2
  pace b normal
expect active b
