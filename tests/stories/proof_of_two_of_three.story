# Both standbys were updated, and the primary was not. It serves whatever becomes of them; no order goes to one of them; and when it dies, whoever is promoted is tried, and serves as the last resort.
pool by_role newest backends=3 guard=enforce
at 0ms a ok primary tl=1
  a health unknown -> up cause=probe (ok)
  a role unknown -> primary
  a unknown -> eligible
at 1ms b ok standby tl=1
  b health unknown -> up cause=probe (ok)
  b role unknown -> standby
  b unknown -> standby
at 2ms c ok standby tl=1
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
at 1s proof c unproven version
  c proof proven -> unproven (version)
expect active a
expect ready unproven
at 2s switchover promoter demote
  refused: no_candidate
at 2s switchover c promoter demote
  refused: unproven c
expect operation none
at 3s passive a standing_lost
  probe a now
  suspend epoch=1
  pace a urgent
at 3001ms a refused
  a health up -> down cause=two_signals (refused)
  a role primary -> unknown
  a eligible -> down
  verdict keep -> no_eligible
  revoke a epoch=1 abort cause=down
  pace b urgent
  pace c urgent
expect active nobody
at 4s c ok primary tl=2
  c role standby -> primary
  c standby -> unproven
  verdict no_eligible -> no_proven_node
  prove c now
expect verdict no_proven_node
at 4100ms proof c failed smoke
  c proof unproven -> failed (smoke)
  c unproven -> eligible
  verdict no_proven_node -> switch
  activate c epoch=2 cause=down
  pace a normal
  pace b normal
  pace c normal
expect active c
at 5s a ok standby tl=1
  a role unknown -> standby
  pace a fast
expect active c
expect ready unproven
