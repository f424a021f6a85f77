// What the shop's statuses mean to a load test, in one place.

import http from 'k6/http';
import { Counter, Rate } from 'k6/metrics';

// Sold out, a declined card, a cancelled order: an answer, and a right one.
export const CONFLICT = 409;
// The shop sheds load before it breaks, and says when to come back.
export const SHED = 503;
// No answer came: the connection broke, or the time was up. k6 has no status then.
export const LOST = 0;

// So that k6's own http_req_failed says the same as `failed`.
http.setResponseCallback(http.expectedStatuses({ min: 200, max: 399 }, CONFLICT, SHED));

const failed = new Rate('failed');
const shed = new Rate('shed');
// The same, but only what went wrong: rare, so that it may be summed up by window of time for nothing.
const unanswered = new Counter('unanswered');

// Counts a response, and gives it back.
export function counted(response, tags) {
  const status = response.status;
  const isAnswer = (status >= 200 && status < 400) || status === CONFLICT;
  // A refusal that doesn't say when to come back is no shedding: something is broken.
  const isShed = status === SHED && response.headers['Retry-After'] !== undefined;
  failed.add(!isAnswer && !isShed, tags);
  shed.add(isShed, tags);
  if (!isAnswer) {
    unanswered.add(1, { ...tags, why: isShed ? 'shed' : 'failed' });
  }
  return response;
}

// Whether asking again, with the same key where something is bought, may bring a better answer.
export function isWorthAnotherTry(response) {
  return response.status === LOST || response.status === 502 || response.status === 503 || response.status === 504;
}
