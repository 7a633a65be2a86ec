# A standby is promoted by mistake, on the same timeline as the primary in use. A session that began there to read could write now, to a
# node that is not the one writer: it is closed.
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
at 1000ms b ok primary tl=1
  b role standby -> primary
  probe a now
  b standby -> eligible
  suspend epoch=1
  b read reader -> not_active, sessions abort
  pace a urgent
at 1001ms a ok primary tl=1
  verdict keep -> split_brain
  conflict begins [a b]
  resume epoch=1
  pace a normal
expect active a
expect read b=not_active
at 2000ms b ok standby tl=1
  b role primary -> standby
  b eligible -> standby
  verdict split_brain -> keep
  conflict ends [a]
  b read not_active -> reader, sessions drain
expect read b=reader
