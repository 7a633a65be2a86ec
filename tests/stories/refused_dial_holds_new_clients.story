# A client's connect was refused: the others wait for the second opinion instead of finding out for themselves.
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
at 1000ms passive a dial_refused
  probe a now
  suspend epoch=1
  pace a urgent
expect suspended yes
at 1002ms a ok primary tl=1
  resume epoch=1
  pace a normal
expect suspended no
expect active a
