# Two primaries on one timeline: nothing tells which is right, so the one in use stays, and the conflict is loud.
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
at 1s b ok primary tl=1
  b role standby -> primary
  probe a now
  b standby -> eligible
  suspend epoch=1
  pace a urgent
expect active a
expect suspended yes
expect conflict no
at 1001ms a ok primary tl=1
  verdict keep -> split_brain
  conflict begins [a b]
  resume epoch=1
  pace a normal
expect suspended no
expect active a
expect conflict yes
expect verdict split_brain
at 2s b ok standby tl=1
  b role primary -> standby
  b eligible -> standby
  verdict split_brain -> keep
  conflict ends [a]
expect conflict no
expect verdict keep
