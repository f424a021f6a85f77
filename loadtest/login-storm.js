// Everybody logs in, as after a newsletter: each login checks a password, which keeps a core busy on purpose. The shop checks
// a few at once, lets the others wait, and sends away whom it can't serve soon; nobody else's pages may suffer.

import { customer, logIn, logOut, register } from './lib/customer.js';
import { arrivals, optionsFor } from './lib/options.js';
import { anyOf } from './lib/random.js';
import { begin } from './lib/requests.js';
import { settings } from './lib/settings.js';
import { getJson, openPage } from './lib/visit.js';
import { fail } from 'k6';
import { Rate } from 'k6/metrics';

export { handleSummary } from './lib/summary.js';

const ACCOUNTS = 20;
// Of those who only look around meanwhile.
const VISITORS_SHARE = 0.5;

export const options = optionsFor({
  scenarios: {
    login: arrivals('login', { secondsEach: 4 }),
    visit: arrivals('visit', { secondsEach: 1, share: VISITORS_SHARE }),
  },
  thresholds: {
    // Who is sent away tries again, and waits longer each time.
    'shed{load:yes}': ['rate<0.5'],
    'http_req_duration{kind:account}': ['p(99)<5000'],
    customers_refused: ['rate<0.05'],
  },
});

const refused = new Rate('customers_refused');

export function setup() {
  const accounts = [];
  for (let number = 1; number <= ACCOUNTS; number += 1) {
    const account = customer(number);
    if (settings.customers === 'register' && !register(account)) {
      fail(`${account.email} could not register`);
    }
    accounts.push(account);
  }
  return { accounts };
}

export function login({ accounts }) {
  begin();
  const isIn = logIn(anyOf(accounts));
  refused.add(!isIn);
  if (isIn) {
    getJson('/api/me', '/api/me');
    logOut();
  }
}

export function visit() {
  begin();
  openPage('/', '/');
}
