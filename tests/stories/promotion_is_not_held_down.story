# A spent budget never blocks one that the database itself promoted: its timeline is new.
pool by_role newest rise=1 fall=1 budget=1/10m
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
at 10s a refused
  a health up -> down cause=probe (refused)
  a role primary -> unknown
  a eligible -> down
  verdict keep -> no_eligible
  revoke a epoch=1 abort cause=down
  pace a urgent
  pace b urgent
at 11s b ok primary tl=2
  b role standby -> primary
  b standby -> eligible
  verdict no_eligible -> switch
  activate b epoch=2 cause=down
  pace a normal
  pace b normal
at 12s a ok standby tl=2
  a health down -> up cause=probe (ok)
  a role unknown -> standby
  a down -> standby
at 20s b refused
  b health up -> down cause=probe (refused)
  b role primary -> unknown
  b eligible -> down
  verdict keep -> no_eligible
  revoke b epoch=2 abort cause=down
  pace a urgent
  pace b urgent
at 21s a ok primary tl=3
  a role standby -> primary
  a standby -> eligible
  verdict no_eligible -> switch
  activate a epoch=3 cause=down
  pace a normal
  pace b normal
expect active a
at 22s b ok standby tl=3
  b health down -> up cause=probe (ok)
  b role unknown -> standby
  b down -> standby
at 30s a refused
  a health up -> down cause=probe (refused)
  a role primary -> unknown
  a eligible -> down
  verdict keep -> no_eligible
  revoke a epoch=3 abort cause=down
  pace a urgent
  pace b urgent
at 31s b ok primary tl=4
  b role standby -> primary
  b standby -> eligible
  verdict no_eligible -> switch
  activate b epoch=4 cause=down
  pace a normal
  pace b normal
expect active b
expect epoch 4
