// How what is known is kept up to date.
// The endpoint does not exist.
class Missing extends Error {}
async function get(from, patience) {
  const answer = await fetch(from, { cache: "no-store", signal: AbortSignal.timeout(patience || 5000) });
  // A pool that is gone is another matter.
  if (answer.status === 404 && (await answer.json()).error?.code === "not_found") throw new Missing();
  if (!answer.ok) throw new Error(from + " answered " + answer.status);
  return { body: await answer.json(), at: answer.headers.get("date") };
}

async function loadEvents() {
  const news = (await get("/api/v1/events?since=" + data.newest)).body;
  if (news.newest < data.newest) data.events = [];
  data.newest = news.newest;
  data.events = data.events.concat(news.events).slice(-1000);
  return news.events;
}

async function loadOperations() {
  data.operations = (await get("/api/v1/operations")).body.operations;
}

async function loadIncidents() {
  if (data.incidents.isMissing) return;
  try {
    data.incidents = (await get("/api/v1/incidents")).body.incidents;
  } catch (error) {
    if (error instanceof Missing) data.incidents = Object.assign([], { isMissing: true });
    else throw error;
  }
  // The story of one that was not over goes on.
  for (const [number, one] of details) if (one.open) await loadIncident(number);
}

async function loadIncident(number) {
  try {
    details.set(number, (await get("/api/v1/incidents/" + number)).body);
  } catch (error) {
    details.delete(number);
  }
}

// Only of what can be seen: an hour of hundreds of pools is megabytes.
const visible = new Set();
const watcher = new IntersectionObserver(
  entries => {
    for (const entry of entries)
      if (entry.isIntersecting) visible.add(entry.target.view.key);
      else visible.delete(entry.target.view.key);
    loadHistories();
  },
  { rootMargin: "200px" },
);
const read = new Map();
async function loadHistories() {
  if (historyIsMissing || lost || !data.status || document.hidden) return;
  const { all, shown } = listed();
  for (const { pool, found } of shown) {
    const last = read.get(pool.name) || 0;
    if (!visible.has(pool.name) || !isUnfolded(pool, found, all) || Date.now() - last < 9900) continue;
    read.set(pool.name, Date.now());
    try {
      const answer = (await get("/api/v1/history?pool=" + encodeURIComponent(pool.name))).body,
        own = answer.pools.find(one => one.name === pool.name);
      if (own) data.histories.set(pool.name, { now: answer.now, step_seconds: answer.step_seconds, ...own });
    } catch (error) {
      if (error instanceof Missing) historyIsMissing = true;
      break;
    }
  }
  show();
}

// An incident is told a moment after its first event, and grows while clients come back.
const incidentsFollow = 15000;
let incidentsUntil = 0;
// What the page can do without for a while: whether mainstay answers is seen by the status.
async function loadMore(isNew, news) {
  const isOperating = data.status.pools.some(pool => pool.operation || pool.trial);
  try {
    if (isNew || isOperating || news.some(event => ["operation", "trial", "order"].includes(event.kind))) await loadOperations();
    if (news.length) incidentsUntil = Date.now() + incidentsFollow;
    if (isNew || Date.now() < incidentsUntil || data.incidents.some(one => one.open)) await loadIncidents();
  } catch (error) {
    // The next event asks again.
  }
}

let isAsking = false,
  again = null;
async function refresh() {
  if (isAsking) {
    again = again || setTimeout(refresh, 100);
    return;
  }
  clearTimeout(again);
  again = null;
  isAsking = true;
  wasAsked = Date.now();
  try {
    const { body, at: sent } = await get("/api/v1/status");
    if (sent) skew = Math.abs(Date.parse(sent) - Date.now()) > 2000 ? Date.parse(sent) - Date.now() : 0;
    const isNew = started !== null && body.started !== started;
    if (isNew) {
      Object.assign(data, { events: [], newest: 0, incidents: [], operations: [] });
      historyIsMissing = false;
    }
    const isFirst = data.status === null;
    started = body.started;
    data.status = body;
    if (lost) {
      found = { at: now(), after: now() - Date.parse(lost.since), isNew };
      lost = null;
      openStream();
    }
    if (isFirst) render();
    const news = await loadEvents();
    await loadMore(isFirst || isNew, news);
  } catch (error) {
    if (!lost)
      lost = {
        since: new Date(now()).toISOString(),
        why: error.name === "TimeoutError" ? "It takes connections, but does not answer." : error.name === "Error" ? error.message : "",
      };
  }
  isAsking = false;
  render();
  for (const card of at("pools").children) watcher.observe(card);
}

// Events tell at once that something has changed; what, is asked.
let stream = null;
function openStream() {
  if (stream) stream.close();
  stream = new EventSource("/api/v1/events/stream");
  const kinds = [
    "abort",
    "activate",
    "admin",
    "check",
    "conflict",
    "eligibility",
    "health",
    "operation",
    "order",
    "pause",
    "proof",
    "read_eligibility",
    "resume",
    "revoke",
    "role",
    "second_opinion",
    "suspend",
    "trial",
    "verdict",
  ];
  for (const kind of kinds)
    stream.addEventListener(kind, () => {
      again = again || setTimeout(refresh, 30);
    });
  stream.onerror = () => {
    again = again || setTimeout(refresh, 30);
  };
}

// Numbers that are no events are asked for: often while somebody looks, and seldom otherwise.
setInterval(() => {
  const past = Date.now() - wasAsked;
  if (past >= (lost ? 1000 : document.hidden ? 30000 : data.status && data.status.pools.some(pool => pool.operation) ? 500 : 2000))
    refresh();
  if (stream && stream.readyState === EventSource.CLOSED && !lost && past > 1500) openStream();
  loadHistories();
}, 500);
setInterval(() => {
  if (!document.hidden) show();
}, 1000);
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) refresh();
});
at("search").addEventListener("input", event => {
  wanted = event.target.value.trim().toLowerCase();
  show();
  loadHistories();
});
// The event comes later than the end, and another one may have been opened since.
at("dialog").addEventListener("close", () => {
  if (!at("dialog").open) asked = null;
  show();
});
at("zone").textContent = "Times are those of this browser (" + (Intl.DateTimeFormat().resolvedOptions().timeZone || "local") + ").";
refresh().then(loadHistories);
openStream();
