// One way to ask, so that every request is counted and tagged alike: `kind` for thresholds, `name` for tables, `tier`
// for who answers, and when.

import http from 'k6/http';
import { sleep } from 'k6';
import { Counter } from 'k6/metrics';

import { settings } from './settings.js';
import { counted, isWorthAnotherTry } from './statuses.js';
import { momentTags } from './windows.js';

// What the report's table lists. Another name works too, and is only missing there.
export const NAMES = [
  '/',
  '/categories/{slug}',
  '/products/{id}',
  '/search',
  '/photos',
  '/api/me',
  '/api/products',
  '/api/products/{id}/stock',
  '/api/photos/{id}',
  'POST /api/photos',
  'GET /api/cart',
  'PUT /api/cart/items/{id}',
  'DELETE /api/cart/items/{id}',
  'POST /api/orders',
  'GET /api/orders/{id}',
  'POST /api/users',
  'POST /api/sessions',
  'DELETE /api/sessions/current',
];
export const STATUSES = [0, 200, 201, 202, 204, 302, 303, 304, 400, 401, 403, 404, 409, 413, 422, 429, 500, 502, 503, 504];

const OF_INVENTORY = ['/api/products', '/api/photos', '/products', '/categories', '/search'];

// How often something is asked for that was shed or got lost.
const TRIES_MAX = 8;

const begun = new Counter('begun');

// To be called when an iteration begins.
export function begin() {
  begun.add(1, momentTags());
}

// Asks the shop. `name` is the path without what varies. The answer has its body if `wantsBody`.
export function ask(method, path, { kind, name, body = null, headers = {}, timeout = '15s', wantsBody = false }) {
  const tags = { kind, name, tier: tierOf(path), ...momentTags() };
  const params = { tags, headers, timeout, responseType: wantsBody ? 'text' : 'none' };
  return counted(http.request(method, settings.shop + path, body, params), tags);
}

// Loads pictures from the edge, several at once, as a browser does.
export function askEdge(paths) {
  const tags = { kind: 'photo', name: '/photos', tier: 'edge', ...momentTags() };
  const requests = paths.map((path) => ['GET', settings.edge + path, null, { tags, timeout: '15s' }]);
  return http.batch(requests).map((response) => counted(response, tags));
}

// Sends until an answer comes that asking again would not change, with growing pauses.
export function again(request) {
  let response = request();
  for (let tries = 1; tries < TRIES_MAX && isWorthAnotherTry(response); tries += 1) {
    const asked = Number(response.headers['Retry-After'] || 0);
    // Everybody who was sent away at once must not be back at once.
    sleep(Math.max(Math.min(asked, 5), Math.min(4, 0.25 * 2 ** tries)) * (0.5 + Math.random()));
    response = request();
  }
  return response;
}

// By the balancer's route table: crates/balancer/routes.toml.
function tierOf(path) {
  const isOfInventory = path === '/' || OF_INVENTORY.some((prefix) => path.startsWith(prefix));
  return isOfInventory ? 'inventory' : 'user';
}
