# The old primary has stopped, the promotion fails. The operation is over; the old one is served as soon as it is a primary again.
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
at 1030ms a ok standby tl=1 standing
  a role primary -> standby
  a eligible -> standby
  verdict keep -> no_eligible
  revoke a epoch=1 abort cause=command
at 1040ms done demote
  probe a now
  switchover promote: a -> b
expect active nobody
at 1050ms failed promote
  ungate
  switchover failed in promote: step_failed (broken)
expect operation none
expect active nobody
at 1100ms a ok primary tl=1
  a role standby -> primary
  a standby -> eligible
  verdict no_eligible -> switch
  activate a epoch=2 cause=command
  pace a normal
  pace b normal
expect active a
expect suspended no
