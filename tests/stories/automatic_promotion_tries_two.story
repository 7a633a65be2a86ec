# One try, then one other candidate, then a person.
pool by_role newest automatic=required backends=4
at 0ms a ok primary tl=1 at=1000
  a health unknown -> up cause=probe (ok)
  a role unknown -> primary
  a unknown -> eligible
at 1ms b ok standby tl=1 at=1000 hears
  b health unknown -> up cause=probe (ok)
  b role unknown -> standby
  b unknown -> standby
at 1ms c ok standby tl=1 at=1000 hears
  c health unknown -> up cause=probe (ok)
  c role unknown -> standby
  c unknown -> standby
at 1ms d ok standby tl=1 at=1000 hears
  d health unknown -> up cause=probe (ok)
  d role unknown -> standby
  d unknown -> standby
  verdict settling -> switch
  activate a epoch=1 cause=startup
  pace a normal
  pace b normal
  pace c normal
  pace d normal
at 1s passive a standing_lost
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
  pace c urgent
  pace d urgent
at 1100ms b ok standby tl=1 at=1000 deaf
at 1100ms c ok standby tl=1 at=1000 deaf
at 1100ms d ok standby tl=1 at=1000 deaf
at 2001ms nothing
  [2.001s tick] promotion fence: a -> b
expect operation fence
# The numbers of automatic operations are the core's own: a deadline ends it.
at 3001ms nothing
  [3.001s tick] promotion aborted in fence: deadline
  [3.001s tick] promotion fence: a -> c
expect operation fence
at 4001ms nothing
  [4.001s tick] promotion aborted in fence: deadline
expect operation none
at 60s nothing
expect operation none
expect active nobody
