// Looking at pages as a browser does: the page, what its script asks for, and its pictures from the edge.

import { Counter, Rate } from 'k6/metrics';

import { ask, askEdge } from './requests.js';

const edgeHits = new Rate('edge_hits');
const photoBytes = new Counter('photo_bytes');

// Opens a page of the shop, and asks who one is, as every page's script does.
export function openPage(path, name) {
  const page = ask('GET', path, { kind: 'page', name });
  getJson('/api/me', '/api/me');
  return page;
}

// Asks the JSON API; the answer has its body.
export function getJson(path, name) {
  return ask('GET', path, { kind: 'api', name, wantsBody: true });
}

// Loads pictures from the edge.
export function loadPhotos(paths) {
  for (const response of askEdge(paths)) {
    if (response.status === 200) {
      edgeHits.add(/; hit/.test(response.headers['Cache-Status'] || ''));
      photoBytes.add(Number(response.headers['Content-Length'] || 0));
    }
  }
}
