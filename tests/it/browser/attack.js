// Tries to order something of an admin endpoint in every way that a browser lets a page try, and tells what it saw.
const { who, report, bases, orders, token } = JSON.parse(new URL(document.currentScript.src).searchParams.get('with'));
const simple = ['text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data'];
const seen = [];
const settled = (promise) => Promise.race([promise, new Promise((_, fail) => setTimeout(() => fail({ name: 'silence' }), 2000))]);

async function tried(what, act) {
  try { seen.push([who, what, String(await settled(act()))]); } catch (error) { seen.push([who, what, error.name]); }
}

const told = (answer) => `${answer.type} ${answer.status}`;
const loaded = (element) => new Promise((done) => {
  element.onload = () => done('loaded');
  element.onerror = () => done('failed');
  document.body.append(element);
});

let frames = 0;
function form(url, type) {
  const frame = document.createElement('iframe');
  frame.name = 'frame' + frames++;
  document.body.append(frame);
  const form = document.createElement('form');
  Object.assign(form, { action: url, method: 'POST', enctype: type, target: frame.name });
  // As text/plain it is sent as {"reason":"="}
  form.append(Object.assign(document.createElement('input'), { name: '{"reason":"', value: '"}' }));
  document.body.append(form);
  return new Promise((done) => { frame.onload = () => done('loaded'); form.submit(); });
}

function socket(url) {
  const socket = new WebSocket(url.replace('http', 'ws'));
  return new Promise((done) => { socket.onopen = () => done('open'); socket.onerror = () => done('failed'); });
}

function attack(base, [method, path]) {
  const all = [];
  const attempt = (what, act) => all.push(tried(what, act));
  const url = base + path, body = path.endsWith('state') ? '{"state":"maint","force":true}' : '{}';
  for (const type of simple) {
    attempt('form ' + type, () => form(url, type));
    attempt('fetch no-cors ' + type, async () =>
      told(await fetch(url, { method: 'POST', mode: 'no-cors', credentials: 'include', headers: { 'Content-Type': type }, body })));
  }
  const json = () => new Blob([body], { type: 'application/json' });
  attempt('fetch no-cors of JSON', async () => told(await fetch(url, { method: 'POST', mode: 'no-cors', body: json() })));
  attempt('sendBeacon text/plain', async () => navigator.sendBeacon(url, body));
  attempt('sendBeacon JSON', async () => navigator.sendBeacon(url, json()));
  for (const given of [null, 'guess', token]) {
    const headers = { 'Content-Type': 'application/json' };
    if (given) headers.Authorization = 'Bearer ' + given;
    const name = given === token ? 'the token' : given ? 'a wrong token' : 'no token';
    attempt('fetch JSON, ' + name, async () => told(await fetch(url, { method, headers, body })));
  }
  attempt('XMLHttpRequest, simple', () => new Promise((done) => {
    const request = new XMLHttpRequest();
    request.open('POST', url);
    request.onloadend = () => done(request.status);
    request.send(body);
  }));
  attempt('img', () => loaded(Object.assign(new Image(), { src: url })));
  attempt('script', () => loaded(Object.assign(document.createElement('script'), { src: url })));
  attempt('iframe', () => loaded(Object.assign(document.createElement('iframe'), { src: url })));
  attempt('WebSocket', () => socket(url));
  return Promise.all(all);
}

(async () => {
  for (const base of bases) for (const order of orders) await attack(base, order);
  // What can be read: nothing, from another origin.
  for (const base of bases) await tried('read', async () => (await (await fetch(base + '/api/v1/status')).text()).length > 0);
  await fetch(report, { method: 'POST', mode: 'no-cors', body: JSON.stringify(seen) });
})();
