# The standing session broke, the second opinion finds no free connection: somebody is alive there, clients go on.
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
at 1000ms passive a standing_lost
  probe a now
  suspend epoch=1
  pace a urgent
expect suspended yes
at 1005ms a saturated
  a alert saturated (saturated)
  resume epoch=1
  pace a normal
expect suspended no
expect active a
# The doubt is void: a refused connect later is a first sign again, not a second one.
at 9000ms a refused
  pace a fast
expect active a
