# A backend that names a timeline which no promotion explains is no primary, and what it named is not remembered.
pool by_role newest backends=2 max_epoch_step=1000
at 1ms a ok primary tl=5
  a health unknown -> up cause=probe (ok)
  a role unknown -> primary
  a unknown -> eligible
at 2ms b ok standby tl=5
  b health unknown -> up cause=probe (ok)
  b role unknown -> standby
  b unknown -> standby
  verdict settling -> switch
  activate a epoch=1 cause=startup
  pace a normal
  pace b normal
expect active a

at 1s b ok primary tl=4294967295
  b role standby -> primary
  b standby -> role_unknown
expect active a
expect b=role_unknown
expect conflict no

# Also when it is the one in use.
at 2s a ok primary tl=4294967295
  a eligible -> role_unknown
  verdict keep -> no_eligible
  revoke a epoch=1 abort cause=demoted
  pace a urgent
  pace b urgent
expect active nobody
expect a=role_unknown
at 3s a ok primary tl=5
  a role_unknown -> eligible
  verdict no_eligible -> switch
  activate a epoch=2 cause=demoted
  pace a normal
  pace b normal
expect active a
at 4s b ok primary tl=6
  probe a now
  b role_unknown -> eligible
  verdict keep -> switch
  revoke a epoch=2 abort cause=conflict
  activate b epoch=3 cause=conflict
  a eligible -> fenced
expect active b
