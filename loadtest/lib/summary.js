// What a run leaves behind: k6.json with all its figures, counts.env for the shell, and a few lines to read.

import { ordersUnknown } from './orders.js';
import { NAMES, STATUSES } from './requests.js';
import { settings } from './settings.js';
import { ALWAYS_MET, byStage, loadBegan, loadSeconds, overTime, percentiles, TIERS } from './windows.js';

const KEEPING = Object.values(ALWAYS_MET).flat();
// Counters and the like that k6 or we keep for ourselves.
const INTERNAL = ['load_began', 'begun', 'failed', 'shed', 'unanswered'];

export function handleSummary(data) {
  const figures = figuresOf(data.metrics, data.state.testRunDurationMs / 1000);
  const files = { stdout: `${lines(figures).join('\n')}\n` };
  if (settings.resultsDir) {
    const counts = {
      requests: figures.requests,
      orders_confirmed: figures.counters.orders_confirmed || 0,
      orders_unknown: ordersUnknown(figures.counters),
    };
    const assignments = Object.entries(counts).map(([name, count]) => `${name}=${count}\n`);
    files[`${settings.resultsDir}/counts.env`] = assignments.join('');
    files[`${settings.resultsDir}/k6.json`] = `${JSON.stringify(figures, null, 1)}\n`;
  }
  return files;
}

function figuresOf(metrics, lasted) {
  const durations = (tags) => percentiles(metrics[`http_req_duration{${tags}}`]);
  const table = (tag, values) =>
    values.map((value) => ({ name: value, ...durations(`${tag}:${value}`) })).filter(({ requests }) => requests > 0);
  const windows = overTime(metrics, lasted);
  const rate = (name) => (metrics[name] ? metrics[name].values : { rate: 0, passes: 0 });
  const seconds = loadSeconds(lasted);
  const all = durations('load:yes');
  return {
    began_ms: loadBegan(metrics),
    seconds,
    objective_ms: settings.objectiveMs,
    requests: all.requests,
    requests_per_second: all.requests / Math.max(1, seconds),
    iterations: metrics.begun ? metrics.begun.values.count : 0,
    dropped_iterations: metrics.dropped_iterations ? metrics.dropped_iterations.values.count : 0,
    failed: pick(rate('failed{load:yes}')),
    shed: pick(rate('shed{load:yes}')),
    p50: all.p50,
    p95: all.p95,
    p99: all.p99,
    max: all.max,
    tiers: table('tier', TIERS),
    names: table('name', NAMES),
    statuses: STATUSES.map((status) => ({ status, count: countOf(metrics[`http_reqs{status:${status}}`]) })).filter(
      ({ count }) => count > 0,
    ),
    counters: ourOwn(metrics),
    thresholds: thresholdsOf(metrics),
    stages: byStage(metrics),
    windows,
  };
}

function pick({ rate, passes }) {
  return { rate, count: passes };
}

function countOf(metric) {
  return metric ? metric.values.count : 0;
}

// The scenario's own metrics, as one number each.
function ourOwn(metrics) {
  const isOurs = (name) => !/[{]|^(http_|iteration|data_|vus|dropped_|checks|group_)/.test(name) && !INTERNAL.includes(name);
  const numbers = Object.entries(metrics)
    .filter(([name]) => isOurs(name))
    .flatMap(([name, { type, values }]) => {
      switch (type) {
        case 'counter':
          return [[name, values.count]];
        case 'rate':
          return [[name, values.rate]];
        case 'gauge':
          return [[name, values.value]];
        default:
          return [
            [`${name}_p50_ms`, values.med],
            [`${name}_p99_ms`, values['p(99)']],
          ];
      }
    });
  return Object.fromEntries(numbers);
}

function thresholdsOf(metrics) {
  // What never happened is neither met nor missed.
  const happened = Object.entries(metrics).filter(([, { type, values }]) => type !== 'trend' || values.count > 0);
  return happened.flatMap(([metric, { thresholds }]) =>
    Object.entries(thresholds || {})
      .filter(([threshold]) => !KEEPING.includes(threshold))
      .map(([threshold, { ok }]) => ({ metric, threshold, met: ok })),
  );
}

function lines(figures) {
  const row = (label, value) => `  ${label.padEnd(34)}${value}`;
  const spread = ({ p50, p95, p99 }) => `median ${ms(p50)}, p95 ${ms(p95)}, p99 ${ms(p99)}`;
  const percent = ({ rate, count }) => `${(rate * 100).toFixed(2)} % (${count})`;
  const report = ['', row('requests', `${figures.requests} (${figures.requests_per_second.toFixed(1)}/s)`)];
  report.push(row('iterations', `${figures.iterations} (${(figures.iterations / Math.max(1, figures.seconds)).toFixed(1)}/s)`));
  report.push(row('failed', percent(figures.failed)), row('shed', percent(figures.shed)));
  report.push(row('all', spread(figures)));
  figures.tiers.forEach((tier) => report.push(row(`from ${tier.name}`, spread(tier))));
  figures.names.filter(({ name }) => / /.test(name)).forEach((kind) => report.push(row(kind.name, spread(kind))));
  for (const [name, value] of Object.entries(figures.counters)) {
    report.push(row(name.replace(/_/g, ' '), Number.isInteger(value) ? String(value) : value.toFixed(value < 10 ? 4 : 0)));
  }
  if (figures.dropped_iterations > 0) {
    report.push(row('iterations that never began', String(figures.dropped_iterations)));
  }
  // The steps of a ladder are judged in its table.
  const missed = figures.thresholds.filter(({ metric, met }) => !met && !/\{stage:\d+\}/.test(metric));
  missed.forEach(({ metric, threshold }) => report.push(row('NOT MET', `${metric} ${threshold}`)));
  return report;
}

function ms(value) {
  return value === null ? '-' : `${value.toFixed(value < 10 ? 1 : 0)} ms`;
}
