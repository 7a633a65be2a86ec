# A standby was updated. With `warn` it is told, readiness says it, and a planned change must be forced; once it is proven, all is as
# before.
pool by_role newest readers
at 0ms a ok primary tl=1
  a health unknown -> up cause=probe (ok)
  a role unknown -> primary
  a unknown -> eligible
  a read unknown -> settling, sessions drain
at 1ms b ok standby tl=1 hears
  b health unknown -> up cause=probe (ok)
  b role unknown -> standby
  b unknown -> standby
  verdict settling -> switch
  activate a epoch=1 cause=startup
  a read settling -> active, sessions drain
  b read unknown -> reader, sessions drain
  pace a normal
  pace b normal
expect ready ready
at 1m proof b unproven version 15.17, then 15.18
  b proof proven -> unproven (version 15.17, then 15.18)
expect active a
expect ready unproven
expect read b=reader
at 61s switchover b promoter
  refused: unproven b
expect operation none
at 62s switchover promoter
  refused: unproven b
expect operation none
at 63s proof b proving soak
  b proof unproven -> proving (soak)
at 64s switchover b promoter
  refused: unproven b
expect operation none
at 11m proof b proven
  b proof proving -> proven
expect ready ready
at 661s switchover b promoter
  suspend epoch=1
  switchover gate: a -> b
expect operation gate
# It changes again before the point of no return: the clients stay where they are.
at 661010ms proof b unproven work_mem 4MB, then 8MB
  b proof proven -> unproven (work_mem 4MB, then 8MB)
  resume epoch=1
  ungate
  switchover aborted in gate: candidate_lost
expect operation none
expect active a
expect epoch 1
at 662s switchover b promoter force
  suspend epoch=1
  switchover gate: a -> b
expect operation gate
