// The last hour of a pool: what state each backend was in, and lines of what was measured, all over one axis of time.
const STATES = { A: "active", U: "up", R: "up, may not serve", M: "taken out", D: "down", "?": "not known" };
// Step under the pointer, by pool.
const pointed = new Map();
let historyIsMissing = false;

const steps = history => Math.round(3600 / history.step_seconds);
const momentOf = (history, step) => Date.parse(history.now) - (steps(history) - 1 - step) * history.step_seconds * 1000;
const placeOf = (history, when) => 1 - (Date.parse(history.now) - Date.parse(when)) / 3600000;
// Values by the steps of the hour: a young process has not sampled the first of them.
const spread = (history, values) => {
  const missing = Math.max(0, steps(history) - values.length);
  return Array.from({ length: steps(history) }, (_, step) =>
    step < missing ? undefined : values[step - missing + Math.max(0, values.length - steps(history))],
  );
};
const percent = share => (100 * share).toFixed(3) + "%";

function runsOf(history, letters) {
  const runs = [];
  spread(history, [...letters]).forEach((letter, step) => {
    const last = runs[runs.length - 1];
    if (last && last.letter === letter) last.end = step + 1;
    else runs.push({ letter, start: step, end: step + 1 });
  });
  return runs.filter(run => run.letter in STATES);
}

function strip(history, backend) {
  const runs = runsOf(history, backend.state),
    total = steps(history);
  const told =
    runs
      .slice(-6)
      .map(run => STATES[run.letter] + " from " + moment(momentOf(history, run.start)))
      .join(", ") || "no samples yet";
  // What is bad lies above its neighbours, which it may have to cover to be seen.
  const drawn = [...runs].sort((a, b) => (a.letter === "D") - (b.letter === "D"));
  return h(
    "div",
    { class: "strip", role: "img", "aria-label": backend.name + " in the last hour: " + told },
    drawn.map(run =>
      h(
        "div",
        {
          class: "run " + (run.letter === "?" ? "Q" : run.letter),
          style: { left: percent(run.start / total), width: percent((run.end - run.start) / total) },
        },
        (run.end - run.start) / total > 0.08 ? STATES[run.letter] : null,
      ),
    ),
  );
}

const nice = most => {
  if (most <= 0) return 1;
  const unit = 10 ** Math.floor(Math.log10(most));
  return [1, 2, 5, 10].map(factor => factor * unit).find(limit => limit >= most * 0.999);
};

function line(values, most) {
  let path = "",
    isDrawing = false;
  values.forEach((value, step) => {
    const is = value !== null && value !== undefined;
    if (is)
      path += (isDrawing ? "L" : "M") + (step + 0.5) + " " + (98 - 94 * Math.min(1, value / most)).toFixed(1) + (isDrawing ? "" : "h0");
    isDrawing = is;
  });
  return path;
}

function plot(history, title, series, unit) {
  const total = steps(history);
  const isKnown = value => value !== null && value !== undefined;
  // Each keeps its look, whichever of them has values.
  const all = series
    .map((one, index) => ({ name: one.name, look: "line" + (index % 4), values: spread(history, one.values) }))
    .filter(one => one.values.some(isKnown));
  const known = all.flatMap(one => one.values).filter(isKnown);
  if (known.length === 0) return null;
  const top = known.reduce((a, b) => Math.max(a, b), 0),
    most = nice(top);
  const last = values => values[values.length - 1];
  const outages = spread(history, history.outage_seconds)
    .map((lost, step) => (lost > 0 ? "M" + (step + 0.5) + " 0V100" : ""))
    .join("");
  const told = all.map(one => (one.name ? one.name + " " : "") + "now " + unit(last(one.values))).join(", ");
  return [
    h(
      "div",
      { class: "name" },
      title,
      series.length > 1
        ? h(
            "ul",
            { class: "keys" },
            all.map(one =>
              h(
                "li",
                { class: one.look },
                h("svg", { viewBox: "0 0 20 4", "aria-hidden": "true" }, h("path", { d: "M0 2H20" })),
                bdi(one.name),
              ),
            ),
          )
        : null,
    ),
    h(
      "svg",
      {
        class: "plot",
        viewBox: "0 0 " + total + " 100",
        preserveAspectRatio: "none",
        role: "img",
        "aria-label": title + " in the last hour: " + told + ", at most " + unit(top),
      },
      h("path", { class: "outage", d: outages }),
      h("path", { class: "grid", d: "M0 4H" + total + "M0 51H" + total + "M0 98H" + total }),
      all.map(one => h("path", { class: "line " + one.look, d: line(one.values, most) })),
    ),
    h(
      "div",
      { class: "scale", title: "the highest of the hour" },
      top > 0 ? h("span", null, unit(top)) : h("span"),
      h("span", null, "0"),
    ),
  ];
}

// Which events are worth a mark, what they look like, and what they say.
const isGood = (event, good) => (good.includes(event.to) ? "good" : "warn");
const MARKS = {
  revoke: event => ["bad", event.backend + " revoked"],
  activate: event => ["good", event.backend + " activated"],
  conflict: event => (event.to === "present" ? ["bad", "more than one primary"] : ["good", "one primary again"]),
  operation: event => ["run", event.cause + ": " + event.to],
  trial: event => ["run", "trial: " + event.to],
  pause: event => [isGood(event, ["ended"]), "pause " + event.to],
  check: event => [isGood(event, ["ok"]), "check of " + event.backend + ": " + event.to],
  admin: event => [isGood(event, ["ready"]), event.backend + " set to " + event.to],
  proof: event => [isGood(event, GOOD_PROOFS), event.backend + ": " + event.to],
  health: event => [event.to === "down" ? "bad" : "good", event.backend + " " + event.to],
};
const WORST_FIRST = ["bad", "warn", "run", "good"];

