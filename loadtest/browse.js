// Visitors who look around. An iteration is one page: the page itself, what its script asks for, and its pictures.

import { readCatalogue } from './lib/catalogue.js';
import { anyOf, weighted, Zipf } from './lib/random.js';
import { arrivals, optionsFor } from './lib/options.js';
import { begin } from './lib/requests.js';
import { getJson, loadPhotos, openPage } from './lib/visit.js';

export { handleSummary } from './lib/summary.js';
export const options = optionsFor({ scenarios: { browse: arrivals('browse', { secondsEach: 1 }) } });
export const setup = readCatalogue;

const WORDS = ['blue', 'line', 'city', 'sea', 'paper', 'night', 'field', 'cloth'];
// What is above the fold of a page with many prints.
const PHOTOS_OF_A_LIST = 6;

let popularity = null;

export function browse({ products, categories }) {
  begin();
  popularity = popularity || new Zipf(products.length);
  const wanted = products[popularity.draw()];
  const kind = weighted({ home: 3, category: 2, product: 4, search: 0.5, api: 0.5 });
  if (kind === 'product') {
    openPage(`/products/${wanted.id}`, '/products/{id}');
    loadPhotos(wanted.photos ? [wanted.photos.large] : []);
    return;
  }
  let shown = products;
  if (kind === 'home') {
    openPage('/', '/');
  } else if (kind === 'category') {
    const category = anyOf(categories);
    shown = products.filter((product) => product.category === category);
    openPage(`/categories/${category}`, '/categories/{slug}');
  } else if (kind === 'search') {
    openPage(`/search?q=${anyOf(WORDS)}`, '/search');
    return;
  } else {
    getJson('/api/products?limit=24', '/api/products');
    getJson(`/api/products/${wanted.id}/stock`, '/api/products/{id}/stock');
    return;
  }
  const photos = shown.filter((product) => product.photos).slice(0, PHOTOS_OF_A_LIST);
  loadPhotos(photos.map((product) => product.photos.small));
}
