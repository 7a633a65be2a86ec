# The quick proofs hang. Clients wait two seconds for them, and no longer; another change meanwhile does not make them wait longer.
pool by_role newest guard=enforce
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
at 3s b ok primary tl=2
  b role standby -> primary
  b standby -> unproven
  verdict no_eligible -> no_proven_node
  prove b now
at 4s proof b unproven settings
  b proof unproven -> unproven (settings)
at 4999ms nothing
expect active nobody
at 5s nothing
  [5s tick] b unproven -> eligible
  [5s tick] verdict no_proven_node -> switch
  [5s tick] activate b epoch=2 cause=down
  [5s tick] pace a normal
  [5s tick] pace b normal
expect active b
expect epoch 2