function marks(history, events) {
  const places = new Map();
  for (const event of events) {
    const place = placeOf(history, event.at);
    if (!(event.kind in MARKS) || place < 0 || place > 1.01) continue;
    const [level, text] = MARKS[event.kind](event);
    // Events that could not be told apart share a mark, which is that of the worst.
    const slot = Math.min(59, Math.floor(place * 60));
    const known = places.get(slot) || { place: Math.min(1, place), level, lines: [] };
    if (WORST_FIRST.indexOf(level) < WORST_FIRST.indexOf(known.level)) known.level = level;
    known.lines.push(clock(event.at) + " " + text);
    places.set(slot, known);
  }
  return [...places.entries()].map(([slot, mark]) => ({ slot, ...mark }));
}

// What all lines say at one step, in words.
function reading(history, step, marked) {
  const value = values => spread(history, values)[step];
  const lost = value(history.outage_seconds);
  const near = marked.filter(mark => Math.abs(mark.place * steps(history) - step - 0.5) < 3).flatMap(mark => mark.lines);
  return [
    moment(momentOf(history, step)),
    many(value(history.connections) ?? "–", "session"),
    (value(history.held) ?? "–") + " held",
    rate(value(history.bytes_per_second)),
    lost > 0 ? "outage " + seconds(lost) : null,
    ...history.backends.map(
      backend =>
        backend.name +
        " " +
        (STATES[spread(history, [...backend.state])[step]] || "–") +
        (value(backend.probe_ms) === undefined || value(backend.probe_ms) === null ? "" : " " + millis(value(backend.probe_ms))),
    ),
    ...near,
  ]
    .filter(Boolean)
    .join(" · ");
}

function timeline(pool, history, events) {
  if (!history) {
    return h("p", { class: "quiet" }, historyIsMissing ? "This mainstay keeps no history." : "The last hour is being read…");
  }
  const total = steps(history),
    step = pointed.get(pool.name),
    marked = marks(history, events);
  const isPointed = step !== undefined;
  const move = to => {
    pointed.set(pool.name, Math.max(0, Math.min(total - 1, to)));
    show();
  };
  const follow = event => {
    const box = event.currentTarget.querySelector(".marks").getBoundingClientRect();
    if (event.clientX >= box.left && event.clientX <= box.right) move(Math.floor(((event.clientX - box.left) / box.width) * total));
  };
  const keys = event => {
    // Keys may come faster than frames.
    const from = pointed.has(pool.name) ? pointed.get(pool.name) : total - 1;
    const by = { ArrowLeft: -1, ArrowRight: 1, PageUp: -30, PageDown: 30, Home: -total, End: total }[event.key];
    if (event.key === "Escape") {
      pointed.delete(pool.name);
      show();
    } else if (by) {
      event.preventDefault();
      move(from + by);
    }
  };
  const each = key => history.backends.map(backend => ({ name: backend.name, values: backend[key] }));
  const ends = [0, 15, 30, 45, 60].map(minutes => h("span", null, clock(Date.parse(history.now) - (60 - minutes) * 60000).slice(0, 5)));
  return h(
    "div",
    {
      class: "timeline",
      onpointermove: follow,
      onpointerdown: follow,
      onpointerleave: () => {
        pointed.delete(pool.name);
        show();
      },
    },
    h("div", { class: "name" }, "Events"),
    h(
      "div",
      {
        class: "marks",
        tabindex: "0",
        role: "slider",
        "aria-label": "Moment of the last hour of " + pool.name,
        onkeydown: keys,
        "aria-valuemin": "0",
        "aria-valuemax": total - 1,
        "aria-valuenow": isPointed ? step : total - 1,
        "aria-valuetext": reading(history, isPointed ? step : total - 1, marked),
      },
      marked.map(mark =>
        h(
          "span",
          { key: mark.slot, class: "mark", title: mark.lines.join("\n"), style: { left: percent(mark.place) } },
          shape(mark.level),
        ),
      ),
    ),
    h("div", { class: "scale" }),
    history.backends.map(backend => [
      h("div", { class: "name" }, bdi(backend.name)),
      strip(history, backend),
      h("div", { class: "scale" }),
    ]),
    plot(history, "Sessions", [{ values: history.connections }], count),
    plot(history, "Held clients", [{ values: history.held }], count),
    plot(history, "Bytes", [{ values: history.bytes_per_second }], rate),
    plot(history, "Probe time", each("probe_ms"), millis),
    plot(history, "Lag", each("lag_bytes"), bytes),
    h(
      "div",
      { class: "threads", "aria-hidden": "true" },
      marked.map(mark => h("i", { key: mark.slot, class: mark.level, style: { left: percent(mark.place) } })),
      isPointed ? h("i", { class: "pointer", style: { left: percent((step + 0.5) / total) } }) : null,
    ),
    h("div", { class: "axis" }, ends),
    h(
      "p",
      { class: "reading quiet", "aria-hidden": "true" },
      isPointed ? reading(history, step, marked) : "Point at a moment, or press the arrow keys, to read it.",
    ),
  );
}
