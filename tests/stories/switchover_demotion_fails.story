# The old primary could not be stopped: its clients go on.
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
at 1010ms done gate
  switchover drain: a -> b
at 1020ms done drain
  switchover demote: a -> b
  pace a urgent
  pace b urgent
at 1030ms failed demote
  resume epoch=1
  ungate
  switchover failed in demote: step_failed (broken)
  pace a normal
  pace b normal
expect operation none
expect active a
expect epoch 1
expect suspended no
