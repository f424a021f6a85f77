// What is for sale, read once before the load begins.

import http from 'k6/http';
import { fail } from 'k6';

import { again } from './requests.js';
import { settings } from './settings.js';

// Prints with more copies than this don't sell out in a test.
const PLENTY = 10000;

// For `setup`: { products: [{ id, category, photos, available, plenty }], categories }. `photos` are paths on the edge.
export function readCatalogue() {
  const products = [];
  let cursor = null;
  do {
    const query = cursor ? `&cursor=${encodeURIComponent(cursor)}` : '';
    const url = `${settings.shop}/api/products?limit=100${query}`;
    const response = again(() => http.get(url, { responseType: 'text', tags: { kind: 'setup', name: 'catalogue' } }));
    if (response.status !== 200) {
      fail(`${url} answered ${response.status || response.error}: is the shop running? (make up)`);
    }
    const page = response.json();
    for (const product of page.products) {
      products.push({
        id: product.id,
        category: product.category,
        photos: photosOf(product.photo),
        available: product.available,
        plenty: product.available > PLENTY,
      });
    }
    cursor = page.next_cursor;
  } while (cursor && products.length < settings.productsMax);
  if (products.length === 0) {
    fail('the shop has nothing to sell yet: wait for the seed (make status)');
  }
  return { products, categories: [...new Set(products.map((product) => product.category))] };
}

// The variants that browsers choose: WebP, a small one for lists and a larger one for the product's page.
function photosOf(photo) {
  if (!photo || photo.status !== 'ready') {
    return null;
  }
  const widths = photo.variants.filter((variant) => variant.format === 'webp').map((variant) => variant.width);
  if (widths.length === 0) {
    return null;
  }
  widths.sort((a, b) => a - b);
  const path = (wanted) => {
    const width = widths.find((candidate) => candidate >= wanted) || widths[widths.length - 1];
    return `/photos/${photo.id}/${photo.version}/w${width}.webp`;
  };
  return { small: path(320), large: path(1280) };
}
