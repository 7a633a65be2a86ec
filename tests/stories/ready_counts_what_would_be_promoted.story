# Where mainstay promotes, a failover is ready when the conditions of the promotion would hold.
pool by_role newest automatic=none
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
expect ready ready
# The primary writes, and the standby was asked before: it has all that the primary had the time before.
at 1s a ok primary tl=1 at=2000
expect ready ready
at 2s a ok primary tl=1 at=3000
expect ready lag
at 2001ms b ok standby tl=1 at=2500 hears
expect ready ready
# It does not say whether it hears its primary.
at 3s b ok standby tl=1 at=3000
expect ready witness
at 4s b ok standby tl=1 at=3000 hears
expect ready ready
# Of an older history.
at 5s a ok primary tl=2 at=3000
expect ready no_candidate
at 6s b ok standby tl=2 at=3000 hears
expect ready ready
at 7s b refused
  pace b fast
at 8s b refused
  b health up -> down cause=probe (refused)
  b role standby -> unknown
  b standby -> down
  pace b normal
expect ready no_candidate
expect active a
