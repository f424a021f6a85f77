// What goes on in a shop: nearly everybody looks around, a few fill a cart, and one in a hundred buys.

import { arrivals } from './options.js';

const SHARES = {
  browse: { share: 0.95, secondsEach: 1 },
  cart: { share: 0.04, secondsEach: 1, vusMax: 500 },
  buy: { share: 0.01, secondsEach: 3, vusMax: 500 },
};

// The three scenarios at their shares of the rate. A script that uses them exports their functions:
//   export { browse } from './browse.js'; export { cart } from './cart.js'; export { buy } from './buy.js';
export function mix({ shape = null } = {}) {
  const scenarios = Object.entries(SHARES).map(([name, about]) => [name, arrivals(name, { ...about, shape })]);
  return Object.fromEntries(scenarios);
}
