# A proof fails on the updated standby and on the active one: the update is not to blame, but nothing is proven.
pool by_role newest guard=enforce
at 0ms a ok primary tl=1
  a health unknown -> up cause=probe (ok)
  a role unknown -> primary
  a unknown -> eligible
at 1ms b ok standby tl=1 hears
  b health unknown -> up cause=probe (ok)
  b role unknown -> standby
  b unknown -> standby
  verdict settling -> switch
  activate a epoch=1 cause=startup
  pace a normal
  pace b normal
at 1s proof b proving version
  b proof proven -> proving (version)
at 2s proof b inconclusive index: it fails on a too
  b proof proving -> inconclusive (index: it fails on a too)
expect active a
expect ready unproven
expect read b=unproven
at 3s switchover b promoter
  refused: unproven b
expect operation none
# When the active one dies, it has nothing more to prove: at once the last resort.
at 4s passive a standing_lost
  probe a now
  suspend epoch=1
  pace a urgent
at 4001ms a refused
  a health up -> down cause=two_signals (refused)
  a role primary -> unknown
  a eligible -> down
  verdict keep -> no_eligible
  revoke a epoch=1 abort cause=down
  pace b urgent
at 5s b ok primary tl=2
  b role standby -> primary
  b standby -> eligible
  verdict no_eligible -> switch
  activate b epoch=2 cause=down
  pace a normal
  pace b normal
expect active b
expect epoch 2
