# The point of no return is not passed while there is a sign of the death of either.
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
at 1020ms passive b dial_refused
  probe b now
  pace b fast
at 1030ms done drain
expect operation drain
at 1040ms b ok standby tl=1
  switchover demote: a -> b
  pace a urgent
  pace b urgent
expect operation demote
at 1050ms failed demote
  resume epoch=1
  ungate
  switchover failed in demote: step_failed (broken)
  pace a normal
  pace b normal
expect active a
# Nor while the candidate says that it has lost its primary: it would lack what is written now.
at 2s switchover b promoter
  suspend epoch=1
  switchover gate: a -> b
at 2010ms b ok standby tl=1 deaf
at 2020ms done gate
  switchover drain: a -> b
at 2030ms done drain
expect operation drain
at 2040ms b ok standby tl=1 hears
  switchover promote: a -> b
  pace a urgent
  pace b urgent
expect operation promote
at 2050ms failed promote
  resume epoch=1
  ungate
  switchover failed in promote: step_failed (broken)
  pace a normal
  pace b normal
at 3s b ok standby tl=1 deaf
at 3s switchover b promoter
  refused: not_streaming b
# No force makes it have that.
at 3s switchover b promoter force
  refused: not_streaming b
expect active a
