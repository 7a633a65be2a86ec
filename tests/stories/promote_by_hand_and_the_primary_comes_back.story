# In the fence, the promotion is aborted. Once the promotion has begun, the old one is not served before its end.
pool by_role newest
at 0ms a ok primary tl=1 at=1000
  a health unknown -> up cause=probe (ok)
  a role unknown -> primary
  a unknown -> eligible
at 1ms b ok standby tl=1 at=1000
  b health unknown -> up cause=probe (ok)
  b role unknown -> standby
  b unknown -> standby
  verdict settling -> switch
  activate a epoch=1 cause=startup
  pace a normal
  pace b normal
at 1s a refused
  pace a fast
at 1100ms a refused
  a health up -> down cause=probe (refused)
  a role primary -> unknown
  a eligible -> down
  verdict keep -> no_eligible
  revoke a epoch=1 abort cause=down
  pace a urgent
  pace b urgent
at 2s promote b promoter fence=required
  promote fence: a -> b
at 2100ms a ok primary tl=1 at=1000
  a role unknown -> primary
at 2200ms a ok primary tl=1 at=1000
  a health down -> up cause=probe (ok)
  a down -> eligible
  verdict no_eligible -> switch
  activate a epoch=2 cause=down
  promote aborted in fence: primary_returned
  pace a normal
  pace b normal
expect operation none
expect active a
expect suspended no
at 3s a refused
  pace a fast
at 3100ms a refused
  a health up -> down cause=probe (refused)
  a role primary -> unknown
  a eligible -> down
  verdict keep -> no_eligible
  revoke a epoch=2 abort cause=down
  pace a urgent
  pace b urgent
at 4s promote b promoter
  promote promote: a -> b
expect operation promote
at 4100ms a ok primary tl=1 at=1000
  a role unknown -> primary
at 4200ms a ok primary tl=1 at=1000
at 4250ms a ok primary tl=1 at=1000
at 4300ms a ok primary tl=1 at=1000
  a health down -> up cause=probe (ok)
  a down -> eligible
  verdict no_eligible -> switch
  activate a epoch=3 cause=down
  suspend epoch=3
expect active a
expect suspended yes
at 4400ms b ok primary tl=2
  b role standby -> primary
  probe a now
  b standby -> eligible
  verdict keep -> switch
  revoke a epoch=3 abort cause=conflict
  activate b epoch=4 cause=command
  a eligible -> fenced
  promote done in promote: complete
  pace a normal
  pace b normal
expect active b
expect operation none
expect a=fenced
