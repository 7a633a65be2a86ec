# Redis FAILOVER, or any switchover between two looks: the new primary is seen before the old one was asked again. The word of the
# old one is older than the new claim, so it is asked at once; nothing is called a conflict until it has answered.
pool by_role newest backends=2
at 1ms a ok primary
  a health unknown -> up cause=probe (ok)
  a role unknown -> primary
  a unknown -> eligible
at 2ms b ok standby
  b health unknown -> up cause=probe (ok)
  b role unknown -> standby
  b unknown -> standby
  verdict settling -> switch
  activate a epoch=1 cause=startup
  pace a normal
  pace b normal
expect active a

at 900ms b ok primary
  b role standby -> primary
  probe a now
  b standby -> eligible
  suspend epoch=1
  pace a urgent
expect active a
expect suspended yes
expect conflict no
expect verdict keep

at 902ms a ok standby
  a role primary -> standby
  a eligible -> standby
  verdict keep -> switch
  revoke a epoch=1 abort cause=demoted
  activate b epoch=2 cause=demoted
  pace a normal
expect active b
expect conflict no
expect verdict keep

# The other end of it: the old one answers that it still is the primary, and the conflict is loud.
at 2s a ok primary
  a role standby -> primary
  probe b now
  a standby -> eligible
  suspend epoch=2
  pace b urgent
expect conflict no
expect suspended yes
at 2001ms b ok primary
  verdict keep -> split_brain
  conflict begins [a b]
  resume epoch=2
  pace b normal
expect active b
expect suspended no
expect conflict yes
expect verdict split_brain
