// An ordinary day: 95 of 100 look around, 4 fill a cart, 1 buys.

import { readCatalogue } from './lib/catalogue.js';
import { mix } from './lib/mix.js';
import { optionsFor } from './lib/options.js';
import { BUYING } from './lib/orders.js';

export { browse } from './browse.js';
export { buy } from './buy.js';
export { cart } from './cart.js';
export { handleSummary } from './lib/summary.js';
export const options = optionsFor({ scenarios: mix(), thresholds: BUYING });
export const setup = readCatalogue;
