# on_conflict: refuse closes the pool until one of them gives way.
pool by_role refuse
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
  revoke a epoch=1 abort cause=conflict
  conflict begins [a b]
  pace b urgent
expect active nobody
expect verdict split_brain
at 2s a ok standby tl=2
  a role primary -> standby
  a eligible -> standby
  verdict split_brain -> switch
  activate b epoch=2 cause=conflict
  conflict ends [b]
  pace a normal
  pace b normal
expect active b
