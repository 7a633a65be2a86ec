# pg_ctl stop -m fast: the server tells every session why it ends. The sessions may hear it before they are aborted.
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
at 1000ms passive a standing_shutdown
  probe a now
  suspend epoch=1
  pace a urgent
expect suspended yes
at 1001ms a refused
  a health up -> down cause=two_signals (refused)
  a role primary -> unknown
  a eligible -> down
  verdict keep -> no_eligible
  revoke a epoch=1 last_words cause=down
  pace b urgent
expect active nobody
at 1500ms b ok primary tl=2
  b role standby -> primary
  b standby -> eligible
  verdict no_eligible -> switch
  activate b epoch=2 cause=down
  pace a normal
  pace b normal
expect active b
