// Ordering, and keeping account of it. Every order that the shop has confirmed to us is written to the console as
// `ORDER <id>`, and must be in the database afterwards, whatever was killed meanwhile. `loadtest/run` counts.

import { Counter } from 'k6/metrics';

import { checkOut, readOrder } from './customer.js';

// Thresholds of every scenario that buys.
export const BUYING = {
  // A confirmed order that the customer can't see is a lost one.
  orders_missing: ['count<1'],
  customers_refused: ['rate<0.001'],
};

const confirmed = new Counter('orders_confirmed');
const soldOut = new Counter('orders_sold_out');
const declined = new Counter('orders_declined');
const cancelled = new Counter('orders_cancelled');
const unknown = new Counter('orders_unknown');
const missing = new Counter('orders_missing');

// Orders what is in the cart, and looks at the order. Gives 'confirmed', or why not.
export function order(key, card) {
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
  } else if (state === 'unknown') {
    unknown.add(1);
  } else {
    cancelled.add(1);
  }
  return state;
}
