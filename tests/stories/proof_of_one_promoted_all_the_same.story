# The primary died, and somebody promoted a standby that has changed. Clients wait for its quick proofs; they pass.
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
expect b=unproven
expect verdict no_proven_node
expect active nobody
at 3100ms proof b proven
  b proof unproven -> proven
  b unproven -> eligible
  verdict no_proven_node -> switch
  activate b epoch=2 cause=down
  pace a normal
  pace b normal
expect active b
expect epoch 2
