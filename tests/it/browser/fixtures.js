// Before the page's own script: the last hour, and incidents, are made up from the pools that mainstay has; `twist` may change the status.
(() => {
  const real = window.fetch,
    steps = 360;
  const wave = (step, of) => Math.round(of * (1 + 0.12 * Math.sin(step / 17) + 0.08 * Math.sin(step / 5.3)));
  const each = make => Array.from({ length: steps }, (_, step) => make(step));
  // `fallen`: steps ago the backend of this number went down; 0: it did not.
  Object.assign(window, { fallen: 0, primary: 0, hours: [] });
  function history(pool) {
    const isDown = step => window.fallen > 0 && step >= steps - window.fallen;
    const isLost = step => isDown(step) && pool.active === null;
    return {
      name: pool.name,
      samples: steps,
      connections: each(step => (isLost(step) ? 0 : wave(step, 110))),
      held: each(step => (isLost(step) ? Math.min(40, step - steps + window.fallen) : 0)),
      bytes_per_second: each(step => (isLost(step) ? 0 : wave(step * 3, 3400000))),
      outage_seconds: each(step => (isLost(step) ? 10 : 0)),
      backends: pool.backends.map((backend, index) => ({
        name: backend.name,
        state: each(step =>
          index === window.primary
            ? isDown(step)
              ? "D"
              : step === 150
                ? "D"
                : "A"
            : isDown(step) && pool.active === backend.name
              ? "A"
              : "R",
        ).join(""),
        probe_ms: each(step =>
          index === window.primary && isDown(step) ? null : 0.4 + 0.2 * index + 0.1 * Math.sin(step / 3) + (step % 97 === 0 ? 2.5 : 0),
        ),
        lag_bytes: each(step => (index === window.primary ? null : Math.max(0, wave(step, 9000) - 8000))),
      })),
    };
  }
  const before = minutes => new Date(Date.now() - minutes * 60000).toISOString();
  const incident = {
    number: 7,
    pool: "orders",
    kind: "failover",
    began: before(2000),
    ended: before(1999.998),
    open: false,
    interrupted: false,
    cause: "down",
    evidence: "connect refused",
    from: "db-b",
    to: "db-a",
    epoch: 3,
    felt_seconds: 0.067,
    gap_seconds: 0.051,
    sessions_aborted: 97,
    clients: { held: 12, served_late: 12, turned_away: 0, longest_wait_seconds: 0.062 },
  };
  const json = body =>
    new Response(JSON.stringify(body), { headers: { "Content-Type": "application/json", Date: new Date(Date.now()).toUTCString() } });
  window.incidents = () => [incident];
  window.twist = status => status;
  window.fetch = async (path, options) => {
    if (window.isCut) throw new TypeError("cut");
    if (path === "/api/v1/status") return json(window.twist(await (await real(path, options)).json()));
    if (path.startsWith("/api/v1/history")) {
      window.hours.push(new URLSearchParams(path.split("?")[1]).get("pool"));
      const status = window.twist(await (await real("/api/v1/status", { cache: "no-store" })).json()),
        name = new URLSearchParams(path.split("?")[1]).get("pool");
      return json({
        now: new Date(Date.now()).toISOString(),
        step_seconds: 10,
        pools: status.pools.filter(pool => pool.name === name).map(history),
      });
    }
    if (path === "/api/v1/incidents") return json({ incidents: window.incidents() });
    if (path.startsWith("/api/v1/incidents/"))
      return json({
        ...incident,
        first_sign: incident.began,
        detected: incident.began,
        revoked: incident.began,
        activated: incident.ended,
        first_session: incident.ended,
        unknown_bytes: 4096,
        timeline: [
          { at: incident.began, text: "the check's session broke" },
          { at: incident.ended, text: "db-a activated" },
        ],
      });
    return real(path, options);
  };
})();
