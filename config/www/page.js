// The page's script: a token, the stream of a topic, and what is shown of it.
//
//   token ─▶ EventSource /events?access_token=… ─▶ events ─▶ cards and log
//              │ `challenge`: POST with a fresh token on the same connection, and the stream goes on
//              └ closed for good: a new one, with a fresh token and the last event id
//
// Rule: what comes from the topic is text and never markup. The address may say how to begin: #access_token=…, #lifetime=SECONDS, #renew=no.

const EVENTS = '/events';
const LIFETIME_DEFAULT_S = 60;
const RETRY_MS = [500, 10_000];
const POINTS_MAX = 120;
const KEYS_MAX = 60;
const LOG_MAX = 500;
const PUBLISH_EVERY_MS = 400;

const byId = (id) => document.getElementById(id);
const show = (id, text) => { byId(id).textContent = text; };
const note = (text) => show('note', text);
const asked = new URLSearchParams(location.hash.slice(1));

// Base64url (RFC 4648, 5) both ways.
const toBase64url = (bytes) =>
  btoa(String.fromCharCode(...bytes)).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
const fromBase64url = (text) =>
  new TextDecoder().decode(Uint8Array.from(atob(text.replaceAll('-', '+').replaceAll('_', '/')), (char) => char.charCodeAt(0)));

/** Tokens: the one that was pasted while it lasts, else signed here, which only a demonstration can do. */
class Tokens {
  #key = null;
  pasted = asked.get('access_token');
  lifetime = Number(asked.get('lifetime')) || LIFETIME_DEFAULT_S;

  async fresh() {
    if (this.pasted) {
      const { ends } = Tokens.times(this.pasted);
      if (ends > Date.now()) return this.pasted;
      note('The pasted token has ended.');
      this.pasted = null;
    }
    return this.#sign();
  }

  async #sign() {
    this.#key ??= await this.#load();
    const now = Math.floor(Date.now() / 1000);
    const part = (object) => toBase64url(new TextEncoder().encode(JSON.stringify(object)));
    const message = `${part({ alg: 'RS256', typ: 'JWT', kid: 'demo' })}.${part({
      iss: 'https://auth.example.com', aud: 'https://api.example.com', sub: 'demo',
      iat: now, exp: now + this.lifetime, scope: 'events:read events:write',
    })}`;
    const signature = await crypto.subtle.sign('RSASSA-PKCS1-v1_5', this.#key, new TextEncoder().encode(message));
    return `${message}.${toBase64url(new Uint8Array(signature))}`;
  }

  async #load() {
    const answer = await fetch('demo-key.pem');
    if (!answer.ok) throw new Error(`the demonstration key: ${answer.status}`);
    const der = atob((await answer.text()).replace(/-----[^-]*-----|\s/g, ''));
    const bytes = Uint8Array.from(der, (char) => char.charCodeAt(0));
    return crypto.subtle.importKey('pkcs8', bytes, { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' }, false, ['sign']);
  }

  /** When a token was made and when it ends, milliseconds; a token that cannot be read never ends. */
  static times(token) {
    try {
      const { iat, exp } = JSON.parse(fromBase64url(token.split('.')[1]));
      return { begins: (iat ?? 0) * 1000, ends: exp ? exp * 1000 : Infinity };
    } catch {
      return { begins: 0, ends: Infinity };
    }
  }
}

/** One stream after the other, as long as it is wanted. */
class Stream {
  #source = null;
  #generation = 0;
  #retry_ms = RETRY_MS[0];
  #last_id = '';
  #token = '';
  #opens = 0;
  #renewals = 0;
  renews = asked.get('renew') !== 'no';

  constructor(tokens, handle) {
    this.tokens = tokens;
    this.handle = handle;
  }

