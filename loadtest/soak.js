// An ordinary day that goes on and on: what leaks, fills up or slows down shows after a while. `loadtest/run` compares the
// memory of every container before and after.

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
