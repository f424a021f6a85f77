// Customers who buy. An iteration is one order: cart, checkout, and a look at the order; the first one of each customer
// registers and logs in before.

import exec from 'k6/execution';
import { Rate } from 'k6/metrics';

import { readCatalogue } from './lib/catalogue.js';
import { becomeCustomer, CARD_DECLINES, CARD_PAYS, putInCart, takeOutOfCart } from './lib/customer.js';
import { BUYING, order } from './lib/orders.js';
import { Zipf } from './lib/random.js';
import { arrivals, optionsFor } from './lib/options.js';
import { begin } from './lib/requests.js';
import { settings } from './lib/settings.js';

export { handleSummary } from './lib/summary.js';
// The demo customer has one cart, so only one browser may buy from it.
const vusMax = settings.customers === 'demo' ? 1 : undefined;
export const options = optionsFor({
  scenarios: { buy: arrivals('buy', { secondsEach: 3, vusMax }) },
  thresholds: BUYING,
});
export const setup = readCatalogue;

// One order in fifty is paid with a card that is declined.
const DECLINED_SHARE = 0.02;
// One order in ten is for something that may sell out.
const LIMITED_SHARE = 0.1;

const refused = new Rate('customers_refused');

let isCustomer = false;
let shelves = null;

export function buy({ products }) {
  begin();
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
  if (order(key, card) !== 'confirmed') {
    // What was not bought must not be in the next order.
    takeOutOfCart(product.id);
  }
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
