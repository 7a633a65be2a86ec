# One backend never answers: the settling time ends the wait, with a tick of its own.
pool by_role newest settle=1s
at 10ms a ok primary tl=1
  a health unknown -> up cause=probe (ok)
  a role unknown -> primary
  a unknown -> eligible
at 999ms nothing
expect active nobody
at 1s nothing
  [1s tick] verdict settling -> switch
  [1s tick] activate a epoch=1 cause=startup
  [1s tick] pace a normal
  [1s tick] pace b fast
expect active a
