# One server process was killed; the postmaster restarts all and recovers. Clients wait, nobody else is chosen.
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
at 1000ms passive a standing_lost
  probe a now
  suspend epoch=1
  pace a urgent
at 1002ms a starting
  a eligible -> starting
  verdict keep -> no_eligible
  revoke a epoch=1 last_words cause=starting
  pace b urgent
expect active nobody
expect a=starting
at 1100ms a starting
at 1200ms a ok primary tl=1
  a starting -> eligible
  verdict no_eligible -> switch
  activate a epoch=2 cause=starting
  pace a normal
  pace b normal
expect active a
expect epoch 2
