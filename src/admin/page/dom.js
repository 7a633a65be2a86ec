"use strict";
// Views are plain objects; `patch` makes the document equal to them and leaves alone what has not changed, so that the focus, a selection
// and what a screen reader reads stay where they are. Every text becomes a text node or an attribute: nothing is ever read as markup.
const at = id => document.getElementById(id);
const SVG = at("shapes").namespaceURI;
const DRAWN = new Set(["svg", "path", "line", "rect", "g"]);
const AS_PROPERTY = new Set(["value", "checked", "disabled", "open"]);

// Marks that turn the direction of text around could make a line say something else.
const clean = text =>
  String(text).replace(/[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, mark => "\\u{" + mark.codePointAt(0).toString(16) + "}");

const isShown = kid => kid !== null && kid !== undefined && kid !== false && kid !== "";
const h = (tag, props, ...kids) => ({
  tag,
  props: props || {},
  key: props ? props.key : undefined,
  kids: kids
    .flat(4)
    .filter(isShown)
    .map(kid => (typeof kid === "object" ? kid : String(kid))),
});
// A text of somebody else, whose direction does not reach its neighbours.
const bdi = text => h("bdi", null, text);

function set(node, name, value, before) {
  if (name === "key" || value === before) return;
  if (name.startsWith("on")) node[name] = value || null;
  else if (name === "style") {
    for (const key of Object.keys(before || {})) if (!value || !(key in value)) node.style.removeProperty(key);
    for (const key of Object.keys(value || {})) if (!before || before[key] !== value[key]) node.style.setProperty(key, value[key]);
  } else if (AS_PROPERTY.has(name)) node[name] = value === undefined ? "" : value;
  else if (value === undefined || value === null || value === false) node.removeAttribute(name);
  else node.setAttribute(name, value === true ? "" : clean(value));
}

function update(node, view) {
  const before = node.view ? node.view.props : {};
  node.view = view;
  for (const name of Object.keys(before)) if (!(name in view.props)) set(node, name, undefined, before[name]);
  patch(node, view.kids);
  // The value of a select is among its options, so these are there first.
  for (const name of Object.keys(view.props)) set(node, name, view.props[name], before[name]);
}

function patch(parent, views) {
  const kept = new Map();
  for (const node of parent.childNodes) if (node.view && node.view.key !== undefined) kept.set(node.view.key, node);
  let next = parent.firstChild;
  for (const view of views) {
    let node;
    if (typeof view === "string") {
      const text = clean(view);
      node = next && next.nodeType === Node.TEXT_NODE ? next : document.createTextNode(text);
      if (node.data !== text) node.data = text;
    } else {
      const is = one => one && one.view && one.view.tag === view.tag && one.view.key === view.key;
      node = view.key !== undefined ? kept.get(view.key) : next;
      if (!is(node)) node = DRAWN.has(view.tag) ? document.createElementNS(SVG, view.tag) : document.createElement(view.tag);
      if (node.view !== view) update(node, view);
    }
    if (node === next) next = next.nextSibling;
    else parent.insertBefore(node, next);
  }
  while (next) {
    const after = next.nextSibling;
    next.remove();
    next = after;
  }
}

// Whoever has the focus keeps it, also where its pool has moved to another place.
function draw(parent, views) {
  const focused = document.activeElement;
  patch(parent, views);
  if (focused && focused !== document.activeElement && focused.isConnected) focused.focus({ preventScroll: true });
}
