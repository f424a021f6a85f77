// Looking at pages as a browser does: the page, what its script asks for, and its pictures from the edge.

import http from 'k6/http';
import { Counter, Rate } from 'k6/metrics';

import { settings } from './settings.js';
import { counted } from './statuses.js';

const edgeHits = new Rate('edge_hits');
const photoBytes = new Counter('photo_bytes');

// Opens a page of the shop, and asks who one is, as every page's script does.
export function openPage(path, name) {
  const tags = { kind: 'page', name };
  const page = counted(http.get(settings.shop + path, { tags, timeout: '15s' }), tags);
  getJson('/api/me', '/api/me');
  return page;
}

// Asks the JSON API; the answer has its body.
export function getJson(path, name) {
  const tags = { kind: 'api', name };
  const params = { tags, timeout: '15s', responseType: 'text' };
  return counted(http.get(settings.shop + path, params), tags);
}

// Loads pictures from the edge, several at once.
export function loadPhotos(paths) {
  const tags = { kind: 'photo', name: '/photos' };
  const requests = paths.map((path) => ['GET', settings.edge + path, null, { tags, timeout: '15s' }]);
  for (const response of http.batch(requests)) {
    counted(response, tags);
    if (response.status === 200) {
      edgeHits.add(/; hit/.test(response.headers['Cache-Status'] || ''));
      photoBytes.add(Number(response.headers['Content-Length'] || 0));
    }
  }
}
