// One edition, and far more people than copies: they come one after another, log in, put it into their carts, and at one
// moment all of them check out. Exactly as many orders as copies may be confirmed; the others are told that it is sold out.

import http from 'k6/http';
import exec from 'k6/execution';
import { fail, sleep } from 'k6';
import { Gauge, Rate } from 'k6/metrics';

import { readCatalogue } from './lib/catalogue.js';
import { becomeCustomer, CARD_PAYS, putInCart } from './lib/customer.js';
import { optionsFor } from './lib/options.js';
import { BUYING, order } from './lib/orders.js';
import { begin } from './lib/requests.js';
import { settings } from './lib/settings.js';

export { handleSummary } from './lib/summary.js';

// The last to come must be there as well.
const QUIET_SECONDS = 5;
const SALE_SECONDS = 20;
// One copy for so many people, if the catalogue has such an edition.
const PEOPLE_PER_COPY = 4;

const arriving = Math.ceil(settings.buyers / settings.rate);
const opens = arriving + QUIET_SECONDS;
const seconds = opens + SALE_SECONDS;

export const options = optionsFor({
  scenarios: {
    flashSale: {
      executor: 'per-vu-iterations',
      exec: 'flashSale',
      vus: settings.buyers,
      iterations: 1,
      maxDuration: `${seconds + 60}s`,
    },
  },
  seconds,
  stages: [
    { name: 'arriving', from: 0, to: opens },
    { name: 'sale', from: opens, to: seconds },
  ],
  thresholds: {
    ...BUYING,
    // Who is sent away for a moment comes again with the same key.
    'shed{load:yes}': ['rate<0.5'],
    // All at once is as slow as the last of them.
    'http_req_duration{kind:checkout}': ['p(99)<10000'],
    // How they come is not what this is about, and all look at their orders at once, too.
    'http_req_duration{kind:api}': null,
    'http_req_duration{kind:cart}': null,
    'http_req_duration{kind:account}': null,
    copies_left: ['value==0'],
  },
});

const left = new Gauge('copies_left');
const refused = new Rate('customers_refused');

export function setup() {
  const { products } = readCatalogue();
  const editions = products.filter((product) => !product.plenty && product.available > 0);
  if (editions.length === 0) {
    fail('every limited edition is sold out: make restock');
  }
  const wanted = settings.buyers / PEOPLE_PER_COPY;
  editions.sort((a, b) => Math.abs(a.available - wanted) - Math.abs(b.available - wanted));
  const { id, available } = editions[0];
  console.log(`FLASH SALE of product ${id}: ${available} copies, ${settings.buyers} people`);
  return { id, copies: available };
}

export function flashSale({ id }) {
  const number = exec.scenario.iterationInTest;
  sleep(number / settings.rate);
  begin();
  const isCustomer = becomeCustomer(number + 1) && putInCart(id, 1);
  refused.add(!isCustomer);
  if (!isCustomer) {
    return;
  }
  sleep(Math.max(0, opens - (Date.now() - exec.scenario.startTime) / 1000));
  order(`${settings.run}-flash-${number}`, CARD_PAYS);
}

export function teardown({ id, copies }) {
  // What a cancelled order had reserved comes back within moments.
  let available = copies;
  for (let tries = 0; tries < 10 && available > 0; tries += 1) {
    sleep(1);
    const stock = http.get(`${settings.shop}/api/products/${id}/stock`, { responseType: 'text' });
    available = stock.status === 200 ? stock.json('available') : available;
  }
  // With fewer people than copies some are left, and that is right.
  left.add(settings.buyers < copies ? 0 : available);
}
