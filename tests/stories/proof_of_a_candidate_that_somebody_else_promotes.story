# After the point of no return the candidate changes, and somebody else promotes it: the switchover waits for its quick proofs.
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
at 1s switchover b promoter demote
  suspend epoch=1
  switchover gate: a -> b
at 1001ms done gate
  switchover drain: a -> b
at 1002ms done drain
  switchover demote: a -> b
  pace a urgent
  pace b urgent
at 1003ms a ok standby tl=1
  a role primary -> standby
  a eligible -> standby
  verdict keep -> no_eligible
  revoke a epoch=1 abort cause=command
at 1004ms proof b unproven settings
  b proof proven -> unproven (settings)
at 1005ms b ok primary tl=2
  b role standby -> primary
  b standby -> unproven
  verdict no_eligible -> no_proven_node
  prove b now
expect b=unproven
expect active nobody
at 1006ms done demote
  probe a now
  switchover activate: a -> b
expect operation activate
at 1500ms proof b proven
  b proof unproven -> proven
  b unproven -> eligible
  verdict no_proven_node -> switch
  activate b epoch=2 cause=command
  ungate
  switchover done in activate: complete
  pace a normal
  pace b normal
expect active b
expect operation none
expect epoch 2
