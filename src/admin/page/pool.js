// One pool: what is wrong, since when, why, what to do; then its backends, the last hour, and what can be ordered.
const READINESS = {
  ready: "ready for a failover: another backend can take over",
  no_active: "no backend is active",
  single_backend: "it has one backend only",
  no_candidate: "no other backend is healthy",
  lag: "every other backend is too far behind",
  witness: "no standby says whether it hears its primary",
  budget: "the failover budget is used up",
  unproven: "only backends that have not proven themselves could take over",
};
const PROOF_LEVELS = { proven: "good", approved: "good", failed: "bad" };
const path = (...parts) => "/api/v1/pools/" + parts.map(encodeURIComponent).join("/");

// When the present trouble of a pool began, as far as anybody can tell.
const firstSeen = new Map();
function since(pool, found, events) {
  const open = found.word === "OUTAGE" && data.incidents.find(one => one.open && one.pool === pool.name);
  if (open) return { at: open.began };
  const began = found.word === "OK" ? null : [...events].reverse().find(found.began);
  if (began) return { at: began.at };
  const seen = firstSeen.get(pool.name);
  return seen && seen.word === found.word ? seen : null;
}

// The server's sentences, without the advice, if it has a place of its own.
function sentences(pool, advice) {
  const text = advice ? pool.summary.replace(advice, "").replace(/ {2,}/g, " ").trim() : pool.summary;
  const end = text.search(/[.:] /);
  return end < 0 ? [h("b", null, text)] : [h("b", null, text.slice(0, end + 1)), text.slice(end + 1)];
}

function verdict(pool, found, events) {
  const began = since(pool, found, events),
    advice = found.level === "bad" ? pool.advice : null;
  const held = pool.held > 0 ? many(pool.held, "client") + (pool.held === 1 ? " waits" : " wait") : null;
  return h(
    "div",
    { class: "verdict " + found.level },
    h(
      "p",
      { class: "what" },
      badge(found.level, found.word),
      found.level === "bad" ? [" of ", h("b", null, bdi(pool.name))] : null,
      found.level === "good" ? null : " ",
      began && found.level !== "good"
        ? h(
            "span",
            { class: "since" },
            began.isOlder ? "for at least " : "for ",
            h("b", null, lasting(began.at)),
            ", since ",
            time(began.at),
          )
        : null,
      held ? h("span", { class: "held" }, " · " + held) : null,
    ),
    h("p", { class: "why" }, sentences(pool, advice)),
    advice ? h("p", { class: "advice" }, h("b", null, "What to do: "), advice) : null,
    pool.paused ? h("p", null, "The pause ends by itself in " + (pool.pause_left_seconds ?? "?") + " s.") : null,
    pool.trial ? h("p", null, pool.trial.sentence, " It ends at ", time(pool.trial.until), ".") : null,
  );
}

function operation(pool) {
  const recent = one => one.pool === pool.name && (!one.end || now() - Date.parse(one.end.at) < 600000);
  const last = data.operations.filter(recent).pop();
  if (!last) return null;
  const end = last.end,
    level = !end ? "run" : end.result === "done" ? "good" : end.result === "aborted" ? "warn" : "bad";
  const step = one => {
    const isDone = end && end.result === "done";
    let [mark, word] = ["run", "since " + age(one.since)];
    if (!one.since) [mark, word] = ["idle", end ? (isDone ? "not needed" : "not begun") : "to come"];
    else if (one.took_ms !== null) [mark, word] = ["good", seconds(one.took_ms / 1000)];
    // The candidate may be active before a step has told of its end.
    else if (end) [mark, word] = isDone ? ["good", ""] : ["bad", "not finished"];
    return h(
      "li",
      { class: mark },
      shape(mark),
      " ",
      h("b", null, one.step),
      " ",
      h("span", { class: "quiet" }, word),
      one.lines.map(said => h("div", { class: "said" }, said)),
    );
  };
  return h(
    "section",
    { class: "operation", "aria-label": "Operation " + last.id },
    h("h3", null, shape(level), " " + last.kind + " " + last.id + ": ", bdi(last.from || "nobody"), " → ", bdi(last.to)),
    h(
      "p",
      { class: "quiet" },
      "Ordered by ",
      bdi(last.by),
      " at ",
      time(last.at),
      last.reason ? [": ", bdi(last.reason)] : null,
      end
        ? ". It took " + seconds(last.took_ms / 1000) + "."
        : last.can_abort
          ? ". It can be aborted."
          : ". It is past its point of no return.",
    ),
    h("ol", null, last.steps.map(step)),
    end ? h("p", null, h("b", null, end.result + ": "), end.sentence) : null,
  );
}

