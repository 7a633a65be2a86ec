# The first to answer may be an old primary. Everybody is heard, or the settling time ends.
pool by_role newest settle=1s
at 10ms a ok primary tl=1
  a health unknown -> up cause=probe (ok)
  a role unknown -> primary
  a unknown -> eligible
expect active nobody
expect verdict settling
at 20ms b ok primary tl=2
  b health unknown -> up cause=probe (ok)
  b role unknown -> primary
  b unknown -> eligible
  verdict settling -> switch
  activate b epoch=1 cause=startup
  a eligible -> fenced
  conflict begins [a b]
  pace a normal
  pace b normal
expect active b
expect a=fenced
