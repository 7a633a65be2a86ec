# A good standby lives, and the one that was promoted fails its proofs: clients wait for a person. The approval ends it.
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
at 3s b ok primary tl=2
  b role standby -> primary
  b standby -> unproven
  verdict no_eligible -> no_proven_node
  prove b now
at 3100ms proof b failed smoke
  b proof unproven -> failed (smoke)
at 1m nothing
expect active nobody
expect verdict no_proven_node
at 61s promote b
  refused: unproven b
expect operation none
at 62s proof b approved
  b proof failed -> approved
  b unproven -> eligible
  verdict no_proven_node -> switch
  activate b epoch=2 cause=down
  pace a normal
  pace b normal
  pace c normal
expect active b
