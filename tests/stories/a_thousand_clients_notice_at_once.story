# Many sessions break at once: one second opinion is ordered, not a thousand.
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
at 1000ms passive a session_lost
  probe a now
at 1000ms passive a session_lost
at 1000ms passive a dial_failed
at 1000ms passive a session_lost
expect suspended no
at 1001ms passive a dial_refused
  a health up -> down cause=two_signals (session lost and connect refused)
  a role primary -> unknown
  a eligible -> down
  verdict keep -> no_eligible
  revoke a epoch=1 abort cause=down
  pace a urgent
  pace b urgent
expect active nobody
