// Choices. Not seeded: arrival times differ from run to run anyway, and only the distribution matters.

// One of the list, each as likely.
export function anyOf(list) {
  return list[Math.floor(Math.random() * list.length)];
}

// One of the options, by weight: weighted({ home: 3, product: 5 }) is 'product' five times of eight.
export function weighted(weights) {
  const names = Object.keys(weights);
  let left = Math.random() * names.reduce((sum, name) => sum + weights[name], 0);
  for (const name of names) {
    left -= weights[name];
    if (left < 0) {
      return name;
    }
  }
  return names[names.length - 1];
}

// Draws positions in a list by Zipf's law: the first is wanted most, the second half as much (at exponent 1), and the
// tail is long. That is how people visit shops, and what caches live by.
export class Zipf {
  constructor(length, exponent = 1) {
    this.cumulated = new Float64Array(length);
    let sum = 0;
    for (let at = 0; at < length; at += 1) {
      sum += 1 / Math.pow(at + 1, exponent);
      this.cumulated[at] = sum;
    }
    this.sum = sum;
  }

  draw() {
    const wanted = Math.random() * this.sum;
    let low = 0;
    let high = this.cumulated.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.cumulated[middle] < wanted) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return low;
  }
}
