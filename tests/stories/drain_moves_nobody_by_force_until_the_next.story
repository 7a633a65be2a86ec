# drain: no new clients; sessions go on until another is activated.
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
at 1s drain a force
  a admin ready -> drain
  a eligible -> drain
  verdict keep -> no_eligible
  revoke a epoch=1 drain cause=command
  pace a urgent
  pace b urgent
expect active nobody
expect a=drain
at 2s ready a
  a admin drain -> ready
  a drain -> eligible
  verdict no_eligible -> switch
  activate a epoch=2 cause=command
  pace a normal
  pace b normal
expect active a
