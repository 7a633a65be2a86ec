// Of many pools some are in trouble.
window.twist = status => {
  const is = (place, more) => Object.assign(place, more),
    pools = status.pools;
  const fenced = "fenced: its database epoch (PostgreSQL: timeline) is 3, and 4 was served already";
  is(pools[17], {
    active: null,
    verdict: "no_eligible",
    failover_ready: false,
    failover_ready_reason: "no_active",
    held: 31,
    advice: "Start the newer primary.",
    summary: "NO BACKEND MAY SERVE. db-a is down: connect refused; db-b is " + fenced + ". Start the newer primary. 31 clients wait.",
  });
  is(pools[17].backends[0], { health: "down", active: false, eligible: false, reason: "down: connect refused" });
  is(pools[17].backends[1], { active: false, eligible: false, reason: fenced });
  is(pools[90], {
    conflict: true,
    summary: "Clients go to db-a. WARNING: more than one backend says it is the primary (db-a, db-b): stop the wrong one.",
  });
  is(pools[33], { paused: true, pause_left_seconds: 21, held: 4, summary: "PAUSED by an operator: new clients wait." });
  is(pools[60], {
    failover_ready: false,
    failover_ready_reason: "unproven",
    summary: "Clients go to db-a. Every other backend that could take over has changed and has not proven itself.",
  });
  is(pools[60].backends[1], { proof: "failed", proof_what: "query orders_by_day differs: 3 rows here, 4 on db-a" });
  return status;
};
