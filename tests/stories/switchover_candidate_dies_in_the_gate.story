# Nobody is left to take over: the clients stay where they are.
pool by_role newest
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
at 1s switchover b promoter demote
  suspend epoch=1
  switchover gate: a -> b
at 1010ms b refused
  pace b fast
expect operation gate
at 1020ms b refused
  b health up -> down cause=probe (refused)
  b role standby -> unknown
  b standby -> down
  resume epoch=1
  ungate
  switchover aborted in gate: candidate_lost
  pace b normal
expect operation none
expect active a
expect epoch 1
expect suspended no
