# As in lagging_standby_is_not_read, with the bound in time: bytes say nothing then. One that applies nothing any more is further
# behind than any bound; one that says nothing is near enough.
pool by_role newest readers max_lag=10s
at 0ms a ok primary tl=1
  a health unknown -> up cause=probe (ok)
  a role unknown -> primary
  a unknown -> eligible
  a read unknown -> settling, sessions drain
at 1ms b ok standby tl=1 lag=0s
  b health unknown -> up cause=probe (ok)
  b role unknown -> standby
  b unknown -> standby
  verdict settling -> switch
  activate a epoch=1 cause=startup
  a read settling -> active, sessions drain
  b read unknown -> reader, sessions drain
  pace a normal
  pace b normal
at 1000ms b ok standby tl=1 lag=10s
expect read b=reader
at 2000ms b ok standby tl=1 lag=11s
  b read reader -> lag, sessions drain
expect read b=lag
at 3000ms b ok standby tl=1 lag=6s
expect read b=lag
at 4000ms b ok standby tl=1 lag=5s
  b read lag -> reader, sessions drain
at 5000ms b ok standby tl=1 lag=100000m
  b read reader -> lag, sessions drain
at 6000ms b ok standby tl=1 lag=99999999
  b read lag -> reader, sessions drain
expect read b=reader
expect epoch 1
