# Somebody restored another cluster on the primary's address. It answers well, and is not ours.
pool by_role newest
at 0ms a ok primary tl=1 sys=7
  a health unknown -> up cause=probe (ok)
  a role unknown -> primary
  a unknown -> eligible
at 1ms b ok standby tl=1 sys=7
  b health unknown -> up cause=probe (ok)
  b role unknown -> standby
  b unknown -> standby
  verdict settling -> switch
  activate a epoch=1 cause=startup
  pace a normal
  pace b normal
at 1s a ok primary tl=1 sys=8
  a alert wrong_cluster (ok; its system identifier is 8, expected is 7, served by this pool)
  a eligible -> wrong_cluster
  verdict keep -> no_eligible
  revoke a epoch=1 abort cause=fenced
  pace a urgent
  pace b urgent
expect active nobody
expect a=wrong_cluster
at 2s b ok primary tl=2 sys=7
  b role standby -> primary
  b standby -> eligible
  verdict no_eligible -> switch
  activate b epoch=2 cause=fenced
  pace a normal
  pace b normal
expect active b
