# A step that fails before the point of no return aborts.
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
at 1010ms failed gate
  resume epoch=1
  ungate
  switchover aborted in gate: step_failed (broken)
expect operation none
expect active a
expect suspended no
at 2s switchover b promoter demote
  suspend epoch=1
  switchover gate: a -> b
at 2010ms done gate
  switchover drain: a -> b
at 2020ms failed drain
  resume epoch=1
  ungate
  switchover aborted in drain: step_failed (broken)
expect operation none
expect active a
expect epoch 1
expect suspended no
