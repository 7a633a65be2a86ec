# The newer primary is lost for good. A human decides that the old one goes on, with what it has.
pool by_role newest fence=2
at 0ms b refused
  b health unknown -> down cause=probe (refused)
  b unknown -> down
at 1ms a ok primary tl=1
  a health unknown -> up cause=probe (ok)
  a role unknown -> primary
  a unknown -> fenced
  verdict settling -> no_eligible
expect a=fenced
expect active nobody
at 9s switchover a
  refused: fenced a
expect active nobody
at 10s switchover a accept_loss
  a fenced -> eligible
  verdict no_eligible -> switch
  activate a epoch=1 cause=startup
  switchover activate: nobody -> a
  switchover done in activate: complete
  pace a normal
  pace b normal
expect active a
expect epoch 1
