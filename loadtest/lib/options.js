// What k6 is to do, by scenario.

import { settings } from './settings.js';
import { NAMES, STATUSES } from './requests.js';
import { ALWAYS_MET, planWindows, TIERS, windowThresholds } from './windows.js';

const VUS_MAX = 2000;
// More are made when they are needed.
const VUS_AT_START_MAX = 300;
// Rates are whole numbers for k6, and one order in a hundred iterations is less than one a second.
const TIME_UNIT_SECONDS = 100;
// The password's hash keeps a core busy on purpose, and an upload is as long as its line is slow.
const SLOWER_MS = 1000;

// `scenarios` by name, as `arrivals` makes them. `seconds` is the length of all of it, if it isn't DURATION; `stages` are
// judged by themselves. `thresholds` come on top of the usual ones, or replace them; null judges nothing.
export function optionsFor({ scenarios, seconds = settings.seconds, stages = [], thresholds = {} }) {
  planWindows(seconds, stages);
  // k6 asks only once, before there are virtual users.
  if (__VU > 0) {
    return {};
  }
  return {
    scenarios,
    setupTimeout: '180s',
    // A virtual user is one customer, with one browser's cookies.
    noCookiesReset: true,
    // Bodies are read where they are needed.
    discardResponseBodies: true,
    userAgent: 'zillion-loadtest',
    summaryTrendStats: ['min', 'med', 'avg', 'p(90)', 'p(95)', 'p(99)', 'max', 'count'],
    thresholds: judged({ ...windowThresholds(), ...alwaysMet(), ...usual(), ...thresholds }),
  };
}

// Iterations of the function `exec` that begin at the settings' rate, or at `share` of it. `secondsEach` is how long one
// takes at most, as far as the number of virtual users goes that have to be there. `shape` makes the rate change: a list
// of [seconds, factor], each of which goes in a straight line from the factor before to its own.
export function arrivals(exec, { share = 1, secondsEach, shape = null, rate = settings.rate, vusMax = VUS_MAX }) {
  const perUnit = (factor) => Math.max(1, Math.round(rate * share * factor * TIME_UNIT_SECONDS));
  const highest = shape ? Math.max(...shape.map(([, factor]) => factor)) : 1;
  const vus = Math.ceil(Math.max(2, rate * share * highest * secondsEach));
  const common = {
    exec,
    timeUnit: `${TIME_UNIT_SECONDS}s`,
    preAllocatedVUs: Math.min(vus, VUS_AT_START_MAX, vusMax),
    maxVUs: vusMax,
    gracefulStop: '45s',
  };
  if (!shape) {
    return { executor: 'constant-arrival-rate', rate: perUnit(1), duration: `${settings.seconds}s`, ...common };
  }
  const stages = shape.map(([seconds, factor]) => ({ duration: `${seconds}s`, target: perUnit(factor) }));
  return { executor: 'ramping-arrival-rate', startRate: perUnit(shape[0][1]), stages, ...common };
}

function usual() {
  const within = (ms) => [`p(99)<${ms}`];
  return {
    // Whatever is neither an answer of the shop nor "not now": see statuses.js.
    'failed{load:yes}': ['rate<0.001'],
    'shed{load:yes}': ['rate<0.01'],
    // The generator could not keep up, so what it measured is its own weakness.
    dropped_iterations: ['count<1'],
    'http_req_duration{kind:page}': within(settings.objectiveMs),
    'http_req_duration{kind:api}': within(settings.objectiveMs),
    'http_req_duration{kind:photo}': within(settings.objectiveMs),
    'http_req_duration{kind:cart}': within(settings.objectiveMs),
    'http_req_duration{kind:checkout}': within(SLOWER_MS),
    'http_req_duration{kind:account}': within(SLOWER_MS),
  };
}

// So that k6 sums up what the report shows.
function alwaysMet() {
  const thresholds = { 'http_req_duration{load:yes}': ALWAYS_MET.http_req_duration };
  for (const tier of TIERS) {
    thresholds[`http_req_duration{tier:${tier}}`] = ALWAYS_MET.http_req_duration;
  }
  for (const name of NAMES) {
    thresholds[`http_req_duration{name:${name}}`] = ALWAYS_MET.http_req_duration;
  }
  for (const status of STATUSES) {
    thresholds[`http_reqs{status:${status}}`] = ALWAYS_MET.http_reqs;
  }
  return thresholds;
}

// What is not judged is still summed up.
function judged(thresholds) {
  const known = Object.entries(thresholds).map(([name, value]) => [name, value || ALWAYS_MET[name.split('{')[0]]]);
  return Object.fromEntries(known.filter(([, value]) => value));
}
