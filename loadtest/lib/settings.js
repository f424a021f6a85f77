// What a run can be told by its environment.

export const settings = {
  shop: trimSlash(__ENV.SHOP_URL || 'http://127.0.0.1:8080'),
  edge: trimSlash(__ENV.EDGE_URL || 'http://127.0.0.1:8081'),
  // Iterations that begin in a second, whether or not earlier ones have ended: a slow shop gets no less to do.
  rate: positive('RATE', 10),
  seconds: secondsOf(__ENV.DURATION || '30s'),
  // The objective: 99 of 100 requests are answered within this time.
  objectiveMs: positive('OBJECTIVE_MS', 250),
  // How many products of the catalogue are visited at most.
  productsMax: positive('PRODUCTS_MAX', 1000),
  // Who buys: `register` new customers, the one `demo` customer, or those that `seed --users N` has made (`seeded`).
  customers: oneOf('CUSTOMERS', ['register', 'demo', 'seeded']),
  // How many customers come to a flash sale.
  buyers: positive('BUYERS', 200),
  // How many times the usual rate a spike is.
  spikeFactor: positive('SPIKE', 6),
  // The ladder of `breakpoint`: how long a step is, how many there are at most, how much higher each is.
  stepSeconds: secondsOf(__ENV.STEP || '20s'),
  stepsMax: positive('STEPS', 12),
  stepGrowthPercent: positive('GROWTH', 40),
  // Where the results are written; nowhere if it is empty.
  resultsDir: __ENV.RESULTS_DIR || '',
  // Distinguishes the customers of this run from those of all others.
  run: __ENV.RUN_ID || `${Date.now().toString(36)}`,
};

function positive(name, fallback) {
  const value = __ENV[name] === undefined || __ENV[name] === '' ? fallback : Number(__ENV[name]);
  if (!Number.isInteger(value) || value < 1) {
    throw new Error(`${name}=${__ENV[name]} is not a whole number above zero`);
  }
  return value;
}

function oneOf(name, words) {
  const word = __ENV[name] || words[0];
  if (!words.includes(word)) {
    throw new Error(`${name}=${word} is none of ${words.join(', ')}`);
  }
  return word;
}

// "90s", "2m", "1h30m".
function secondsOf(text) {
  const parts = /^(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s?)?$/.exec(text);
  const seconds = parts ? Number(parts[1] || 0) * 3600 + Number(parts[2] || 0) * 60 + Number(parts[3] || 0) : 0;
  if (seconds < 1) {
    throw new Error(`${text} is no length of time: 90s, 2m, 1h30m`);
  }
  return seconds;
}

function trimSlash(url) {
  return url.replace(/\/+$/, '');
}
