// Numbers, times and states as people read them.
const two = number => String(number).padStart(2, "0");
const clock = when => {
  const day = new Date(when);
  return [day.getHours(), day.getMinutes(), day.getSeconds()].map(two).join(":");
};
const date = when => {
  const day = new Date(when);
  return [day.getFullYear(), two(day.getMonth() + 1), two(day.getDate())].join("-");
};
const moment = when => (date(when) === date(Date.now()) ? clock(when) : date(when) + " " + clock(when));
const time = when => h("time", { datetime: when, title: when }, moment(when));

// The clock of mainstay minus that of the browser, in milliseconds; ages are by the former.
let skew = 0;
const now = () => Date.now() + skew;
const seconds = number => {
  if (number < 0.9995) return Math.round(number * 1000) + " ms";
  if (number < 10) return number.toFixed(1) + " s";
  if (number < 120) return Math.round(number) + " s";
  if (number < 7200) return Math.round(number / 60) + " min";
  return number < 172800 ? Math.round(number / 3600) + " h" : Math.round(number / 86400) + " days";
};
const age = when => {
  const past = Math.max(0, (now() - Date.parse(when)) / 1000);
  return past < 1 ? "0 s" : seconds(Math.floor(past));
};
// Of an outage every second counts.
const lasting = when => {
  const past = Math.max(0, Math.floor((now() - Date.parse(when)) / 1000));
  if (past < 60) return past + " s";
  return past < 3600
    ? Math.floor(past / 60) + " min " + two(past % 60) + " s"
    : Math.floor(past / 3600) + " h " + two(Math.floor(past / 60) % 60) + " min";
};
const bytes = count => {
  if (count === null || count === undefined) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (count >= 1024 && unit < units.length - 1) {
    count /= 1024;
    unit += 1;
  }
  return (unit && count < 100 ? count.toFixed(1) : Math.round(count)) + " " + units[unit];
};
const rate = count => (count === null || count === undefined ? "–" : bytes(count) + "/s");
const count = number => (number === null || number === undefined ? "–" : String(Math.round(number)));
const millis = number => (number === null || number === undefined ? "–" : (number < 10 ? number.toFixed(1) : Math.round(number)) + " ms");
const many = (number, one, more) => number + " " + (number === 1 ? one : more || one + "s");

// A shape for each state, so that no colour is needed to tell them apart.
const SHAPES = {
  good: "M8 1a7 7 0 1 0 0 14A7 7 0 0 0 8 1zm-1.2 10.2L3.6 8 5 6.6l1.8 1.8L11 4.2l1.4 1.4z",
  warn: "M8 1L0 15h16zm-1 5h2v5H7zm0 6h2v2H7z",
  bad: "M1 1h14v14H1zm3.2 2.8L6.6 8l-2.4 4.2h2.2L8 9.6l1.6 2.6h2.2L9.4 8l2.4-4.2H9.6L8 6.4 6.4 3.8z",
  idle: "M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2zm0 2a4 4 0 1 1 0 8 4 4 0 0 1 0-8z",
  run: "M3 1l11 7-11 7z",
};
const shape = level =>
  h(
    "svg",
    { class: "shape " + level, viewBox: "0 0 16 16", "aria-hidden": "true", focusable: "false" },
    h("path", { d: SHAPES[level], "fill-rule": "evenodd" }),
  );
const badge = (level, word) => h("span", { class: "badge " + level }, shape(level), " ", word);

const GOOD_PROOFS = ["proven", "approved"];
const isRead = pool => pool.listeners.length > 0 && pool.listeners.every(one => one.route !== "primary");

// What is most wrong with a pool: how bad, in a word, and the events that began it.
const TROUBLES = [
  [
    "bad",
    "TWO PRIMARIES",
    pool => pool.conflict || pool.verdict === "split_brain",
    event => event.kind === "conflict" && event.to === "present",
  ],
  ["warn", "STARTING", pool => !pool.active && pool.verdict === "settling", () => false],
  // For a moment nobody is active in a switchover, too.
  [
    "bad",
    "OUTAGE",
    pool => !pool.active && pool.operation?.kind !== "switchover" && !(isRead(pool) && pool.backends.some(one => one.reader)),
    event => event.kind === "revoke",
  ],
  ["warn", "IN OPERATION", pool => pool.operation, event => event.kind === "operation"],
  ["warn", "PAUSED", pool => pool.paused, event => event.kind === "pause" && event.to === "begun"],
  ["warn", "IN DOUBT", pool => pool.suspended, event => event.kind === "suspend"],
  [
    "warn",
    "UNPROVEN",
    pool => pool.backends.some(one => one.active && !GOOD_PROOFS.includes(one.proof)),
    event => event.kind === "proof",
  ],
  ["warn", "CHECK BROKEN", pool => pool.backends.some(one => one.alert), event => event.kind === "check"],
  [
    "warn",
    "NOT READY",
    pool => !pool.failover_ready && pool.active && pool.backends.length > 1,
    event => event.kind === "health" || event.kind === "proof",
  ],
  ["warn", "ON TRIAL", pool => pool.trial, event => event.kind === "trial"],
  [
    "warn",
    "DEGRADED",
    pool => pool.backends.some(one => one.health === "down" || one.admin !== "ready" || !GOOD_PROOFS.includes(one.proof)),
    event => ["health", "admin", "proof"].includes(event.kind),
  ],
  ["good", "OK", () => true, event => event.kind === "activate"],
];
const LEVELS = ["bad", "warn", "good"];
const levelWord = (level, number) => ({ bad: "critical", warn: number === 1 ? "warning" : "warnings", good: "OK" })[level];
function trouble(pool) {
  const rank = TROUBLES.findIndex(([, , holds]) => holds(pool));
  const [level, word, , began] = TROUBLES[rank];
  return { level, word, began, rank: LEVELS.indexOf(level) * 100 + rank };
}

function backendState(backend) {
  if (backend.health === "down") return ["bad", "down"];
  if (backend.admin !== "ready") return ["warn", backend.admin];
  if (backend.alert || (backend.active && !GOOD_PROOFS.includes(backend.proof)))
    return ["warn", backend.active ? "active" : backend.health];
  if (backend.active) return ["good", "active"];
  if (backend.health !== "up" || backend.pending) return ["warn", backend.pending ? backend.health + ", pending" : backend.health];
  return backend.eligible || backend.reader || backend.reason === "standby" ? ["idle", "up"] : ["warn", backend.health];
}
