# Our own check cannot log in any more. What was known of the database stays, and the alert stands until a login succeeds.
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
at 1s a misconfigured
  a alert misconfigured (misconfigured)
at 2s a misconfigured
expect active a
at 3s a ok primary tl=1 standing
expect active a
at 9s a ok primary tl=1
  a alert ok (ok)
expect active a
expect epoch 1
