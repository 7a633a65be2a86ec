# Nothing is configured that promotes it.
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
at 1s switchover b
  refused: no_promoter b
expect active a
expect epoch 1
