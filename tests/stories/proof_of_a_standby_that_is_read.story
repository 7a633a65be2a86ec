# With `enforce` a standby that has changed is not read, but for the canary's share while its proofs run. Open sessions go on.
pool by_role newest readers guard=enforce canary max_lag=100
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
at 1s proof b unproven version
  b proof proven -> unproven (version)
  b read reader -> unproven, sessions drain
expect read b=unproven
at 2s proof b proving version
  b proof unproven -> proving (version)
  b read unproven -> canary, sessions drain
expect read b=canary
at 3s b ok standby tl=1 lag=101
  b read canary -> lag, sessions drain
expect read b=lag
at 4s b ok standby tl=1 lag=0
  b read lag -> canary, sessions drain
expect read b=canary
at 5s proof b failed index
  b proof proving -> failed (index)
  b read canary -> unproven, sessions drain
expect read b=unproven
at 6s proof b approved dba said so
  b proof failed -> approved (dba said so)
  b read unproven -> reader, sessions drain
expect read b=reader
expect active a
expect epoch 1
