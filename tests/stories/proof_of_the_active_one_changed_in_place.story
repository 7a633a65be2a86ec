# The active one is changed in place. It serves on, whatever its proofs say. Once it was away it must prove itself, and its standby is
# good, so clients wait for it: it passes.
pool by_role newest guard=enforce last_resort=hold
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
at 1s proof a unproven shared_buffers
  a proof proven -> unproven (shared_buffers)
expect active a
at 2s proof a failed settings
  a proof unproven -> failed (settings)
expect active a
expect epoch 1
at 3s proof a unproven max_connections
  a proof failed -> unproven (max_connections)
at 4s a starting
  a eligible -> starting
  verdict keep -> no_eligible
  revoke a epoch=1 last_words cause=starting
  pace a urgent
  pace b urgent
expect active nobody
at 5s a ok primary tl=1
  a starting -> unproven
  verdict no_eligible -> no_proven_node
  prove a now
  abort a epoch=1 cause=unproven
expect a=unproven
expect active nobody
at 5100ms proof a proven
  a proof unproven -> proven
  a unproven -> eligible
  verdict no_proven_node -> switch
  activate a epoch=2 cause=starting
  pace a normal
  pace b normal
expect active a
expect epoch 2
