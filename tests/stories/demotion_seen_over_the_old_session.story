# New logins fail, and over the old session the server says that it refuses writes: that word against itself is believed.
pool by_role newest fall=3
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
at 1000ms a timeout
  pace a fast
at 1100ms a ok primary read_only tl=1 standing
  probe a now
  a eligible -> read_only
  verdict keep -> no_eligible
  revoke a epoch=1 abort cause=demoted
  pace a urgent
  pace b urgent
expect active nobody
expect a=read_only
