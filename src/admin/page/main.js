// What is known, and the page around the pools.
const data = { status: null, events: [], newest: 0, incidents: [], operations: [], histories: new Map() };
const unfolded = new Map(),
  details = new Map();
let wanted = "",
  level = null,
  lost = null,
  found = null,
  started = null,
  wasAsked = 0;
// With more pools than this, they are folded.
const FEW = 4;

function listed() {
  const pools = data.status.pools.map((pool, index) => ({ pool, found: trouble(pool), index }));
  const isWanted = ({ pool, found }) =>
    (!level || found.level === level) &&
    (!wanted || [pool.name, ...pool.backends.flatMap(one => [one.name, one.address])].some(text => text.toLowerCase().includes(wanted)));
  return { all: pools, shown: pools.filter(isWanted).sort((a, b) => a.found.rank - b.found.rank || a.index - b.index) };
}

// Of several pools in trouble all are to be seen at once, so none is unfolded.
function isUnfolded(pool, found, all) {
  if (unfolded.has(pool.name)) return unfolded.get(pool.name);
  const bad = all.filter(one => one.found.level === "bad").length,
    alike = all.filter(one => one.found.level === found.level).length;
  return (bad === 0 && all.length <= FEW) || (found.level !== "good" && alike === 1 && (found.level === "bad" || bad === 0));
}

function incident(one) {
  const more = details.get(one.number);
  const load = async event => {
    if (!event.target.open || details.has(one.number)) return;
    await loadIncident(one.number);
    show();
  };
  const level = one.open ? "bad" : one.kind === "planned" ? "run" : one.kind === "failover" ? "warn" : "bad";
  const figures = more
    ? [
        ["first sign", more.first_sign],
        ["detected", more.detected],
        ["revoked", more.revoked],
        ["activated", more.activated],
        ["first session", more.first_session],
      ].filter(([, when]) => when)
    : [];
  return h(
    "li",
    { key: one.number },
    h(
      "details",
      { ontoggle: load },
      h(
        "summary",
        null,
        shape(level),
        " #" + one.number + " ",
        h("b", null, bdi(one.pool)),
        " " + one.kind + " ",
        time(one.began),
        one.open
          ? [", open for ", h("b", null, lasting(one.began))]
          : one.interrupted
            ? ", interrupted: mainstay ended in the middle"
            : ", felt for " + seconds(one.felt_seconds ?? 0),
        h(
          "span",
          { class: "quiet" },
          " · " + one.cause + ": ",
          bdi(one.evidence),
          one.from || one.to ? [" · ", bdi(one.from || "nobody"), " → ", bdi(one.to || "nobody")] : null,
        ),
      ),
      h(
        "p",
        null,
        many(one.sessions_aborted ?? 0, "session") +
          " aborted. " +
          many(one.clients.held, "client") +
          " held, " +
          one.clients.served_late +
          " of them served late, " +
          one.clients.turned_away +
          " turned away; the longest wait was " +
          seconds(one.clients.longest_wait_seconds ?? 0) +
          ". Nobody was active for " +
          seconds(one.gap_seconds ?? 0) +
          "." +
          (more && more.unknown_bytes ? " Transactions of unknown outcome: " + bytes(more.unknown_bytes) + "." : ""),
      ),
      figures.length
        ? h(
            "p",
            null,
            figures.map(([name, when], index) => [index ? ", " : "", name + " ", time(when)]),
          )
        : null,
      more
        ? h(
            "ol",
            { class: "story" },
            (more.timeline || []).map(entry => h("li", null, time(entry.at), " ", bdi(entry.text))),
          )
        : null,
      h(
        "p",
        null,
        "Post-mortem: ",
        h("code", null, "mainstay incident " + one.number + " --markdown"),
        ", or as ",
        h("a", { href: "/api/v1/incidents/" + one.number }, "JSON"),
      ),
    ),
  );
}

