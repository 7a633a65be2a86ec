# A pause ends nothing, and its end does not open the gate.
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
at 1s pause 9s
  paused until 10s
  suspend epoch=1
at 2s switchover b promoter limit=9s
  switchover gate: a -> b
at 2010ms done gate
  switchover drain: a -> b
at 3s resume
  pause ends
expect suspended yes
expect operation drain
at 3010ms pause 9s
  paused until 12.01s
at 3020ms done drain
  switchover promote: a -> b
  pace a urgent
  pace b urgent
at 3100ms a ok standby tl=1
  a role primary -> standby
  a eligible -> standby
  verdict keep -> no_eligible
  revoke a epoch=1 abort cause=command
at 3110ms b ok primary tl=2
  b role standby -> primary
  b standby -> eligible
  verdict no_eligible -> switch
  activate b epoch=2 cause=command
  suspend epoch=2
  ungate
  switchover done in promote: complete
  pace a normal
  pace b normal
expect operation none
expect active b
expect suspended yes
at 4s resume
  pause ends
  resume epoch=2
expect suspended no
