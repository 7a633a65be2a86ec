# on_conflict: keep stays, even with the older one, until that one goes.
pool by_role keep
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
at 1s b ok primary tl=2
  b role standby -> primary
  probe a now
  b standby -> eligible
  suspend epoch=1
  pace a urgent
expect active a
expect suspended yes
at 1001ms a ok primary tl=1
  verdict keep -> split_brain
  conflict begins [a b]
  resume epoch=1
  pace a normal
expect active a
expect verdict split_brain
at 2s a refused
  pace a fast
at 3s a refused
  a health up -> down cause=probe (refused)
  a role primary -> unknown
  a eligible -> down
  verdict split_brain -> switch
  revoke a epoch=1 abort cause=down
  activate b epoch=2 cause=down
  conflict ends [b]
  pace a normal
expect active b
