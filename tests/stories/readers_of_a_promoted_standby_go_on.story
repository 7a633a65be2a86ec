# The primary dies and its standby is promoted. Those who read from the standby keep their sessions: it is the one writer now, so nothing
# they do can go astray. The old primary returns with a lower timeline: nobody reads what it has. Rebuilt as a standby it is read.
pool by_role newest readers
at 0ms a ok primary tl=1
  a health unknown -> up cause=probe (ok)
  a role unknown -> primary
  a unknown -> eligible
  a read unknown -> settling, sessions drain
at 1ms b ok standby tl=1
  b health unknown -> up cause=probe (ok)
  b role unknown -> standby
  b unknown -> standby
  verdict settling -> switch
  activate a epoch=1 cause=startup
  a read settling -> active, sessions drain
  b read unknown -> reader, sessions drain
  pace a normal
  pace b normal
expect read b=reader
at 1000ms passive a standing_lost
  probe a now
  suspend epoch=1
  a read active -> in_doubt, sessions drain
  pace a urgent
expect read a=in_doubt
at 1001ms a refused
  a health up -> down cause=two_signals (refused)
  a role primary -> unknown
  a eligible -> down
  verdict keep -> no_eligible
  revoke a epoch=1 abort cause=down
  a read in_doubt -> down, sessions abort
  pace b urgent
expect active nobody
expect read a=down
expect read b=reader
at 2000ms b ok primary tl=2
  b role standby -> primary
  b standby -> eligible
  verdict no_eligible -> switch
  activate b epoch=2 cause=down
  b read reader -> active, sessions drain
  pace a normal
  pace b normal
expect active b
expect read b=active
at 3000ms a ok primary tl=1
  a role unknown -> primary
  probe b now
  pace a fast
at 4000ms a ok primary tl=1
  a health down -> up cause=probe (ok)
  a down -> fenced
  a read down -> fenced, sessions abort
  pace a normal
expect a=fenced
expect read a=fenced
at 9000ms a ok standby tl=2
  a role primary -> standby
  a fenced -> standby
  a read fenced -> reader, sessions drain
expect read a=reader
expect epoch 2
