# The old primary comes back, still thinking that it is one, while the new one is gone: it lacks what was committed since.
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
at 1001ms a refused
  a health up -> down cause=two_signals (refused)
  a role primary -> unknown
  a eligible -> down
  verdict keep -> no_eligible
  revoke a epoch=1 abort cause=down
  pace b urgent
at 1500ms b ok primary tl=2
  b role standby -> primary
  b standby -> eligible
  verdict no_eligible -> switch
  activate b epoch=2 cause=down
  pace a normal
  pace b normal
expect active b
at 5000ms passive b standing_lost
  probe b now
  suspend epoch=2
  pace b urgent
at 5001ms b refused
  b health up -> down cause=two_signals (refused)
  b role primary -> unknown
  b eligible -> down
  verdict keep -> no_eligible
  revoke b epoch=2 abort cause=down
  pace a urgent
at 6000ms a ok primary tl=1
  a role unknown -> primary
at 6100ms a ok primary tl=1
  a health down -> up cause=probe (ok)
  a down -> fenced
expect a=fenced
expect active nobody
# The new one returns: it never lost its right.
at 7000ms b ok primary tl=2
  b role unknown -> primary
  probe a now
at 7100ms b ok primary tl=2
  b health down -> up cause=probe (ok)
  b down -> eligible
  verdict no_eligible -> switch
  activate b epoch=3 cause=down
  pace a normal
  pace b normal
at 7101ms a ok primary tl=1
  conflict begins [a b]
expect active b
expect conflict yes
