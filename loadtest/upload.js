// Customers who change their profile's photo. Each takes one of the shop's own pictures, so that what is uploaded is a real
// photo; the shop answers at once, and the workers make its variants. A photo that was accepted must get ready.

import http from 'k6/http';
import exec from 'k6/execution';
import { sleep } from 'k6';
import { Counter, Rate, Trend } from 'k6/metrics';

import { readCatalogue } from './lib/catalogue.js';
import { becomeCustomer } from './lib/customer.js';
import { arrivals, optionsFor } from './lib/options.js';
import { ask, begin } from './lib/requests.js';
import { settings } from './lib/settings.js';
import { getJson } from './lib/visit.js';

export { handleSummary } from './lib/summary.js';

const READY_SECONDS_MAX = 40;

export const options = optionsFor({
  scenarios: { upload: arrivals('upload', { secondsEach: 10, vusMax: 500 }) },
  thresholds: {
    'http_req_duration{kind:upload}': ['p(99)<2000'],
    customers_refused: ['rate<0.001'],
    photos_failed: ['count<1'],
    photos_not_ready: ['count<1'],
  },
});
export const setup = readCatalogue;

const refused = new Rate('customers_refused');
const ready = new Trend('photo_ready', true);
const failed = new Counter('photos_failed');
const late = new Counter('photos_not_ready');

let picture = null;

export function upload({ products }) {
  begin();
  if (!picture) {
    const isCustomer = becomeCustomer(exec.vu.idInTest);
    refused.add(!isCustomer);
    picture = isCustomer ? pictureOf(products, exec.vu.idInTest) : null;
    if (!picture) {
      return;
    }
  }
  const body = { purpose: 'profile', file: http.file(picture, 'me.webp', 'image/webp') };
  const headers = { 'Idempotency-Key': `${settings.run}-${exec.vu.idInTest}-${exec.vu.iterationInInstance}` };
  const answer = ask('POST', '/api/photos', { kind: 'upload', name: 'POST /api/photos', headers, body, wantsBody: true });
  if (answer.status === 202) {
    follow(answer.json('id'));
  }
}

function pictureOf(products, number) {
  const shown = products.filter((product) => product.photos);
  const path = shown.length > 0 ? shown[number % shown.length].photos.large : null;
  const response = path ? http.get(settings.edge + path, { responseType: 'binary', tags: { name: 'a picture to upload' } }) : null;
  return response && response.status === 200 ? response.body : null;
}

// Waits until the workers are done with it.
function follow(photoId) {
  const accepted = Date.now();
  while (Date.now() - accepted < READY_SECONDS_MAX * 1000) {
    sleep(1);
    const photo = getJson(`/api/photos/${photoId}`, '/api/photos/{id}');
    const status = photo.status === 200 ? photo.json('status') : null;
    if (status === 'ready') {
      ready.add(Date.now() - accepted);
      return;
    }
    if (status === 'failed') {
      failed.add(1);
      return;
    }
  }
  late.add(1);
}
