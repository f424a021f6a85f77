// What a run can be told by its environment, and the options that follow from it.

export const settings = {
  shop: trimSlash(__ENV.SHOP_URL || 'http://127.0.0.1:8080'),
  edge: trimSlash(__ENV.EDGE_URL || 'http://127.0.0.1:8081'),
  // Iterations that begin in a second, whether or not earlier ones have ended: a slow shop gets no less to do.
  rate: positive('RATE', 10),
  duration: __ENV.DURATION || '30s',
  // How many products of the catalogue are visited at most.
  productsMax: positive('PRODUCTS_MAX', 1000),
  // Where the results are written; nowhere if it is empty.
  resultsDir: __ENV.RESULTS_DIR || '',
  // Distinguishes the customers of this run from those of all others.
  run: __ENV.RUN_ID || `${Date.now().toString(36)}`,
};

// Options of a scenario that starts `settings.rate` iterations of `exec` a second. `secondsEach` is how long one takes
// at most, as far as the number of virtual users goes that have to be there for it.
export function options(exec, { secondsEach, thresholds, vusMax = 2000 }) {
  const vus = Math.max(2, Math.ceil(settings.rate * secondsEach));
  return {
    scenarios: {
      [exec]: {
        executor: 'constant-arrival-rate',
        exec,
        rate: settings.rate,
        timeUnit: '1s',
        duration: settings.duration,
        preAllocatedVUs: Math.min(vus, vusMax),
        maxVUs: vusMax,
        gracefulStop: '45s',
      },
    },
    setupTimeout: '60s',
    // A virtual user is one customer, with one browser's cookies.
    noCookiesReset: true,
    // Bodies are read where they are needed.
    discardResponseBodies: true,
    userAgent: 'zillion-loadtest',
    summaryTrendStats: ['min', 'med', 'avg', 'p(90)', 'p(95)', 'p(99)', 'max', 'count'],
    thresholds: {
      // Whatever is neither an answer of the shop nor "not now": see statuses.js.
      failed: ['rate<0.001'],
      shed: ['rate<0.01'],
      // The generator could not keep up, so what it measured is its own weakness.
      dropped_iterations: ['count<1'],
      ...thresholds,
    },
  };
}

function positive(name, fallback) {
  const value = __ENV[name] === undefined || __ENV[name] === '' ? fallback : Number(__ENV[name]);
  if (!Number.isInteger(value) || value < 1) {
    throw new Error(`${name}=${__ENV[name]} is not a whole number above zero`);
  }
  return value;
}

function trimSlash(url) {
  return url.replace(/\/+$/, '');
}
