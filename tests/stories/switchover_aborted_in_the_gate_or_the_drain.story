# Before the point of no return an operation can be aborted in each step, and everything is as it was.
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
expect operation gate
at 1001ms abort
  resume epoch=1
  ungate
  switchover aborted in gate: command
expect operation none
expect active a
expect epoch 1
expect suspended no
at 2s switchover b promoter demote
  suspend epoch=1
  switchover gate: a -> b
at 2001ms done gate
  switchover drain: a -> b
expect operation drain
at 2002ms abort
  resume epoch=1
  ungate
  switchover aborted in drain: command
expect operation none
expect active a
expect epoch 1
expect suspended no
# Nobody is there to be aborted.
at 3s abort
  refused: unknown_operation
expect active a
