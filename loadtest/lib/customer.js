// Somebody with an account. One virtual user is one customer: k6 keeps their cookies.

import { sleep } from 'k6';

import { again, ask } from './requests.js';
import { settings } from './settings.js';
import { CONFLICT, LOST } from './statuses.js';

const TRIES_MAX = 8;
const ADDRESS = { name: 'Load Test', street: 'Museumstraat 1', postcode: '1071 XX', city: 'Amsterdam', country: 'NL' };

export const CARD_PAYS = '4242424242424242';
export const CARD_DECLINES = '4000000000000002';

const PASSWORD = 'a long enough password';
const DEMO_PASSWORD = 'gallery-demo';

// Customer number so and so, 1 being the first, as the settings' `customers` wants them.
export function customer(number) {
  if (settings.customers === 'demo') {
    return { email: 'demo@zillion.example', password: DEMO_PASSWORD };
  }
  if (settings.customers === 'seeded') {
    return { email: `customer${number}@load.zillion.example`, password: DEMO_PASSWORD };
  }
  return { email: `load-${settings.run}-${number}@customers.example`, password: PASSWORD };
}

// Has an account and is logged in afterwards. True if that worked.
export function becomeCustomer(number) {
  const who = customer(number);
  return settings.customers === 'register' ? register(who) : logIn(who);
}

// Opens an account, which logs in as well. Whoever asked again after an answer got lost may have one already.
export function register({ email, password }) {
  const body = { email, name: 'Load Test', password };
  const { status } = again(() => send('POST', '/api/users', body, { kind: 'account' }));
  return status === 201 || (status === CONFLICT && logIn({ email, password }));
}

export function logIn({ email, password }) {
  return again(() => send('POST', '/api/sessions', { email, password }, { kind: 'account' })).status === 201;
}

export function logOut() {
  // Unlike the other two this hashes no password.
  return isOk(send('DELETE', '/api/sessions/current', null, { kind: 'api' }));
}

// Puts so many copies of a print into the cart. A repeat is harmless: it is a quantity, not an addition.
export function putInCart(productId, quantity) {
  const path = `/api/cart/items/${productId}`;
  return isOk(again(() => send('PUT', path, { quantity }, { kind: 'cart', name: '/api/cart/items/{id}' })));
}

// Takes something out of the cart again.
export function takeOutOfCart(productId) {
  send('DELETE', `/api/cart/items/${productId}`, null, { kind: 'cart', name: '/api/cart/items/{id}' });
}

export function lookAtCart() {
  send('GET', '/api/cart', null, { kind: 'cart' });
}

// Orders what is in the cart. The answer may get lost; then the same key is sent again, which makes no second order.
// Gives { state, orderId }: 'confirmed', or why not, or 'unknown' if nobody ever said.
export function checkOut(key, card) {
  const body = { card: { number: card, expiry: '12/40', cvc: '123' }, address: ADDRESS };
  const headers = { 'Idempotency-Key': key };
  const answer = again(() => send('POST', '/api/orders', body, { kind: 'checkout', headers, timeout: '20s' }));
  if (answer.status === 201) {
    return { state: 'confirmed', orderId: answer.json('id') };
  }
  if (answer.status === 202) {
    return follow(answer.json('id'));
  }
  if (answer.status === CONFLICT) {
    return { state: slug(answer), orderId: null };
  }
  return { state: 'unknown', orderId: null };
}

// An order as the shop has it now.
export function readOrder(orderId) {
  return again(() => send('GET', `/api/orders/${orderId}`, null, { kind: 'api', name: '/api/orders/{id}' }));
}

function follow(orderId) {
  for (let tries = 0; tries < TRIES_MAX; tries += 1) {
    sleep(Math.min(4, 0.5 * 2 ** tries));
    const order = readOrder(orderId);
    const state = order.status === 200 ? order.json('state') : null;
    if (state === 'confirmed' || state === 'cancelled') {
      return { state, orderId };
    }
  }
  return { state: 'unknown', orderId };
}

function send(method, path, body, { kind, name = path, headers = {}, timeout }) {
  const response = ask(method, path, {
    kind,
    name: `${method} ${name}`,
    body: body === null ? null : JSON.stringify(body),
    headers: { 'Content-Type': 'application/json', ...headers },
    timeout,
    wantsBody: true,
  });
  return response.status === LOST ? { status: LOST, headers: {} } : response;
}

function isOk({ status }) {
  return status >= 200 && status < 300;
}

// The kind of a problem: the last part of its type ("/problems/sold-out").
function slug(response) {
  try {
    return String(response.json('type')).split('/').pop();
  } catch (error) {
    return `conflict without a reason (${error})`;
  }
}
