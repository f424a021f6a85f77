// Customers who buy. An iteration is one order: cart, checkout, and a look at the order; the first one of each customer
// registers and logs in before.
//
// Every order that the shop has confirmed to us is written to the console as `ORDER <id>`, and must be in the database
// afterwards, whatever was killed meanwhile. `loadtest/run` counts.

import exec from 'k6/execution';
import { Counter, Rate } from 'k6/metrics';

import { readCatalogue } from './lib/catalogue.js';
import { becomeCustomer, CARD_DECLINES, CARD_PAYS, checkOut, putInCart, readOrder, takeOutOfCart } from './lib/customer.js';
import { Zipf } from './lib/random.js';
import { options as optionsFor, settings } from './lib/settings.js';
import { summary } from './lib/summary.js';

export const options = optionsFor('buy', {
  secondsEach: 3,
  thresholds: {
    'http_req_duration{name:POST /api/orders}': ['p(99)<3000'],
    'http_req_duration{name:PUT /api/cart/items/{id}}': ['p(99)<1000'],
    'http_req_duration{name:POST /api/users}': ['p(99)<5000'],
    // A confirmed order that the customer can't see is a lost one.
    orders_missing: ['count<1'],
    customers_refused: ['rate<0.001'],
  },
});

const confirmed = new Counter('orders_confirmed');
const soldOut = new Counter('orders_sold_out');
const declined = new Counter('orders_declined');
const cancelled = new Counter('orders_cancelled');
const unknown = new Counter('orders_unknown');
const missing = new Counter('orders_missing');
const refused = new Rate('customers_refused');

// One order in fifty is paid with a card that is declined.
const DECLINED_SHARE = 0.02;
// One order in ten is for something that may sell out.
const LIMITED_SHARE = 0.1;

let isCustomer = false;
let shelves = null;

export const setup = readCatalogue;

export function buy({ products }) {
  if (!isCustomer) {
    isCustomer = becomeCustomer(exec.vu.idInTest);
    refused.add(!isCustomer);
    if (!isCustomer) {
      return;
    }
  }
  shelves = shelves || shelvesOf(products);
  const product = Math.random() < LIMITED_SHARE ? shelves.limited() : shelves.plenty();
  if (!putInCart(product.id, 1 + Math.floor(Math.random() * 2))) {
    return;
  }
  const key = `${settings.run}-${exec.vu.idInTest}-${exec.vu.iterationInInstance}`;
  const card = Math.random() < DECLINED_SHARE ? CARD_DECLINES : CARD_PAYS;
  const { state, orderId } = checkOut(key, card);
  if (state === 'confirmed') {
    confirmed.add(1);
    console.log(`ORDER ${orderId}`);
    const order = readOrder(orderId);
    // Only a clear answer says that it is missing; a lost one says nothing.
    const isThere = order.status === 200 && order.json('state') === 'confirmed';
    missing.add(order.status === 404 || (order.status === 200 && !isThere) ? 1 : 0);
    return;
  }
  if (state === 'sold-out') {
    soldOut.add(1);
  } else if (state === 'card-declined') {
    declined.add(1);
  } else if (state === 'unknown') {
    unknown.add(1);
  } else {
    cancelled.add(1);
  }
  // What was not bought must not be in the next order.
  takeOutOfCart(product.id);
}

function shelvesOf(products) {
  const shelf = (wanted) => {
    const onIt = products.filter((product) => product.plenty === wanted);
    const all = onIt.length > 0 ? onIt : products;
    const popularity = new Zipf(all.length);
    return () => all[popularity.draw()];
  };
  return { plenty: shelf(true), limited: shelf(false) };
}

export function handleSummary(data) {
  return summary(data, ['orders_confirmed', 'orders_unknown']);
}
