# Only a node that has failed its proofs is left, and `last_resort: hold` is written: nobody serves until a person approves it.
pool by_role newest guard=enforce last_resort=hold
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
at 1s proof b failed smoke
  b proof proven -> failed (smoke)
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
expect b=unproven
at 60m nothing
expect active nobody
expect verdict no_proven_node
at 3601s proof b approved
  b proof failed -> approved
  b unproven -> eligible
  verdict no_proven_node -> switch
  activate b epoch=2 cause=down
  pace a normal
  pace b normal
expect active b
expect verdict keep
