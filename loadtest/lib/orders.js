// Ordering, and keeping account of it. Every order that the shop has confirmed to us is written to the console as
// `ORDER <id>`, and must be in the database afterwards, whatever was killed meanwhile. `loadtest/run` looks
// each of them up.

import { Counter } from 'k6/metrics';

import { checkOut, readOrder } from './customer.js';

// Thresholds of every scenario that buys.
export const BUYING = {
  // A confirmed order that the customer can't see is a lost one.
  orders_missing: ['count<1'],
  customers_refused: ['rate<0.001'],
};

// Those that no outcome is known of are what is left of them: also orders that were under way when k6 ended the load.
const asked = new Counter('orders_asked');
const confirmed = new Counter('orders_confirmed');
const soldOut = new Counter('orders_sold_out');
const declined = new Counter('orders_declined');
const cancelled = new Counter('orders_cancelled');
const missing = new Counter('orders_missing');

// Orders what is in the cart, and looks at the order. Gives 'confirmed', or why not.
export function order(key, card) {
  asked.add(1);
  const { state, orderId } = checkOut(key, card);
  if (state === 'confirmed') {
    confirmed.add(1);
    console.log(`ORDER ${orderId}`);
    const seen = readOrder(orderId);
    // Only a clear answer says that it is missing; a lost one says nothing.
    const isThere = seen.status === 200 && seen.json('state') === 'confirmed';
    missing.add(seen.status === 404 || (seen.status === 200 && !isThere) ? 1 : 0);
  } else if (state === 'sold-out') {
    soldOut.add(1);
  } else if (state === 'card-declined') {
    declined.add(1);
  } else if (state !== 'unknown') {
    cancelled.add(1);
  }
  return state;
}

// How many orders may or may not be in the database, given the run's counters.
export function ordersUnknown(counters) {
  const settled = ['confirmed', 'sold_out', 'declined', 'cancelled'];
  const count = (name) => counters[`orders_${name}`] || 0;
  return settled.reduce((left, name) => left - count(name), count('asked'));
}
