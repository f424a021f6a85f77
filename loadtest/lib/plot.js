// Plots as SVG, which every browser shows and any mail or repository can carry. Colours are names of the page's style.

const LEFT = 52;
const RIGHT = 14;
const TOP = 22;
const BOTTOM = 24;
const LABEL_DISTANCE = 20;

// A plot over time. `series`: [{ name, colour, values }], a value for each of `windows`. `kind` is 'area' (stacked), 'line'
// or 'bar' (stacked). `objective` draws a line; `events` and `stages` are marked: [{ at, number }], [{ name, from, to }].
export function timePlot({ windows, series, kind, format, isLog = false, top = null, objective = null, events = [], stages = [], width = 920, height = 220 }) {
  const end = windows.length > 0 ? windows[windows.length - 1].at + windows[windows.length - 1].seconds : 1;
  const x = (second) => LEFT + (second / end) * (width - LEFT - RIGHT);
  const middles = windows.map(({ at, seconds }) => at + seconds / 2);
  const stacks = kind === 'line' ? series.map(({ values }) => values) : stacked(series);
  const scale = scaleOf({ values: stacks.flat().concat(objective || []), isLog, top, height });
  const parts = [frame({ scale, format, width, height })];
  stages.forEach(({ name, from, to }) => {
    const [left, right] = [x(from), x(Math.min(to, end))];
    if (right > left) {
      parts.push(`<rect class="stage" x="${n(left)}" y="${TOP}" width="${n(right - left)}" height="${height - TOP - BOTTOM}"/>`);
      parts.push(`<text class="stage" x="${n(left)}" y="${TOP - 6}">${name}</text>`);
    }
  });
  const drawn = { area: drawAreas, line: drawLines, bar: drawBars }[kind];
  parts.push(drawn({ series, stacks, windows, middles, x, y: scale.y, end }));
  if (objective !== null) {
    parts.push(reference(scale.y(objective), width, format(objective)));
  }
  parts.push(...eventMarks(events.filter(({ at }) => at >= 0 && at <= end), x, height));
  const ticksWanted = Math.max(2, Math.round(width / 110));
  for (const second of timeTicks(end, ticksWanted)) {
    parts.push(`<text class="tick" x="${n(x(second))}" y="${height - 7}" text-anchor="middle">${clock(second)}</text>`);
  }
  parts.push(`<line class="cursor" y1="${TOP}" y2="${height - BOTTOM}" x1="-9" x2="-9"/>`);
  return svg({ width, height, parts, data: `data-left="${LEFT}" data-right="${RIGHT}" data-width="${width}"` });
}

// Lines over something that grows, such as a rate: `xs` are its values.
export function linePlot({ xs, series, format, formatX, isLog = false, objective = null, width = 920, height = 260 }) {
  const [first, last] = [xs[0] * 0.8, xs[xs.length - 1] * 1.04];
  const x = (value) => LEFT + ((value - first) / (last - first)) * (width - LEFT - RIGHT);
  const scale = scaleOf({ values: series.flatMap(({ values }) => values).concat(objective || []), isLog, top: null, height });
  const parts = [frame({ scale, format, width, height })];
  for (const { colour, values } of series) {
    const points = values.map((value, place) => (value === null ? null : [x(xs[place]), scale.y(value)]));
    parts.push(`<path class="line ${colour}" d="${path(points)}"/>`);
    parts.push(...points.filter(Boolean).map(([px, py]) => `<circle class="dot ${colour}" cx="${n(px)}" cy="${n(py)}" r="3"/>`));
  }
  if (objective !== null) {
    parts.push(reference(scale.y(objective), width, format(objective)));
  }
  let free = -Infinity;
  for (const value of xs) {
    if (x(value) - free > 44) {
      free = x(value);
      parts.push(`<text class="tick" x="${n(x(value))}" y="${height - 7}" text-anchor="middle">${formatX(value)}</text>`);
    }
  }
  return svg({ width, height, parts, data: '' });
}

// "1:05", "1:00:00".
export function clock(second) {
  const rounded = Math.round(second);
  const pad = (number) => String(number).padStart(2, '0');
  const [hours, minutes, seconds] = [Math.floor(rounded / 3600), Math.floor((rounded % 3600) / 60), rounded % 60];
  return hours > 0 ? `${hours}:${pad(minutes)}:${pad(seconds)}` : `${minutes}:${pad(seconds)}`;
}

function svg({ width, height, parts, data }) {
  return `<svg viewBox="0 0 ${width} ${height}" role="img" ${data}>${parts.join('')}</svg>`;
}

function frame({ scale, format, width, height }) {
  const lines = scale.ticks.map((tick) => {
    const y = n(scale.y(tick));
    return `<line class="grid" x1="${LEFT}" x2="${width - RIGHT}" y1="${y}" y2="${y}"/><text class="tick" x="${LEFT - 7}" y="${n(scale.y(tick) + 4)}" text-anchor="end">${format(tick)}</text>`;
  });
  return `${lines.join('')}<line class="axis" x1="${LEFT}" x2="${width - RIGHT}" y1="${height - BOTTOM}" y2="${height - BOTTOM}"/>`;
}

