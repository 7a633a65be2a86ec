# The primary comes back as another server and fails its proofs. It serves nobody, and is still the primary: a good standby of it takes over when that is ordered, and the bad one is stopped first.
pool by_role newest backends=2 guard=enforce
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
at 1s passive a standing_lost
  probe a now
  suspend epoch=1
  pace a urgent
at 1001ms a refused
  a health up -> down cause=two_signals (refused)
  a role primary -> unknown
  a eligible -> down
  verdict keep -> no_eligible
  revoke a epoch=1 abort cause=down
  pace b urgent
at 2s proof a unproven away
  a proof proven -> unproven (away)
at 3s a ok primary tl=1
  a role unknown -> primary
at 3020ms a ok primary tl=1
  a health down -> up cause=probe (ok)
  a down -> unproven
  verdict no_eligible -> no_proven_node
  prove a now
at 3100ms proof a failed smoke
  a proof unproven -> failed (smoke)
expect active nobody
expect verdict no_proven_node
at 4s switchover a promoter demote
  refused: unproven a
at 4s switchover b promoter demote trial=5m
  refused: no_active b
at 4s promote b promoter
  refused: lag_unknown b
expect operation none
at 5s switchover promoter demote
  switchover demote: a -> b
expect operation demote
at 5100ms done demote
  probe a now
expect operation demote
at 5200ms a refused
at 5300ms a refused
  a health up -> down cause=probe (refused)
  a role primary -> unknown
  a unproven -> down
  verdict no_proven_node -> no_eligible
  switchover promote: a -> b
at 5400ms done promote
  probe b now
  switchover activate: a -> b
at 5500ms b ok primary tl=2
  b role standby -> primary
  b standby -> eligible
  verdict no_eligible -> switch
  activate b epoch=2 cause=command
  switchover done in activate: complete
  pace a normal
  pace b normal
expect active b
expect operation none
at 10s a ok primary tl=1
  a role unknown -> primary
  probe b now
  pace a fast
at 10100ms a ok primary tl=1
at 10200ms a ok primary tl=1
at 10300ms a ok primary tl=1
  a health down -> up cause=probe (ok)
  a down -> fenced
  pace a normal
expect a=fenced
