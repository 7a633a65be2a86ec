# The primary dies and a new or restored cluster answers at its address: that is why nobody serves, not that it is down.
pool by_role newest backends=1 fence=2
at 1ms a ok primary tl=2 sys=7
  a health unknown -> up cause=probe (ok)
  a role unknown -> primary
  a unknown -> eligible
  verdict settling -> switch
  activate a epoch=1 cause=startup
  pace a normal
expect active a
at 1s a refused
  pace a fast
at 1001ms passive a standing_lost
  a health up -> down cause=two_signals (session lost and connect refused)
  a role primary -> unknown
  a eligible -> down
  verdict keep -> no_eligible
  revoke a epoch=1 abort cause=down
  pace a urgent
at 1002ms a refused
expect a=down
at 5s a ok primary tl=1 sys=8
  a alert wrong_cluster (ok; its system identifier is 8, expected is 7, served by this pool)
  a down -> wrong_cluster
expect a=wrong_cluster
expect active nobody
at 6s a refused
  a wrong_cluster -> down
expect a=down
at 7s a misconfigured
  a alert misconfigured (misconfigured)
  a down -> misconfigured
  pace a normal
expect a=misconfigured
at 8s a ok primary tl=2 sys=7
  a role unknown -> primary
  a alert ok (ok)
  a misconfigured -> down
  pace a urgent
at 9s a ok primary tl=2 sys=7
  a health down -> up cause=probe (ok)
  a down -> eligible
  verdict no_eligible -> switch
  activate a epoch=2 cause=down
  pace a normal
expect active a
