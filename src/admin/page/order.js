// Orders: each is asked once, beside what mainstay says that it would do.
let token = null,
  asked = null;

const choice = (name, label, options) => ({ name, label, options });
const tick = (name, label) => ({ name, label });
const names = pool => pool.backends.map(backend => backend.name);
const others = pool => [
  ["", "the best one"],
  ...names(pool)
    .filter(name => name !== pool.active)
    .map(name => [name, name]),
];

function poolOrders(pool) {
  const button = (text, spec, style) =>
    h("button", { class: style || "", onclick: () => ask({ title: text.replace("…", "") + ": " + pool.name, ...spec }) }, text);
  const to = end => path(pool.name, end),
    several = pool.backends.length > 1,
    list = [];
  if (pool.operation && pool.operation.can_abort) list.push(button("Abort…", { to: to("abort"), yes: "Yes, abort it" }, "strong"));
  else if (pool.trial) list.push(button("End the trial…", { to: to("abort"), yes: "Yes, end the trial" }));
  if (!pool.operation && pool.active && several)
    list.push(
      button("Switch over…", {
        to: to("switchover"),
        yes: "Yes, switch over",
        fields: [
          choice("to", "to", others(pool)),
          choice("trial", "trial", [
            ["", "none"],
            ["15m", "15 minutes"],
            ["1h", "1 hour"],
          ]),
          tick("force", "also to one that is far behind, and although something is missing (force)"),
        ],
      }),
    );
  if (!pool.operation && !pool.active && pool.verdict !== "settling")
    list.push(
      button(
        "Promote…",
        {
          to: to("promote"),
          yes: "Yes, promote it",
          fields: [
            choice("to", "to", others(pool)),
            tick("accept_loss", "although it lacks what the old primary had, or nobody knows (accept_loss)"),
            tick("force", "although another one says that it is a primary (force)"),
          ],
        },
        "strong",
      ),
    );
  if (!pool.operation && several)
    list.push(
      button("Roll back…", {
        to: to("rollback"),
        yes: "Yes, roll back",
        fields: [tick("accept_loss", "although it lacks what the last one had, or nobody knows (accept_loss)")],
      }),
    );
  list.push(
    pool.paused
      ? button("Resume…", { to: to("resume"), yes: "Yes, resume" })
      : button("Pause…", {
          to: to("pause"),
          yes: "Yes, pause",
          fields: [
            choice("max", "for at most", [
              ["30s", "30 seconds"],
              ["10s", "10 seconds"],
              ["1m", "1 minute"],
              ["5m", "5 minutes"],
            ]),
          ],
        }),
  );
  list.push(
    button("End sessions…", {
      to: to("kill"),
      yes: "Yes, end them",
      fields: [choice("backend", "of", [["", "every backend"], ...names(pool).map(name => [name, name])])],
    }),
  );
  list.push(button("Drill", { to: to("drill") }));
  return h("div", { class: "orders", role: "group", "aria-label": "Orders for " + pool.name }, list);
}

function backendOrders(pool, backend) {
  const button = (text, end, spec) =>
    h(
      "button",
      {
        "aria-label": text + " " + pool.name + "/" + backend.name,
        onclick: () =>
          ask({
            title: text.replace("…", "") + ": " + pool.name + "/" + backend.name,
            to: path(pool.name, "backends", backend.name, end),
            ...spec,
          }),
      },
      text,
    );
  const state = (text, state, yes) =>
    backend.admin === state
      ? null
      : button(text, "state", {
          method: "PUT",
          body: { state },
          yes,
          fields: state === "ready" ? [] : [tick("force", "although nobody takes over (force)")],
        });
  const isProven = GOOD_PROOFS.includes(backend.proof);
  return [
    state("Ready…", "ready", "Yes, put it back"),
    state("Drain…", "drain", "Yes, drain it"),
    state("Maint…", "maint", "Yes, take it out"),
    isProven
      ? null
      : [
          button("Prove…", "prove", { yes: "Yes, run its proofs" }),
          button("Approve…", "approve", { yes: "Yes, approve it", needsReason: true }),
        ],
    isProven || backend.proof !== "failed" ? button("Reject…", "reject", { yes: "Yes, reject it", needsReason: true }) : null,
  ];
}

function ask(spec) {
  asked = { spec: { method: "POST", fields: [], body: {}, ...spec }, values: {}, reason: "", said: null, number: 0 };
  for (const field of asked.spec.fields) asked.values[field.name] = field.options ? field.options[0][0] : false;
  render();
  at("dialog").showModal();
  rehearse();
}

// What an order says: only what was chosen.
function bodyOf(dryRun) {
  const chosen = Object.entries(asked.values).filter(([, value]) => value !== "" && value !== false);
  const reason = asked.reason.trim() || (dryRun && asked.spec.needsReason ? "asked by the page, for a dry run" : "");
  return { ...asked.spec.body, ...Object.fromEntries(chosen), ...(reason ? { reason } : {}), ...(dryRun ? { dry_run: true } : {}) };
}

