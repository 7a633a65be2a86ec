# With `enforce` and `last_resort: hold` nobody is promoted who would not serve then. By hand neither; the approval is awaited.
pool by_role newest automatic=none guard=enforce last_resort=hold
at 0ms a ok primary tl=1 at=1000
  a health unknown -> up cause=probe (ok)
  a role unknown -> primary
  a unknown -> eligible
at 1ms b ok standby tl=1 at=1000 hears
  b health unknown -> up cause=probe (ok)
  b role unknown -> standby
  b unknown -> standby
  verdict settling -> switch
  activate a epoch=1 cause=startup
  pace a normal
  pace b normal
at 1s proof b failed smoke
  b proof proven -> failed (smoke)
at 2s passive a standing_lost
  probe a now
  suspend epoch=1
  pace a urgent
at 2001ms a refused
  a health up -> down cause=two_signals (refused)
  a role primary -> unknown
  a eligible -> down
  verdict keep -> no_eligible
  revoke a epoch=1 abort cause=down
  pace b urgent
at 3s b ok standby tl=1 at=1000 deaf
at 1m nothing
expect operation none
at 61s promote b promoter
  refused: unproven b
expect operation none
at 62s proof b approved
  b proof failed -> approved
  promotion promote: a -> b
expect operation promote
