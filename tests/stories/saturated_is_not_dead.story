# No free connection is no death: the role and the verdict stay, an alert tells it.
pool by_role newest fall=1
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
at 1s a saturated
  a alert saturated (saturated)
at 2s a saturated
at 3s a saturated
expect active a
expect epoch 1
at 4s a ok primary tl=1
  a alert ok (ok)
expect active a
