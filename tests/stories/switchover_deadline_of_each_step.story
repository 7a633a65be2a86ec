# Each step has a deadline. Before the point of no return it aborts; after it the operation fails, and who is a primary is served.
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
at 10s switchover b promoter demote
  suspend epoch=1
  switchover gate: a -> b
expect operation gate
at 11s nothing
  [11s tick] resume epoch=1
  [11s tick] ungate
  [11s tick] switchover aborted in gate: deadline
expect operation none
expect active a
expect epoch 1
at 20s switchover b promoter demote
  suspend epoch=1
  switchover gate: a -> b
at 20100ms done gate
  switchover drain: a -> b
at 21050ms nothing
expect operation drain
at 21100ms nothing
  [21.1s tick] resume epoch=1
  [21.1s tick] ungate
  [21.1s tick] switchover aborted in drain: deadline
expect operation none
expect active a
# The shell says that it has stopped, and it still answers as a primary.
at 30s switchover b promoter demote
  suspend epoch=1
  switchover gate: a -> b
at 30100ms done gate
  switchover drain: a -> b
at 30200ms done drain
  switchover demote: a -> b
  pace a urgent
  pace b urgent
at 30300ms done demote
  probe a now
at 30310ms a ok primary tl=1
expect operation demote
expect suspended yes
at 31200ms nothing
  [31.2s tick] resume epoch=1
  [31.2s tick] ungate
  [31.2s tick] switchover failed in demote: deadline
  [31.2s tick] pace a normal
  [31.2s tick] pace b normal
expect operation none
expect active a
expect epoch 1
expect suspended no
# It stops, nobody is promoted, and it comes back.
at 40s switchover b promoter demote
  suspend epoch=1
  switchover gate: a -> b
at 40100ms done gate
  switchover drain: a -> b
at 40200ms done drain
  switchover demote: a -> b
  pace a urgent
  pace b urgent
at 40250ms a refused
at 40260ms a refused
  a health up -> down cause=probe (refused)
  a role primary -> unknown
  a eligible -> down
  verdict keep -> no_eligible
  revoke a epoch=1 abort cause=command
at 40300ms done demote
  probe a now
  switchover promote: a -> b
expect operation promote
at 41300ms nothing
  [41.3s tick] ungate
  [41.3s tick] switchover failed in promote: deadline
expect operation none
expect active nobody
at 42s a ok primary tl=1
  a role unknown -> primary
at 43s a ok primary tl=1
  a health down -> up cause=probe (ok)
  a down -> eligible
  verdict no_eligible -> switch
  activate a epoch=2 cause=command
  pace a normal
  pace b normal
expect active a
# The promoter says that it has promoted; nobody sees it.
at 50s switchover b promoter demote
  suspend epoch=2
  switchover gate: a -> b
at 50100ms done gate
  switchover drain: a -> b
at 50200ms done drain
  switchover demote: a -> b
  pace a urgent
  pace b urgent
at 50250ms a ok standby tl=1 standing
  a role primary -> standby
  a eligible -> standby
  verdict keep -> no_eligible
  revoke a epoch=2 abort cause=command
at 50300ms done demote
  probe a now
  switchover promote: a -> b
at 50400ms done promote
  probe b now
  switchover activate: a -> b
expect operation activate
at 51400ms nothing
  [51.4s tick] ungate
  [51.4s tick] switchover failed in activate: deadline
expect operation none
expect active nobody
