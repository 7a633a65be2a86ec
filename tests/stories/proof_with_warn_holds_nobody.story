# With `warn` the one that was promoted serves at once, whatever its proofs say.
pool by_role newest guard=warn
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
expect ready unproven
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
  b standby -> eligible
  verdict no_eligible -> switch
  activate b epoch=2 cause=down
  pace a normal
  pace b normal
expect active b
expect epoch 2
at 4s proof b failed index
  b proof failed -> failed (index)
expect active b
at 5s proof b inconclusive index
  b proof failed -> inconclusive (index)
expect active b
expect epoch 2
