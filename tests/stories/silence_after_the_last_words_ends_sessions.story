# A server that stops serves who is there, then hangs for ever: once it is dead for the checks, nobody is left to it.
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
at 1000ms a starting
  a eligible -> starting
  verdict keep -> no_eligible
  revoke a epoch=1 last_words cause=starting
  pace a urgent
  pace b urgent
expect a=starting
at 60s a starting
at 61s a timeout
expect a=starting
at 62s a timeout
  a health up -> down cause=probe (timeout)
  a role primary -> unknown
  a starting -> down
  abort a epoch=1 cause=down
expect a=down
expect active nobody
at 63s b ok primary tl=2
  b role standby -> primary
  b standby -> eligible
  verdict no_eligible -> switch
  activate b epoch=2 cause=starting
  pace a normal
  pace b normal
expect active b
