# What was promoted shows an older history than the one that was served: without accept_loss it is not served, and the operation fails.
pool by_role newest
at 0ms a ok primary tl=2
  a health unknown -> up cause=probe (ok)
  a role unknown -> primary
  a unknown -> eligible
at 1ms b ok standby tl=2
  b health unknown -> up cause=probe (ok)
  b role unknown -> standby
  b unknown -> standby
  verdict settling -> switch
  activate a epoch=1 cause=startup
  pace a normal
  pace b normal
at 1s switchover promoter
  suspend epoch=1
  switchover gate: a -> b
at 1010ms done gate
  switchover drain: a -> b
at 1020ms done drain
  switchover promote: a -> b
  pace a urgent
  pace b urgent
at 1030ms a ok standby tl=2
  a role primary -> standby
  a eligible -> standby
  verdict keep -> no_eligible
  revoke a epoch=1 abort cause=command
at 1040ms done promote
  probe b now
  switchover activate: a -> b
at 1050ms b ok primary tl=1
  b role standby -> primary
  b standby -> fenced
expect b=fenced
expect active nobody
at 2040ms nothing
  [2.04s tick] ungate
  [2.04s tick] switchover failed in activate: deadline
expect operation none
expect active nobody
