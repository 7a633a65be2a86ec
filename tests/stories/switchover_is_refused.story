# Each refusal has its word.
pool by_role newest backends=3 max_lag=100
at 0ms a ok primary tl=2
  a health unknown -> up cause=probe (ok)
  a role unknown -> primary
  a unknown -> eligible
at 1ms b ok standby tl=2 lag=101
  b health unknown -> up cause=probe (ok)
  b role unknown -> standby
  b unknown -> standby
at 2ms switchover b promoter
  refused: settling
at 3ms c ok standby tl=1
  c health unknown -> up cause=probe (ok)
  c role unknown -> standby
  c unknown -> standby
  verdict settling -> switch
  activate a epoch=1 cause=startup
  pace a normal
  pace b normal
  pace c normal
expect active a
at 1s switchover b
  refused: no_promoter b
at 1s switchover b promoter
  refused: lag b
at 1s switchover c promoter
  refused: fenced c
at 1s switchover promoter
  refused: no_candidate
at 1s promote b promoter
  refused: primary_lives a
at 2s passive a dial_refused
  probe a now
  suspend epoch=1
  pace a urgent
at 2s switchover b promoter force
  refused: in_doubt a
at 3s a ok primary tl=2
  resume epoch=1
  pace a normal
at 3s b starting
  b standby -> starting
  pace b fast
at 3s switchover b promoter
  refused: not_eligible b
at 4s b ok standby tl=2
  b starting -> standby
  pace b normal
at 4s switchover promoter
  suspend epoch=1
  switchover gate: a -> b
expect operation gate
at 4s switchover promoter
  refused: busy
expect active a
