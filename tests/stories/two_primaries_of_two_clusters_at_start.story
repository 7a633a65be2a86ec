# Timelines of two different clusters say nothing about each other: nobody is chosen.
pool by_role newest
at 0ms a ok primary tl=1 sys=7
  a health unknown -> up cause=probe (ok)
  a role unknown -> primary
  a unknown -> eligible
at 1ms b ok primary tl=9 sys=8
  b health unknown -> up cause=probe (ok)
  b role unknown -> primary
  b unknown -> eligible
  verdict settling -> split_brain
  conflict begins [a b]
expect active nobody
expect verdict split_brain
at 5s switchover a
  verdict split_brain -> switch
  activate a epoch=1 cause=startup
  b eligible -> wrong_cluster
  conflict ends [a]
  switchover activate: nobody -> a
  switchover done in activate: complete
  pace a normal
  pace b normal
expect active a
expect b=wrong_cluster