function events() {
  const match = event =>
    !wanted || [event.pool, event.backend, event.kind, event.evidence].some(text => text && text.toLowerCase().includes(wanted));
  const cell = (label, ...kids) => h("td", { "data-label": label }, h("div", null, kids));
  return data.events
    .filter(match)
    .slice(-50)
    .reverse()
    .map(event =>
      h(
        "tr",
        { key: event.id },
        cell("When", time(event.at)),
        cell("Pool", bdi(event.pool || "–")),
        cell("Backend", bdi(event.backend || "–")),
        cell("What", event.kind),
        cell("Change", [event.from, event.to].filter(Boolean).join(" → ") || "–"),
        cell("Cause", event.cause || "–"),
        cell("Evidence", bdi(event.evidence || "–")),
      ),
    );
}

function connection() {
  if (lost)
    return [
      shape("bad"),
      h("b", null, " Connection to mainstay lost for " + lasting(lost.since) + ", since "),
      time(lost.since),
      ". What is below is of that time. The page goes on by itself when mainstay answers. " + lost.why,
    ];
  return found && now() - found.at < 30000
    ? [
        shape("good"),
        " Connected again, after " + seconds(found.after / 1000) + "." + (found.isNew ? " mainstay was started anew meanwhile." : ""),
      ]
    : [];
}

let isDrawing = false;
// At most once for each frame.
function show() {
  if (isDrawing) return;
  isDrawing = true;
  const paint = () => {
    if (isDrawing) {
      isDrawing = false;
      render();
    }
  };
  // A page in the background has no frames.
  if (document.hidden) setTimeout(paint, 0);
  else requestAnimationFrame(paint);
}

function render() {
  document.body.className = lost ? "lost" : "";
  patch(at("connection"), connection());
  if (!data.status) return;
  const status = data.status,
    { all, shown } = listed(),
    byPool = new Map();
  for (const event of data.events)
    if (byPool.has(event.pool)) byPool.get(event.pool).push(event);
    else byPool.set(event.pool, [event]);
  for (const { pool, found } of all) {
    const seen = firstSeen.get(pool.name);
    if (!seen || seen.word !== found.word)
      firstSeen.set(pool.name, { word: found.word, at: new Date(now()).toISOString(), isOlder: !seen });
  }
  const tally = LEVELS.map(name => [name, all.filter(one => one.found.level === name).length]);
  draw(at("tally"), [
    ...tally.map(([name, number]) =>
      h(
        "button",
        {
          key: name,
          class: "tally " + (number ? name : "none"),
          "aria-pressed": String(level === name),
          onclick: () => {
            level = level === name ? null : name;
            show();
            loadHistories();
          },
        },
        shape(name),
        " " + number + " " + levelWord(name, number),
      ),
    ),
  ]);
  patch(at("process"), [
    "mainstay " +
      status.version +
      " · " +
      status.phase +
      " · " +
      (status.ready ? "ready" : "NOT READY") +
      " · up for " +
      seconds(status.uptime_seconds),
  ]);
  at("find").hidden = all.length < 2;
  draw(
    at("pools"),
    shown.length
      ? shown.map(({ pool, found }) => poolCard(pool, found, byPool.get(pool.name) || [], all))
      : [h("p", { class: "quiet" }, "No pool is like that.")],
  );
  patch(
    at("incidents"),
    data.incidents.length
      ? [h("ol", { class: "incidents" }, data.incidents.slice(0, 10).map(incident))]
      : [h("p", { class: "quiet" }, data.incidents.isMissing ? "This mainstay keeps no incidents." : "None is known.")],
  );
  patch(at("events"), events());
  patch(at("dialog"), dialog());
  at("dialog").setAttribute("aria-labelledby", asked ? "dialog-title" : "");
  // What had the focus may have gone with what was answered.
  const focused = document.activeElement;
  if (at("dialog").open && (focused === at("dialog") || !at("dialog").contains(focused)))
    at("dialog").querySelector("[autofocus]")?.focus();
  const bad = tally[0][1];
  document.title =
    (lost
      ? "? "
      : bad
        ? "✕ " +
          all
            .filter(one => one.found.level === "bad")
            .map(one => one.pool.name)
            .slice(0, 3)
            .join(", ") +
          " · "
        : "") + "mainstay";
  if (!performance.getEntriesByName("shown").length) performance.mark("shown");
}
