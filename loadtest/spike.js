// An ordinary day, and then everybody at once for a while: SPIKE times as many. The shop may send people away meanwhile,
// but must not fail, and must be itself again some seconds afterwards.

import { readCatalogue } from './lib/catalogue.js';
import { mix } from './lib/mix.js';
import { optionsFor } from './lib/options.js';
import { BUYING } from './lib/orders.js';
import { settings } from './lib/settings.js';

export { browse } from './browse.js';
export { buy } from './buy.js';
export { cart } from './cart.js';
export { handleSummary } from './lib/summary.js';
export const setup = readCatalogue;

const RAMP_SECONDS = 2;
// How long the shop may take to be itself again.
const RECOVERY_SECONDS = 5;

const calm = Math.max(3, Math.round(settings.seconds * 0.3));
const spike = Math.max(3, Math.round(settings.seconds * 0.25));
const after = Math.max(RECOVERY_SECONDS + 3, settings.seconds - calm - spike - 2 * RAMP_SECONDS);
const begins = calm + RAMP_SECONDS;
const ends = begins + spike;
const seconds = ends + RAMP_SECONDS + after;

export const options = optionsFor({
  scenarios: mix({
    shape: [
      [calm, 1],
      [RAMP_SECONDS, settings.spikeFactor],
      [spike, settings.spikeFactor],
      [RAMP_SECONDS, 1],
      [after, 1],
    ],
  }),
  seconds,
  stages: [
    { name: 'calm', from: 0, to: calm },
    { name: 'spike', from: begins, to: ends },
    { name: 'after', from: ends + RAMP_SECONDS + RECOVERY_SECONDS, to: seconds },
  ],
  thresholds: {
    ...BUYING,
    // In the spike the shop may shed, and the generator may run out of people.
    'shed{load:yes}': null,
    dropped_iterations: null,
    'shed{stage:after}': ['rate<0.01'],
    'failed{stage:after}': ['rate<0.001'],
    'http_req_duration{stage:after}': [`p(99)<${settings.objectiveMs}`],
    'http_req_duration{kind:page}': null,
    'http_req_duration{kind:api}': null,
    'http_req_duration{kind:photo}': null,
    'http_req_duration{kind:cart}': null,
    'http_req_duration{kind:checkout}': null,
    'http_req_duration{kind:account}': null,
  },
});
