# A wrong password from the start: nobody is active, but the check is not repeated fifty times a second.
pool by_role newest
at 0ms a misconfigured
  a alert misconfigured (misconfigured)
  a unknown -> misconfigured
  pace a normal
at 1ms b misconfigured
  b alert misconfigured (misconfigured)
  b unknown -> misconfigured
  verdict settling -> no_eligible
  pace b normal
expect active nobody
expect a=misconfigured
expect b=misconfigured
