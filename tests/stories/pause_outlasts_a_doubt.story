# A pause and a doubt: new clients go on when both are over. The clients of a paused pool wait for no probe, so its pace is normal.
pool by_role newest backends=1
at 0s a ok primary tl=1
  a health unknown -> up cause=probe (ok)
  a role unknown -> primary
  a unknown -> eligible
  verdict settling -> switch
  activate a epoch=1 cause=startup
  pace a normal
expect suspended no
at 1s pause 10s
  paused until 11s
  suspend epoch=1
expect suspended yes
at 2s passive a standing_lost
  probe a now
  pace a urgent
at 3s a ok primary tl=1
  pace a normal
expect suspended yes
at 4s passive a standing_lost
  probe a now
  pace a urgent
at 4s resume
  pause ends
expect suspended yes
at 5s a ok primary tl=1
  resume epoch=1
  pace a normal
expect suspended no
