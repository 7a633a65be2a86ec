# New logins hang while our old session still answers. Its answers prove nothing; each asks for another login, and these decide.
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
at 1000ms a timeout
  pace a fast
at 1100ms a ok primary tl=1 standing
  probe a now
expect active a
at 2100ms a timeout
  a health up -> down cause=probe (timeout)
  a role primary -> unknown
  a eligible -> down
  verdict keep -> no_eligible
  revoke a epoch=1 abort cause=down
  pace a urgent
  pace b urgent
expect active nobody
at 2200ms a ok primary tl=1 standing
  probe a now
expect a=down
at 2300ms a ok primary tl=1
  a role unknown -> primary
at 2400ms a ok primary tl=1
  a health down -> up cause=probe (ok)
  a down -> eligible
  verdict no_eligible -> switch
  activate a epoch=2 cause=down
  pace a normal
  pace b normal
expect active a
