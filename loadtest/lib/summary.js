// What a run leaves behind: k6.json with all its figures, counts.env for the shell, and a few lines to read.

import { settings } from './settings.js';

// For `handleSummary`. `counters` are the names of the counters that the shell compares with the database.
export function summary(data, counters = []) {
  const values = (name) => (data.metrics[name] ? data.metrics[name].values : {});
  const report = lines(data, values);
  const files = { stdout: `${report.join('\n')}\n` };
  if (settings.resultsDir) {
    const counts = counters.map((name) => `${name}=${values(name).count || 0}`);
    files[`${settings.resultsDir}/counts.env`] = `${counts.join('\n')}\n`;
    const figures = Object.fromEntries(
      Object.entries(data.metrics).map(([name, metric]) => [name, { ...metric.values, ...verdict(metric) }]),
    );
    files[`${settings.resultsDir}/k6.json`] = `${JSON.stringify(figures, null, 1)}\n`;
  }
  return files;
}

function verdict(metric) {
  const thresholds = Object.entries(metric.thresholds || {});
  return thresholds.length === 0 ? {} : { passed: thresholds.every(([, threshold]) => threshold.ok) };
}

function lines(data, values) {
  const ms = (value) => (value === undefined ? '-' : `${value.toFixed(value < 10 ? 1 : 0)} ms`);
  const percent = (name) => `${((values(name).rate || 0) * 100).toFixed(2)} %`;
  const row = (label, value) => `  ${label.padEnd(34)}${value}`;
  const report = ['', row('requests', `${values('http_reqs').count} (${(values('http_reqs').rate || 0).toFixed(1)}/s)`)];
  report.push(row('iterations', `${(values('iterations').rate || 0).toFixed(1)}/s`));
  report.push(row('failed / shed', `${percent('failed')} / ${percent('shed')}`));
  for (const name of Object.keys(data.metrics).filter((name) => name.startsWith('http_req_duration{'))) {
    const { med, 'p(95)': p95, 'p(99)': p99 } = values(name);
    report.push(row(name.slice('http_req_duration'.length), `median ${ms(med)}, p95 ${ms(p95)}, p99 ${ms(p99)}`));
  }
  if (data.metrics.edge_hits) {
    report.push(row('photos from the edge\'s cache', percent('edge_hits')));
  }
  for (const name of Object.keys(data.metrics).filter((name) => name.startsWith('orders_'))) {
    report.push(row(name, String(values(name).count)));
  }
  for (const [name, metric] of Object.entries(data.metrics)) {
    for (const [threshold, { ok }] of Object.entries(metric.thresholds || {})) {
      if (!ok) {
        report.push(row(`NOT MET: ${name}`, threshold));
      }
    }
  }
  return report;
}
