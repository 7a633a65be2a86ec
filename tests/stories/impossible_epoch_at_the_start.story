# The one that lies answers first: nobody is active before the others are heard, and what they show tells it apart.
pool by_role newest backends=3 max_epoch_step=1000
at 1ms a ok primary tl=4294967295
  a health unknown -> up cause=probe (ok)
  a role unknown -> primary
  a unknown -> eligible
at 2ms b ok primary tl=5
  b health unknown -> up cause=probe (ok)
  b role unknown -> primary
  a eligible -> role_unknown
  b unknown -> eligible
at 3ms c ok standby tl=5
  c health unknown -> up cause=probe (ok)
  c role unknown -> standby
  c unknown -> standby
  verdict settling -> switch
  activate b epoch=1 cause=startup
  pace a normal
  pace b normal
  pace c normal
expect active b
expect a=role_unknown
at 4ms b ok primary tl=6
expect active b
