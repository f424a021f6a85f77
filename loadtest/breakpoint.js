// What the stack can take: an ordinary day at a rate that rises in steps, until a step misses the objective. Each step is
// judged by itself, without its first seconds; the last one that met it is the answer.

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

// Until queues and caches are as they will be at this rate.
const SETTLE_SECONDS = Math.min(5, Math.floor(settings.stepSeconds / 4));
// k6 judges every two seconds.
const JUDGED_AFTER_SECONDS = 3;
// k6's rates are whole numbers, and a step's first iteration may fall into the one before.
const BEGUN_SHARE_MIN = 0.97;

const steps = [];
for (let number = 0; number < settings.stepsMax; number += 1) {
  const factor = Math.pow(1 + settings.stepGrowthPercent / 100, number);
  const start = number * settings.stepSeconds;
  steps.push({
    name: String(number + 1),
    from: start + SETTLE_SECONDS,
    to: start + settings.stepSeconds,
    factor,
    rate: settings.rate * factor,
  });
}

export const options = optionsFor({
  scenarios: mix({ shape: steps.flatMap(({ factor }) => [[0, factor], [settings.stepSeconds, factor]]) }),
  seconds: settings.stepsMax * settings.stepSeconds,
  stages: steps,
  thresholds: { ...objectives(), ...BUYING, ...withoutTheUsual() },
});

function objectives() {
  const thresholds = {};
  for (const { name, from, to, rate } of steps) {
    const ends = (threshold) => [{ threshold, abortOnFail: true, delayAbortEval: `${to + JUDGED_AFTER_SECONDS}s` }];
    thresholds[`http_req_duration{stage:${name}}`] = ends(`p(99)<${settings.objectiveMs}`);
    thresholds[`failed{stage:${name}}`] = ends('rate<0.001');
    thresholds[`shed{stage:${name}}`] = ends('rate<0.01');
    // The generator ran out of people: they all wait for answers.
    thresholds[`begun{stage:${name}}`] = ends(`count>=${Math.floor(rate * (to - from) * BEGUN_SHARE_MIN)}`);
  }
  return thresholds;
}

// A run that is to end in failure is not judged as a whole.
function withoutTheUsual() {
  const kinds = ['page', 'api', 'photo', 'cart', 'checkout', 'account'];
  return {
    'failed{load:yes}': null,
    'shed{load:yes}': null,
    dropped_iterations: null,
    ...Object.fromEntries(kinds.map((kind) => [`http_req_duration{kind:${kind}}`, null])),
  };
}
