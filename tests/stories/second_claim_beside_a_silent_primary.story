# A second primary while the one in use says nothing: new clients wait for its word, and its silence decides.
pool by_role refuse backends=2
at 1ms a ok primary tl=1
  a health unknown -> up cause=probe (ok)
  a role unknown -> primary
  a unknown -> eligible
at 2ms b ok standby tl=1
  b health unknown -> up cause=probe (ok)
  b role unknown -> standby
  b unknown -> standby
  verdict settling -> switch
  activate a epoch=1 cause=startup
  pace a normal
  pace b normal
at 900ms b ok primary tl=1
  b role standby -> primary
  probe a now
  b standby -> eligible
  suspend epoch=1
  pace a urgent
expect active a
expect suspended yes
at 1900ms a timeout
expect active a
expect suspended yes
expect conflict no
at 2900ms a timeout
  a health up -> down cause=probe (timeout)
  a role primary -> unknown
  a eligible -> down
  verdict keep -> switch
  revoke a epoch=1 abort cause=down
  activate b epoch=2 cause=down
  pace a normal
expect active b
expect conflict no