// A line for each event; those too close to be told apart share a label, "2-4".
function eventMarks(events, x, height) {
  const marks = events.map(({ at }) => `<line class="event" x1="${n(x(at))}" x2="${n(x(at))}" y1="${TOP}" y2="${height - BOTTOM}"/>`);
  const labels = [];
  for (const { at, number } of events) {
    const last = labels[labels.length - 1];
    if (last && x(at) - last.right < LABEL_DISTANCE) {
      last.to = number;
      last.right = x(at);
    } else {
      labels.push({ from: number, to: number, left: x(at), right: x(at) });
    }
  }
  const text = ({ from, to }) => (from === to ? from : `${from}-${to}`);
  return marks.concat(labels.map((label) => `<text class="event" x="${n((label.left + label.right) / 2)}" y="${TOP - 6}">${text(label)}</text>`));
}

function reference(y, width, label) {
  return `<line class="objective" x1="${LEFT}" x2="${width - RIGHT}" y1="${n(y)}" y2="${n(y)}"/><text class="objective" x="${width - RIGHT}" y="${n(y - 5)}" text-anchor="end">objective ${label}</text>`;
}

// Values of each series with those below it added.
function stacked(series) {
  const sums = [];
  return series.map(({ values }) => values.map((value, place) => (sums[place] = (sums[place] || 0) + (value || 0))));
}

function drawAreas({ series, stacks, middles, x, y, end }) {
  const drawn = series.map(({ colour }, layer) => {
    const edge = (values) => {
      const points = values.map((value, place) => [x(middles[place]), y(value)]);
      return [[x(0), y(values[0])], ...points, [x(end), y(values[values.length - 1])]];
    };
    const below = layer === 0 ? middles.map(() => 0) : stacks[layer - 1];
    return `<path class="area ${colour}" d="${path([...edge(stacks[layer]), ...edge(below).reverse()])}Z"/>`;
  });
  return drawn.join('');
}

function drawLines({ series, middles, x, y }) {
  const drawn = series.map(({ colour, values }) => {
    const points = values.map((value, place) => (value === null ? null : [x(middles[place]), y(value)]));
    const alone = points.filter((point, place) => point && !points[place - 1] && !points[place + 1]);
    const dots = alone.map(([px, py]) => `<circle class="dot ${colour}" cx="${n(px)}" cy="${n(py)}" r="2"/>`);
    return `<path class="line ${colour}" d="${path(points)}"/>${dots.join('')}`;
  });
  return drawn.join('');
}

function drawBars({ series, stacks, windows, x, y }) {
  const drawn = series.flatMap(({ colour, values }, layer) =>
    values.map((value, place) => {
      if (!value) {
        return '';
      }
      const { at, seconds } = windows[place];
      const top = y(stacks[layer][place]);
      const bottom = y(stacks[layer][place] - value);
      return `<rect class="bar ${colour}" x="${n(x(at) + 0.5)}" y="${n(top)}" width="${n(x(at + seconds) - x(at) - 1)}" height="${n(bottom - top)}"/>`;
    }),
  );
  return drawn.join('');
}

// A path through points; where one is missing, it begins anew.
function path(points) {
  return points
    .map((point, place) => (point ? `${place > 0 && points[place - 1] ? 'L' : 'M'}${n(point[0])} ${n(point[1])}` : ''))
    .join('');
}

function scaleOf({ values, isLog, top, height }) {
  const known = values.filter((value) => value !== null && value > 0);
  const [low, high] = [TOP, height - BOTTOM];
  if (isLog) {
    const least = Math.pow(10, Math.floor(Math.log10(Math.min(...known, 10)) + 0.001));
    const most = Math.max(...known, least * 10) * 1.3;
    const y = (value) => high - ((Math.log10(Math.max(value, least)) - Math.log10(least)) / (Math.log10(most) - Math.log10(least))) * (high - low);
    const ticks = [];
    for (let decade = least; decade <= most; decade *= 10) {
      ticks.push(...(most / least > 300 ? [1, 3] : [1, 2, 5]).map((factor) => decade * factor).filter((tick) => tick <= most));
    }
    return { y, ticks };
  }
  const most = Math.max(top || 0, ...known, 0.001) * (top ? 1.02 : 1.12);
  const step = niceStep(most / 4);
  const ticks = [];
  for (let tick = 0; tick <= most; tick += step) {
    ticks.push(tick);
  }
  return { y: (value) => high - (value / most) * (high - low), ticks };
}

function niceStep(rough) {
  const decade = Math.pow(10, Math.floor(Math.log10(rough)));
  return [1, 2, 5, 10].map((factor) => factor * decade).find((step) => step >= rough);
}

function timeTicks(end, wanted) {
  const steps = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200];
  const step = steps.find((candidate) => end / candidate <= wanted) || 14400;
  const ticks = [];
  for (let second = 0; second <= end; second += step) {
    ticks.push(second);
  }
  return ticks;
}

// One decimal is a tenth of a pixel.
function n(value) {
  return String(Math.round(value * 10) / 10);
}
