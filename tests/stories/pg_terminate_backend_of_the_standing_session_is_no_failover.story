# An administrator ended our own session. A new login a moment later succeeds: clients were held for that moment, nobody moved.
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
at 1000ms passive a standing_shutdown
  probe a now
  suspend epoch=1
  pace a urgent
expect suspended yes
at 1004ms a ok primary tl=1
  resume epoch=1
  pace a normal
expect suspended no
expect active a
expect epoch 1
# Nothing of it is left: a later death is told as what it is.
at 2s a timeout
  pace a fast
at 3s a timeout
  a health up -> down cause=probe (timeout)
  a role primary -> unknown
  a eligible -> down
  verdict keep -> no_eligible
  revoke a epoch=1 abort cause=down
  pace a urgent
  pace b urgent
expect active nobody
