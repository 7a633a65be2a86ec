# A standby falls behind. Nobody new is sent there to read, those who are there go on; it comes back at half of the bound, so that one
# that wavers around the bound does not come and go. Who is active has no part in it.
pool by_role newest readers max_lag=100
at 0ms a ok primary tl=1
  a health unknown -> up cause=probe (ok)
  a role unknown -> primary
  a unknown -> eligible
  a read unknown -> settling, sessions drain
at 1ms b ok standby tl=1 lag=0
  b health unknown -> up cause=probe (ok)
  b role unknown -> standby
  b unknown -> standby
  verdict settling -> switch
  activate a epoch=1 cause=startup
  a read settling -> active, sessions drain
  b read unknown -> reader, sessions drain
  pace a normal
  pace b normal
expect active a
expect read a=active
expect read b=reader
at 1000ms b ok standby tl=1 lag=100
expect read b=reader
at 2000ms b ok standby tl=1 lag=101
  b read reader -> lag, sessions drain
expect read b=lag
at 3000ms b ok standby tl=1 lag=51
expect read b=lag
at 4000ms b ok standby tl=1 lag=50
  b read lag -> reader, sessions drain
expect read b=reader
at 5000ms b ok standby tl=1 lag=100
expect read b=reader
expect epoch 1
