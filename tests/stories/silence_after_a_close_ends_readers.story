# Somebody reads from a standby that is stopped and closes its port, and its sessions are left to it. Then its host is cut off, without a
# word: the readers are ended as the clients of a primary would be.
pool by_role newest readers fall=2
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
at 1000ms passive b standing_closed
  probe b now
  b read reader -> in_doubt, sessions drain
  pace b fast
at 1001ms b refused
  b health up -> down cause=two_signals (refused)
  b role standby -> unknown
  b standby -> down
  b read in_doubt -> down, sessions last_words
  pace b normal
at 60s b connect_timeout
at 61s b refused
at 62s b connect_timeout
at 63s b connect_timeout
  b read down -> down, sessions abort
expect read b=down
at 64s b connect_timeout
at 65s b connect_timeout
expect active a
