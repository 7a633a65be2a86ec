# A planned change: clients are held, sessions end at their boundary, the old primary stops, the standby is promoted.
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
expect active a
at 1s switchover promoter demote
  suspend epoch=1
  switchover gate: a -> b
expect operation gate
expect suspended yes
at 1010ms done gate
  switchover drain: a -> b
expect operation drain
at 1100ms done drain
  switchover demote: a -> b
  pace a urgent
  pace b urgent
expect operation demote
at 1300ms passive a standing_shutdown
  probe a now
at 1310ms a refused
  a health up -> down cause=two_signals (refused)
  a role primary -> unknown
  a eligible -> down
  verdict keep -> no_eligible
  revoke a epoch=1 last_words cause=command
expect active nobody
expect operation demote
at 1320ms done demote
  probe a now
  switchover promote: a -> b
expect operation promote
at 1400ms done promote
  probe b now
  switchover activate: a -> b
expect operation activate
at 1410ms b ok primary tl=2
  b role standby -> primary
  b standby -> eligible
  verdict no_eligible -> switch
  activate b epoch=2 cause=command
  ungate
  switchover done in activate: complete
  pace a normal
  pace b normal
expect active b
expect epoch 2
expect suspended no
expect operation none
at 3s a ok standby tl=2
  a role unknown -> standby
  pace a fast
at 4s a ok standby tl=2
  a health down -> up cause=probe (ok)
  a down -> standby
  pace a normal
expect active b
expect a=standby
