// Somebody with an account. One virtual user is one customer: k6 keeps their cookies.

import http from 'k6/http';
import { sleep } from 'k6';

import { settings } from './settings.js';
import { CONFLICT, LOST, counted, isWorthAnotherTry } from './statuses.js';

const TRIES_MAX = 8;
const ADDRESS = { name: 'Load Test', street: 'Museumstraat 1', postcode: '1071 XX', city: 'Amsterdam', country: 'NL' };

export const CARD_PAYS = '4242424242424242';
export const CARD_DECLINES = '4000000000000002';

const PASSWORD = 'a long enough password';

// Registers, then logs out and in again, so that all three are measured. True if that worked.
export function becomeCustomer(number) {
  const email = `load-${settings.run}-${number}@customers.example`;
  const registered = again(() => send('POST', '/api/users', { email, name: `Load Test ${number}`, password: PASSWORD }));
  // Whoever asked again after an answer got lost may have an account already.
  if (registered.status !== 201 && registered.status !== CONFLICT) {
    return false;
  }
  if (registered.status === 201) {
    send('DELETE', '/api/sessions/current', null);
  }
  return again(() => send('POST', '/api/sessions', { email, password: PASSWORD })).status === 201;
}

// Puts so many copies of a print into the cart. A repeat is harmless: it is a quantity, not an addition.
export function putInCart(productId, quantity) {
  const path = `/api/cart/items/${productId}`;
  return again(() => send('PUT', path, { quantity }, { name: '/api/cart/items/{id}' })).status < 300;
}

// Takes something out of the cart again.
export function takeOutOfCart(productId) {
  send('DELETE', `/api/cart/items/${productId}`, null, { name: '/api/cart/items/{id}' });
}

// Orders what is in the cart. The answer may get lost; then the same key is sent again, which makes no second order.
// Gives { state, orderId }: 'confirmed', or why not, or 'unknown' if nobody ever said.
export function checkOut(key, card) {
  const body = { card: { number: card, expiry: '12/40', cvc: '123' }, address: ADDRESS };
  const headers = { 'Idempotency-Key': key };
  const answer = again(() => send('POST', '/api/orders', body, { headers, timeout: '20s' }));
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
  return again(() => send('GET', `/api/orders/${orderId}`, null, { name: '/api/orders/{id}' }));
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

// Sends until an answer comes that asking again would not change, with growing pauses.
function again(request) {
  let response = request();
  for (let tries = 1; tries < TRIES_MAX && isWorthAnotherTry(response); tries += 1) {
    const asked = Number(response.headers['Retry-After'] || 0);
    // Everybody who was sent away at once must not be back at once.
    sleep(Math.max(Math.min(asked, 5), Math.min(4, 0.25 * 2 ** tries)) * (0.5 + Math.random()));
    response = request();
  }
  return response;
}

function send(method, path, body, { name = path, headers = {}, timeout = '15s' } = {}) {
  const tags = { kind: 'api', name: `${method} ${name}` };
  const params = {
    tags,
    timeout,
    responseType: 'text',
    headers: { 'Content-Type': 'application/json', ...headers },
  };
  const text = body === null ? null : JSON.stringify(body);
  const response = counted(http.request(method, settings.shop + path, text, params), tags);
  return response.status === LOST ? { status: LOST, headers: {} } : response;
}

// The kind of a problem: the last part of its type ("/problems/sold-out").
function slug(response) {
  try {
    return String(response.json('type')).split('/').pop();
  } catch (error) {
    return `conflict without a reason (${error})`;
  }
}
