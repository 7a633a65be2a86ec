# A pause shorter than `fall` probes: nothing happens.
pool by_role newest fall=3
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
at 1s a timeout
  pace a fast
at 2s a timeout
at 3s a ok primary tl=1
  pace a normal
at 4s a timeout
  pace a fast
at 5s a timeout
at 6s a ok primary tl=1
  pace a normal
expect active a
expect epoch 1
