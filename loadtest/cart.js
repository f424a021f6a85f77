// Guests who put a print into their cart, look at it, and think better of it.

import { readCatalogue } from './lib/catalogue.js';
import { lookAtCart, putInCart, takeOutOfCart } from './lib/customer.js';
import { arrivals, optionsFor } from './lib/options.js';
import { Zipf } from './lib/random.js';
import { begin } from './lib/requests.js';
import { openPage } from './lib/visit.js';

export { handleSummary } from './lib/summary.js';
export const options = optionsFor({ scenarios: { cart: arrivals('cart', { secondsEach: 1 }) } });
export const setup = readCatalogue;

let popularity = null;

export function cart({ products }) {
  begin();
  popularity = popularity || new Zipf(products.length);
  const wanted = products[popularity.draw()];
  openPage(`/products/${wanted.id}`, '/products/{id}');
  if (putInCart(wanted.id, 1)) {
    lookAtCart();
    takeOutOfCart(wanted.id);
  }
}
