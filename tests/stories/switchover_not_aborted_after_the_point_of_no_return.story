# Once the old primary is told to stop, there is no abort by command.
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
at 1s switchover b promoter demote
  suspend epoch=1
  switchover gate: a -> b
at 1001ms done gate
  switchover drain: a -> b
at 1002ms done drain
  switchover demote: a -> b
  pace a urgent
  pace b urgent
at 1003ms abort
  refused: point_of_no_return
expect operation demote
at 1004ms a starting
  a eligible -> starting
  verdict keep -> no_eligible
  revoke a epoch=1 last_words cause=command
at 1005ms done demote
  probe a now
  switchover promote: a -> b
at 1006ms abort
  refused: point_of_no_return
expect operation promote
at 1007ms done promote
  probe b now
  switchover activate: a -> b
at 1008ms abort
  refused: point_of_no_return
expect operation activate
at 1009ms b ok primary tl=2
  b role standby -> primary
  b standby -> eligible
  verdict no_eligible -> switch
  activate b epoch=2 cause=command
  ungate
  switchover done in activate: complete
  pace a fast
  pace b normal
expect operation none
expect active b