  /** Opens a stream in the place of the one before. */
  async open() {
    const generation = ++this.#generation;
    this.#source?.close();
    state('connecting', 'connecting');
    let token;
    try {
      token = await this.tokens.fresh();
    } catch (error) {
      note(`No token: ${error.message}`);
      this.#again(generation);
      return;
    }
    if (generation !== this.#generation) return;
    this.#adopt(token, 0);
    const url = new URL(EVENTS, location);
    url.searchParams.set('access_token', token);
    // A new EventSource has no memory: what it is to go on after stands in the query.
    if (this.#last_id) url.searchParams.set('lastEventId', this.#last_id);
    const source = this.#source = new EventSource(url);
    source.onopen = () => this.#handle_open(url);
    source.onerror = () => this.#handle_error(generation, source);
    source.onmessage = (event) => this.#handle_event(event, event.data);
    source.addEventListener('delete', (event) => this.#handle_event(event, null));
    source.addEventListener('challenge', (event) => this.#handle_challenge(generation, event));
  }

  /** Who it is now, for requests beside the stream. */
  get token() { return this.#token; }

  #adopt(token, renewals) {
    this.#token = token;
    this.#renewals = renewals;
    show('renewals', renewals);
  }

  #handle_open(url) {
    this.#retry_ms = RETRY_MS[0];
    this.#opens += 1;
    show('opens', this.#opens);
    show('protocol', performance.getEntriesByName(url.href).at(-1)?.nextHopProtocol
      || performance.getEntriesByType('navigation')[0]?.nextHopProtocol || '?');
    state('live', 'live');
    note('');
  }

  #handle_event(event, value) {
    this.#last_id = event.lastEventId;
    byId('last').textContent = byId('last').title = event.lastEventId;
    this.handle(event.lastEventId, key_of(event), value);
  }

  async #handle_challenge(generation, event) {
    if (!this.renews) {
      note('Asked for a new token, and did not answer.');
      return;
    }
    try {
      const { method, headers } = JSON.parse(event.data);
      const token = await this.tokens.fresh();
      // Only a request on the same connection renews: the browser sends it there, since HTTP/2 has one for an origin.
      const answer = await fetch(EVENTS, { method, headers: { ...headers, authorization: `Bearer ${token}` } });
      if (generation !== this.#generation) return;
      if (!answer.ok) throw new Error(`answered ${answer.status}`);
      this.#adopt(token, this.#renewals + 1);
    } catch (error) {
      note(`The token could not be renewed: ${error.message}`);
    }
  }

  #handle_error(generation, source) {
    if (generation !== this.#generation) return;
    if (source.readyState !== EventSource.CLOSED) {
      // The browser tries again by itself, with Last-Event-ID.
      state('connecting', 'reconnecting');
      return;
    }
    if (!this.renews) {
      state('over', 'cut off');
      note('The token has ended, and with it the stream.');
      return;
    }
    this.#again(generation);
  }

  #again(generation) {
    state('connecting', 'reconnecting');
    setTimeout(() => { if (generation === this.#generation) this.open(); }, this.#retry_ms);
    this.#retry_ms = Math.min(this.#retry_ms * 2, RETRY_MS[1]);
  }
}

/** The key of an event: its id is `["base64url of the key","place in the topic"]`. */
function key_of(event) {
  try {
    const key = JSON.parse(event.lastEventId)[0];
    return key === null ? '(no key)' : fromBase64url(key);
  } catch {
    return '(unknown)';
  }
}

function state(name, text) {
  byId('state').dataset.state = name;
  show('state', text);
}

/** The keys and their last values. */
class Board {
  #cards = new Map();
  #count = 0;

  handle(id, key, value) {
    this.#count += 1;
    show('count', this.#count);
    this.#log(id, key, value);
    const card = this.#cards.get(key) ?? this.#add(key);
    card.root.classList.toggle('deleted', value === null);
    const number = value === null ? NaN : number_of(value);
    card.value.textContent = value === null ? 'deleted' : Number.isNaN(number) ? value : number;
    card.points = value === null ? [] : [...card.points, number].filter((point) => !Number.isNaN(point)).slice(-POINTS_MAX);
    card.line.setAttribute('points', polyline(card.points));
  }

  #add(key) {
    if (this.#cards.size >= KEYS_MAX) {
      const [oldest, card] = this.#cards.entries().next().value;
      card.root.remove();
      this.#cards.delete(oldest);
    }
    const root = element('article', 'panel card');
    const name = element('h3', '', key);
    const value = element('div', 'value');
    const remove = element('button', '', 'delete');
    remove.onclick = () => send('DELETE', key);
    const chart = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
    chart.setAttribute('viewBox', '0 0 100 100');
    chart.setAttribute('preserveAspectRatio', 'none');
    const line = document.createElementNS('http://www.w3.org/2000/svg', 'polyline');
    chart.append(line);
    root.append(name, value, remove, chart);
    byId('keys').append(root);
    const card = { root, value, line, points: [] };
    this.#cards.set(key, card);
    return card;
  }

  #log(id, key, value) {
    const item = element('li');
    Object.assign(item.dataset, { id, key, kind: value === null ? 'delete' : 'message' });
    item.append(element('span', 'id', id), element('span', 'key', key), element('span', 'text', value ?? '(deleted)'));
    byId('log').prepend(item);
    while (byId('log').childElementCount > LOG_MAX) byId('log').lastElementChild.remove();
  }
}

function element(name, style = '', text = '') {
  const made = document.createElement(name);
  made.className = style;
  made.textContent = text;
  return made;
}

/** `21`, or `{"value":21}`. */
function number_of(text) {
  try {
    const parsed = JSON.parse(text);
    const number = parsed?.value ?? parsed;
    return typeof number === 'number' ? number : NaN;
  } catch {
    return NaN;
  }
}

/** The points of a line through `values` in a square of a hundred. */
function polyline(values) {
  const low = Math.min(...values), span = Math.max(...values) - low || 1;
  const step = 100 / Math.max(values.length - 1, 1);
  return values.map((value, index) => `${(index * step).toFixed(2)},${(95 - 90 * (value - low) / span).toFixed(2)}`).join(' ');
}

async function send(method, key, body) {
  try {
    const headers = { authorization: `Bearer ${stream.token}` };
    if (body !== undefined) headers['content-type'] = 'application/json';
    const answer = await fetch(`${EVENTS}/${encodeURIComponent(key)}`, { method, headers, body });
    if (!answer.ok) note(`${method} was answered ${answer.status}`);
  } catch (error) {
    note(`${method}: ${error.message}`);
  }
}

/** Publishes three values that wander about. */
function wander() {
  const values = new Map([['north', 40], ['south', 55], ['harbour', 70]]);
  return setInterval(() => {
    for (const [key, value] of values) {
      values.set(key, Math.round((value + (Math.random() - .5) * 6) * 10) / 10);
      send('PUT', key, JSON.stringify({ value: values.get(key) }));
    }
  }, PUBLISH_EVERY_MS);
}

function show_life() {
  const { begins, ends } = Tokens.times(stream.token);
  const left = ends - Date.now();
  show('left', !stream.token ? '?' : left === Infinity ? 'never' : left > 0 ? `${Math.ceil(left / 1000)} s` : 'ended');
  byId('life').value = left === Infinity ? 1 : Math.max(0, left / (ends - begins));
}

const tokens = new Tokens();
const board = new Board();
const stream = new Stream(tokens, (...event) => board.handle(...event));
const press = (id, pressed) => byId(id).setAttribute('aria-pressed', String(pressed));
let wandering = null;

press('hold', !stream.renews);
byId('hold').onclick = () => {
  stream.renews = !stream.renews;
  press('hold', !stream.renews);
  if (stream.renews && byId('state').dataset.state === 'over') stream.open();
};
byId('use').onclick = () => {
  tokens.pasted = byId('pasted').value.trim() || null;
  stream.open();
};
byId('publish').onclick = () => send('PUT', byId('key').value || 'lamp', byId('value').value);
byId('run').onclick = () => {
  if (wandering) clearInterval(wandering);
  wandering = wandering ? null : wander();
  press('run', wandering !== null);
};
setInterval(show_life, 250);
stream.open();
