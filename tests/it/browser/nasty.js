// `text` stands wherever a server, a client or an operator may have written something.
(() => {
  const text = window.text,
    at = new Date().toISOString();
  window.twist = status => {
    const pool = status.pools[0];
    Object.assign(status, { version: text, orders_need: "token" });
    Object.assign(pool, {
      name: text,
      summary: text + ". " + text,
      advice: text,
      active: text,
      conflict: true,
      last_failover: { at, from: text, to: text, cause: text, evidence: text, detected_ms: 1, gap_ms: 1, sessions_closed: 1 },
      trial: { operation: 1, from: text, to: text, returns: true, until: at, sentence: text },
    });
    for (const one of pool.listeners) Object.assign(one, { name: text, listen: [text], route: text });
    for (const [index, one] of pool.backends.entries()) {
      Object.assign(one, {
        name: text + index,
        address: text,
        reason: text,
        role: text,
        alert: text,
        alert_evidence: text,
        proof: text,
        proof_what: text,
        version: text,
        last_probe: { outcome: text, evidence: text, at, took_ms: 1 },
      });
    }
    return status;
  };
  window.incidents = () => [
    {
      number: 1,
      pool: text,
      kind: text,
      began: at,
      ended: null,
      open: true,
      interrupted: false,
      cause: text,
      evidence: text,
      from: text,
      to: text,
      epoch: 1,
      felt_seconds: 1,
      gap_seconds: 1,
      sessions_aborted: 1,
      clients: { held: 1, served_late: 1, turned_away: 1, longest_wait_seconds: 1 },
    },
  ];
})();