function backendRow(pool, backend) {
  const [level, word] = backendState(backend),
    probe = backend.last_probe;
  const cell = (label, ...kids) => h("td", { "data-label": label }, h("div", null, kids));
  const readers =
    pool.listeners.some(one => one.route !== "primary") && !backend.active
      ? backend.reader
        ? "is read"
        : "is not read: " + backend.reader_reason
      : null;
  const why = backend.eligible || backend.active || backend.reason === backend.role ? null : backend.reason;
  return h(
    "tr",
    { key: backend.name },
    h("th", { scope: "row" }, bdi(backend.name), h("div", { class: "quiet" }, bdi(backend.address))),
    cell(
      "State",
      badge(level, word),
      why ? h("div", { class: "reason" }, why) : null,
      readers ? h("div", { class: "quiet" }, readers) : null,
      backend.alert ? h("div", { class: "reason" }, "check: " + backend.alert + ": " + backend.alert_evidence) : null,
    ),
    cell("Role", backend.role, backend.db_epoch === null ? null : h("div", { class: "quiet" }, "epoch " + backend.db_epoch)),
    cell(
      "Proof",
      badge(PROOF_LEVELS[backend.proof] || "warn", backend.proof),
      backend.proof_what ? h("div", { class: "reason" }, backend.proof_what) : null,
    ),
    cell("Sessions", backend.connections + (backend.limit ? " of " + backend.limit : "")),
    cell("Lag", bytes(backend.lag_bytes)),
    cell(
      "Last check",
      probe ? [probe.outcome + " in " + millis(probe.took_ms), h("div", { class: "quiet" }, age(probe.at) + " ago")] : "none yet",
    ),
    cell(
      "Since",
      h("span", { title: backend.since }, age(backend.since)),
      backend.version ? h("div", { class: "quiet" }, bdi(backend.version)) : null,
    ),
    data.status.orders_need === "none"
      ? null
      : h("td", { class: "buttons", "data-label": "Orders" }, h("div", null, backendOrders(pool, backend))),
  );
}

const HEAD = ["Backend", "State", "Role", "Proof", "Sessions", "Lag", "Last check", "Since"];
function backends(pool) {
  return h(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": "Backends of " + pool.name },
    h(
      "table",
      { class: "backends" },
      h(
        "thead",
        null,
        h(
          "tr",
          null,
          HEAD.map(text => h("th", { scope: "col" }, text)),
          data.status.orders_need === "none" ? null : h("th", { scope: "col" }, "Orders"),
        ),
      ),
      h(
        "tbody",
        null,
        pool.backends.map(backend => backendRow(pool, backend)),
      ),
    ),
  );
}

function facts(pool) {
  const last = pool.last_failover,
    several = pool.backends.length > 1;
  const unproven = pool.backends.filter(backend => !GOOD_PROOFS.includes(backend.proof));
  const ports = pool.listeners.map(one =>
    h(
      "li",
      null,
      bdi(one.name),
      " on " + one.listen.join(", "),
      one.route === "primary" ? null : " (" + one.route + ")",
      ": " + many(one.connections, "connection") + (one.limit === null ? "" : " of " + one.limit),
    ),
  );
  const ready = pool.failover_ready ? "good" : several ? "warn" : "idle";
  return h(
    "dl",
    { class: "facts" },
    h("dt", null, "Failover"),
    h(
      "dd",
      null,
      shape(ready),
      " " + (pool.failover_ready ? "" : "not ready: ") + (READINESS[pool.failover_ready_reason] || pool.failover_ready_reason),
    ),
    h("dt", null, "Proofs"),
    h(
      "dd",
      null,
      unproven.length === 0
        ? [shape("good"), " every backend is proven or approved"]
        : [
            shape("warn"),
            " ",
            unproven.map(one => one.name + " is " + one.proof + (one.proof_what ? ": " + one.proof_what : "")).join("; "),
          ],
    ),
    h("dt", null, "Last failover"),
    h(
      "dd",
      null,
      last
        ? [
            time(last.at),
            ", from ",
            bdi(last.from),
            " to ",
            bdi(last.to),
            " because of " + last.cause + " (",
            bdi(last.evidence),
            "): seen within " +
              seconds(last.detected_ms / 1000) +
              ", nobody active for " +
              seconds(last.gap_ms / 1000) +
              ", " +
              many(last.sessions_closed, "session") +
              " closed",
          ]
        : "none since mainstay started",
    ),
    h("dt", null, "Listeners"),
    h("dd", null, h("ul", null, ports)),
  );
}

function poolCard(pool, found, events, all) {
  const isOpen = isUnfolded(pool, found, all),
    id = "pool-" + data.status.pools.indexOf(pool);
  const sessions = pool.backends.reduce((sum, backend) => sum + backend.connections, 0);
  return h(
    "article",
    { key: pool.name, class: "pool " + found.level, "aria-labelledby": id + "-name", "data-pool": pool.name },
    h(
      "h2",
      null,
      h(
        "button",
        {
          class: "fold",
          id: id + "-name",
          "aria-expanded": String(isOpen),
          "aria-controls": id,
          onclick: () => {
            unfolded.set(pool.name, !isOpen);
            show();
            loadHistories();
          },
        },
        h("span", { class: "arrow", "aria-hidden": "true" }, isOpen ? "▾" : "▸"),
        isOpen || found.level === "bad" ? null : badge(found.level, found.word),
        h("b", { class: "title" }, bdi(pool.name)),
        h(
          "span",
          { class: "brief" },
          pool.active ? ["→ ", bdi(pool.active)] : "no active backend",
          " · " + many(sessions, "session"),
          !isOpen && pool.held > 0 ? " · " + pool.held + " held" : null,
        ),
      ),
    ),
    isOpen || found.level === "good"
      ? null
      : found.level === "bad"
        ? verdict(pool, found, events)
        : h("p", { class: "why" }, pool.summary),
    h(
      "div",
      { id, class: "body", hidden: !isOpen },
      isOpen
        ? [
            verdict(pool, found, events),
            pool.operation ? operation(pool) : null,
            data.status.orders_need === "none" ? null : poolOrders(pool),
            backends(pool),
            h("section", { "aria-label": "The last hour of " + pool.name }, timeline(pool, data.histories.get(pool.name), events)),
            pool.operation ? null : operation(pool),
            facts(pool),
          ]
        : null,
    ),
  );
}
