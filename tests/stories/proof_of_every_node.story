# Every node has changed, and none is proven: two approvals, the first lets it serve.
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
at 1s proof a unproven version
  a proof proven -> unproven (version)
at 2s proof b unproven version
  b proof proven -> unproven (version)
expect active a
expect ready unproven
at 3s a starting
  a eligible -> starting
  verdict keep -> no_eligible
  revoke a epoch=1 last_words cause=starting
  pace a urgent
  pace b urgent
at 4s a ok primary tl=1
  a starting -> unproven
  verdict no_eligible -> no_proven_node
  prove a now
  abort a epoch=1 cause=unproven
expect verdict no_proven_node
at 4500ms proof a inconclusive index: it fails on no other
  a proof unproven -> inconclusive (index: it fails on no other)
at 1m nothing
expect active nobody
at 61s proof a approved
  a proof inconclusive -> approved
  a unproven -> eligible
  verdict no_proven_node -> switch
  activate a epoch=2 cause=starting
  pace a normal
  pace b normal
expect active a
at 62s proof b approved
  b proof unproven -> approved
expect ready ready
