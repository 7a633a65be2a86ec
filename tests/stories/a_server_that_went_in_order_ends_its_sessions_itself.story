# pg_ctl stop -m smart: it takes nobody in, serves who is there, and goes. Its kernel tells what is left of its sessions.
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
at 1000ms a starting
  a eligible -> starting
  verdict keep -> no_eligible
  revoke a epoch=1 last_words cause=starting
  pace a urgent
  pace b urgent
at 60s a refused
at 60020ms a refused
  a health up -> down cause=probe (refused)
  a role primary -> unknown
  a starting -> down
expect a=down
at 61s a starting
  abort a epoch=1 cause=down
expect active nobody
at 62s a ok primary tl=1
  a role unknown -> primary
at 62020ms a ok primary tl=1
  a health down -> up cause=probe (ok)
  a down -> eligible
  verdict no_eligible -> switch
  activate a epoch=2 cause=starting
  pace a normal
  pace b normal
expect active a
expect epoch 2
