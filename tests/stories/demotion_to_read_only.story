# default_transaction_read_only was set on the primary. It is no place for writes, and its sessions end.
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
at 1s a ok primary read_only tl=1
  a eligible -> read_only
  verdict keep -> no_eligible
  revoke a epoch=1 abort cause=demoted
  pace a urgent
  pace b urgent
expect active nobody
expect a=read_only
at 2s a ok primary tl=1
  a read_only -> eligible
  verdict no_eligible -> switch
  activate a epoch=2 cause=demoted
  pace a normal
  pace b normal
expect active a
