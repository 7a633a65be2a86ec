# The same, and a quick proof fails. No good one is left, so it serves, as the last resort.
pool by_role newest guard=enforce
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
at 1s proof b unproven version
  b proof proven -> unproven (version)
at 2s passive a standing_lost
  probe a now
  suspend epoch=1
  pace a urgent
at 2001ms a refused
  a health up -> down cause=two_signals (refused)
  a role primary -> unknown
  a eligible -> down
  verdict keep -> no_eligible
  revoke a epoch=1 abort cause=down
  pace b urgent
at 3s b ok primary tl=2
  b role standby -> primary
  b standby -> unproven
  verdict no_eligible -> no_proven_node
  prove b now
expect active nobody
at 3100ms proof b failed extensions: vector.so is missing
  b proof unproven -> failed (extensions: vector.so is missing)
  b unproven -> eligible
  verdict no_proven_node -> switch
  activate b epoch=2 cause=down
  pace a normal
  pace b normal
expect active b
# The old one comes back as a standby, good: nothing changes for whom is served.
at 9s a ok standby tl=2
  a role unknown -> standby
  pace a fast
at 9001ms a ok standby tl=2
  a health down -> up cause=probe (ok)
  a down -> standby
  pace a normal
at 9002ms a ok standby tl=2
at 9003ms a ok standby tl=2
expect a=standby
at 10s b ok primary tl=2
expect active b
expect epoch 2
expect ready ready