async function send(body) {
  const headers = { "Content-Type": "application/json" };
  if (token !== null) headers.Authorization = "Bearer " + token;
  let answer, text;
  try {
    answer = await fetch(asked.spec.to, {
      method: asked.spec.method,
      headers,
      body: JSON.stringify(body),
      cache: "no-store",
      signal: AbortSignal.timeout(30000),
    });
    text = await answer.json();
  } catch (error) {
    return { lost: true };
  }
  if (answer.ok) return { done: text.done, operation: text.operation };
  const code = text.error && text.error.code;
  if (["token_missing", "token_wrong"].includes(code)) token = null;
  return { refused: text.error ? text.error.message : "answered " + answer.status, code };
}

const needsToken = () => data.status.orders_need === "token" && token === null;
async function rehearse() {
  if (needsToken()) return show();
  const one = asked,
    number = (one.number += 1);
  one.said = null;
  show();
  const said = await send(bodyOf(true));
  // Another choice was made meanwhile, or the dialog is closed.
  if (asked !== one || one.number !== number) return;
  one.said = said;
  show();
}

async function carryOut() {
  const one = asked;
  one.isSending = true;
  show();
  one.result = await send(bodyOf(false));
  one.isSending = false;
  show();
  refresh();
}

function tokenForm() {
  const submit = event => {
    event.preventDefault();
    const field = event.target.elements.token;
    token = field.value.trim() || null;
    field.value = "";
    rehearse();
  };
  return h(
    "form",
    { key: "token", onsubmit: submit },
    asked.said && asked.said.refused ? h("p", { class: "refused", role: "alert" }, shape("bad"), " ", asked.said.refused) : null,
    h(
      "p",
      null,
      "Orders over TCP need the token of ",
      h("code", null, "admin.write"),
      ". This page keeps it in memory only, until it is closed or loaded again.",
    ),
    h("label", null, "Token ", h("input", { type: "password", name: "token", autocomplete: "off", required: true, autofocus: true })),
    h(
      "p",
      { class: "row" },
      h("button", { type: "submit", class: "strong" }, "Use this token"),
      h("button", { type: "button", onclick: close }, "Cancel"),
    ),
  );
}

const close = () => at("dialog").close();
const lines = list =>
  h(
    "ul",
    { class: "done" },
    (list || []).map(text => h("li", null, text)),
  );

function said(result, isDryRun) {
  if (!result) return h("p", { class: "quiet", role: "status" }, "mainstay is asked what it would do…");
  if (result.lost)
    return h(
      "p",
      { class: "refused", role: "alert" },
      shape("bad"),
      isDryRun ? " No answer came." : " No answer came: nobody can say whether it was carried out. Look at the events.",
    );
  if (result.refused) return h("p", { class: "refused", role: "alert" }, shape("bad"), h("b", null, " Refused: "), result.refused);
  return h(
    "div",
    { role: "status" },
    h("p", null, shape("good"), h("b", null, isDryRun ? " What would be done:" : " Done:")),
    lines(result.done),
    result.operation ? h("p", null, "Operation " + result.operation + " has begun. The page shows its steps.") : null,
  );
}

function field(one) {
  const change = event => {
    asked.values[one.name] = one.options ? event.target.value : event.target.checked;
    rehearse();
  };
  if (!one.options)
    return h(
      "label",
      { class: "tick", key: one.name },
      h("input", { type: "checkbox", checked: asked.values[one.name], onchange: change }),
      " " + one.label,
    );
  return h(
    "label",
    { key: one.name },
    one.label + " ",
    h(
      "select",
      { value: asked.values[one.name], onchange: change },
      one.options.map(([value, text]) => h("option", { value }, text)),
    ),
  );
}

function dialog() {
  if (!asked) return [];
  const { spec, result } = asked,
    title = h("h2", { key: "title", id: "dialog-title" }, spec.title);
  if (needsToken()) return [title, tokenForm()];
  if (result)
    return [title, said(result, false), h("p", { class: "row", key: "end" }, h("button", { class: "strong", onclick: close }, "Close"))];
  const may = asked.said && asked.said.done && !asked.isSending && !lost && (!spec.needsReason || asked.reason.trim());
  return [
    title,
    h(
      "div",
      { class: "fields", key: "fields" },
      spec.fields.map(field),
      spec.yes
        ? h(
            "label",
            null,
            "Reason " + (spec.needsReason ? "" : "(kept with the event) "),
            h("input", {
              type: "text",
              maxlength: "600",
              value: asked.reason,
              oninput: event => {
                asked.reason = event.target.value;
                show();
              },
            }),
          )
        : null,
    ),
    said(asked.said, true),
    h(
      "p",
      { class: "row", key: "row" },
      spec.yes ? h("button", { class: "strong", disabled: !may, onclick: carryOut }, asked.isSending ? "Ordering…" : spec.yes) : null,
      h("button", { onclick: close, autofocus: true }, spec.yes ? "No, leave it" : "Close"),
    ),
  ];
}
