# What the candidate lacks of what the dead primary was seen to have is lost, so that must be accepted in words.
pool by_role newest
at 0ms a ok primary tl=1 at=1000
  a health unknown -> up cause=probe (ok)
  a role unknown -> primary
  a unknown -> eligible
at 1ms b ok standby tl=1 at=900
  b health unknown -> up cause=probe (ok)
  b role unknown -> standby
  b unknown -> standby
  verdict settling -> switch
  activate a epoch=1 cause=startup
  pace a normal
  pace b normal
at 1s promote b promoter
  refused: primary_lives a
expect active a
at 1s a refused
  pace a fast
at 1100ms a refused
  a health up -> down cause=probe (refused)
  a role primary -> unknown
  a eligible -> down
  verdict keep -> no_eligible
  revoke a epoch=1 abort cause=down
  pace a urgent
  pace b urgent
expect active nobody
at 2s promote b promoter
  refused: lag b
expect operation none
at 3s promote b promoter accept_loss
  promote promote: a -> b
expect operation promote
at 3100ms failed promote
  promote failed in promote: step_failed (broken)
expect operation none
expect active nobody
