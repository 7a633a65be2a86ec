# Its port and the check's session are closed without a word, and it still sends to a replica. Then its host is cut off.
pool by_role newest fall=2
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
at 1000ms passive a standing_closed
  probe a now
  suspend epoch=1
  pace a urgent
at 1001ms a refused
  a health up -> down cause=two_signals (refused)
  a role primary -> unknown
  a eligible -> down
  verdict keep -> no_eligible
  revoke a epoch=1 last_words cause=down
  pace b urgent
expect a=down
at 60s a connect_timeout
at 60020ms a refused
at 60040ms a connect_timeout
at 60060ms a connect_timeout
  abort a epoch=1 cause=down
expect active nobody
at 63s b ok primary tl=2
  b role standby -> primary
  b standby -> eligible
  verdict no_eligible -> switch
  activate b epoch=2 cause=down
  pace a normal
  pace b normal
expect active b
