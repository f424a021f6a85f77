// The report as one page: no font, script or picture from anywhere else, light or dark as the reader has it.

import { GROUPS } from './cpu.js';
import { clock, linePlot, timePlot } from './plot.js';
import { SCRIPT, STYLE } from './style.js';
import { TIERS } from './windows.js';

const TIER_COLOURS = { edge: 'ochre', inventory: 'blue', user: 'madder' };
const PERCENTILES = [
  { key: 'p99', name: 'p99', colour: 'strong' },
  { key: 'p95', name: 'p95', colour: 'middle' },
  { key: 'p50', name: 'median', colour: 'light' },
];
const EVENTS_DRAWN_MAX = 40;

export function page({ result, cpu, overTime, audit }) {
  const title = `${result.scenario}, ${dateOf(result.run)}`;
  const sections = [
    head(result),
    result.ladder ? ladder(result) : '',
    throughput(result),
    latency(result),
    byTier(result),
    errors(result),
    result.cpu ? cpuOverTime(result, cpu, overTime) : '',
    result.events.length > 0 ? events(result) : '',
    result.stages.length > 0 && !result.ladder ? stages(result) : '',
    requests(result),
    result.cpu ? cpuPerRequest(result) : '',
    result.memory ? memory(result) : '',
    result.orders ? orders(result, audit) : '',
    conditions(result),
  ];
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${escape(title)} - Zillion load test</title>
<style>${STYLE}</style>
</head>
<body>
<main>
${sections.join('\n')}
</main>
<script>${SCRIPT}</script>
</body>
</html>
`;
}

function head(result) {
  const { orders: bought } = result;
  const isRight = !bought || (bought.audit_clean && bought.verdict.startsWith('as many'));
  const isMet = result.ladder ? result.limit_rate !== null : result.thresholds_met;
  const missed = result.thresholds.filter(({ met }) => !met);
  let verdict = isMet ? 'Every objective was met.' : `Missed: ${missed.map(({ metric, threshold }) => `${inWords(metric)} ${threshold}`).join('; ')}.`;
  if (result.ladder) {
    verdict = isMet ? `Up to ${result.limit_rate} iterations a second met the objective${result.limit_is_higher ? ', and the ladder ended there: the limit is higher' : ''}.` : 'Not even the first step met the objective.';
  }
  if (!isRight) {
    verdict = `Orders or stock don't agree: ${bought.verdict}. ${verdict}`;
  }
  const numbers = [
    ['requests/s', number(result.requests_per_second, 0), `${thousands(result.requests)} in ${clock(result.seconds)}`],
    ['median', ms(result.p50), `p95 ${ms(result.p95)}`],
    ['p99', ms(result.p99), `slowest ${ms(result.max)}`],
    ['failed', thousands(result.failed.count), percent(result.failed.rate)],
    ['shed', thousands(result.shed.count), percent(result.shed.rate)],
  ];
  if (bought) {
    numbers.push(['orders promised', thousands(bought.acknowledged), `${thousands(bought.in_database)} in the database`]);
  }
  if (result.cpu) {
    const { machine, stack, generator } = result.cpu;
    const used = machine || stack;
    numbers.push(['cores in use', number(used.cores, 2), `of ${result.cores}, the generator ${number(generator.cores, 2)}`]);
  }
  const rate = result.ladder ? `from ${result.rate_per_second} iterations a second` : `${result.rate_per_second} iterations a second`;
  return `<header>
<p class="over">Zillion load test</p>
<h1>${escape(result.scenario)}</h1>
<p class="sub">${rate}, ${clock(result.seconds)} min, ${dateOf(result.run)} UTC, revision ${escape(result.revision)}</p>
<p class="verdict ${isMet && isRight ? 'good' : 'bad'}">${escape(verdict)}</p>
<dl class="numbers">${numbers.map(([label, value, small]) => `<div><dt>${label}</dt><dd>${value}</dd><dd class="small">${small}</dd></div>`).join('')}</dl>
</header>`;
}

function ladder(result) {
  const steps = result.ladder;
  const plot = linePlot({
    xs: steps.map(({ rate }) => rate),
    series: PERCENTILES.map(({ key, colour }) => ({ colour, values: steps.map((step) => step[key]) })),
    format: msShort,
    formatX: (value) => String(value),
    isLog: true,
    objective: result.objective_ms,
  });
  const rows = steps.map((step) => [
    step.rate,
    number(step.requests_per_second, 0),
    thousands(step.failed),
    thousands(step.shed),
    ms(step.p50),
    ms(step.p95),
    ms(step.p99),
    step.machine_cores === null ? '-' : number(step.machine_cores, 2),
    step.generator_cores === null ? '-' : number(step.generator_cores, 2),
    step.met ? 'met' : `<span class="bad">${escape(step.missed.map(inWords).join(', '))}</span>`,
  ]);
  const columns = ['iterations/s', 'requests/s', 'failed', 'shed', 'median', 'p95', 'p99', 'cores', 'of it k6', 'objective'];
  return section('The ladder', 'Each step judged by itself, without its first seconds. Time of an answer over iterations a second.', legend(PERCENTILES) + plot + table(columns, rows));
}

function throughput(result) {
  const series = TIERS.map((tier) => ({
    name: tier,
    colour: TIER_COLOURS[tier],
    values: result.windows.map((window) => window.tiers[tier].requests / window.seconds),
  })).filter(({ values }) => values.some((value) => value > 0));
  return overTimeSection(result, {
    title: 'Requests a second',
    note: 'By who answers them: the edge (pictures), inventory (pages, catalogue), user (accounts, carts, orders).',
    series,
    kind: 'area',
    format: (value) => thousands(Math.round(value)),
  });
}

function latency(result) {
  return overTimeSection(result, {
    title: 'Time until the answer',
    note: 'All requests, by when they began. The scale is logarithmic.',
    series: percentileSeries(result.windows, (window) => window),
    kind: 'line',
    isLog: true,
    format: msShort,
    objective: result.objective_ms,
  });
}

function byTier(result) {
  const seen = TIERS.filter((tier) => result.windows.some((window) => window.tiers[tier].requests > 0));
  const plots = seen.map((tier) => {
    const series = percentileSeries(result.windows, (window) => window.tiers[tier]);
    const all = result.tiers.find(({ name }) => name === tier);
    const plot = timePlot({ ...base(result), series, kind: 'line', isLog: true, format: msShort, width: 330, height: 190 });
    return `<div><h3>${tier}</h3><p class="note">median ${ms(all.p50)}, p95 ${ms(all.p95)}, p99 ${ms(all.p99)}</p>${figure(series, plot, msShort)}</div>`;
  });
  return section('The same by tier', '', `<div class="thirds">${plots.join('')}</div>`);
}

function errors(result) {
  const series = [
    { name: 'failed', colour: 'accent', values: result.windows.map(({ failed }) => failed) },
    { name: 'shed (503, come back later)', colour: 'ochre', values: result.windows.map(({ shed }) => shed) },
  ];
  const isCalm = series.every(({ values }) => values.every((value) => value === 0));
  const statuses = result.statuses.map(({ status, count }) => [status === 0 ? 'no answer' : String(status), thousands(count), STATUS_WORDS[status] || '']);
  const answers = table(['status', 'answers', ''], statuses, 'narrow');
  const title = 'What went wrong';
  if (isCalm) {
    return section(title, 'Nothing failed, and nobody was sent away.', answers);
  }
  return overTimeSection(result, { title, note: 'Requests in each window of time.', series, kind: 'bar', format: (value) => thousands(Math.round(value * 10) / 10), height: 150 }) + answers;
}

const STATUS_WORDS = {
  0: 'the connection broke, or the time was up',
  409: 'sold out, card declined, order cancelled: an answer, and a right one',
  503: 'shed: asked again later',
};

function cpuOverTime(result, cpu, overTime) {
  const grouped = GROUPS.map(({ name, colour, processes }) => {
    const each = processes.map(overTime);
    return { name, colour, values: result.windows.map((_, place) => each.reduce((sum, values) => sum + values[place], 0)) };
  });
  const generator = { name: 'k6', colour: 'grey', values: overTime('generator') };
  const series = [...grouped, generator];
  if (cpu.has('machine')) {
    const known = result.windows.map((_, place) => series.reduce((sum, { values }) => sum + values[place], 0));
    series.push({ name: 'the rest of the machine', colour: 'pale', values: overTime('machine').map((value, place) => Math.max(0, value - known[place])) });
  }
  const { source } = result.cpu;
  return overTimeSection(result, {
    title: 'Cores in use',
    note: `Of ${result.cores}. By ${source}.`,
    series: series.filter(({ values }) => values.some((value) => value > 0)),
    kind: 'area',
    top: cpu.has('machine') ? result.cores : null,
    format: (value) => number(value, value % 1 === 0 ? 0 : 2),
  });
}

function events(result) {
  const items = result.events.slice(0, 200).map(({ number: place, at, text }) => `<li value="${place}"><span class="when">${at < 0 ? '-' : ''}${clock(Math.abs(at))}</span> ${escape(text)}</li>`);
  return section('Events', 'Their numbers are on the plots.', `<ol class="events">${items.join('')}</ol>`);
}

function stages(result) {
  const rows = result.stages.map((stage) => [
    stage.name,
    `${clock(stage.from)} to ${clock(stage.to)}`,
    number(stage.requests / (stage.to - stage.from), 0),
    thousands(stage.failed),
    thousands(stage.shed),
    ms(stage.p50),
    ms(stage.p95),
    ms(stage.p99),
  ]);
  return section('By stage', '', table(['stage', 'when', 'requests/s', 'failed', 'shed', 'median', 'p95', 'p99'], rows));
}

function requests(result) {
  const rows = [...result.names].sort((a, b) => b.requests - a.requests).map((row) => [escape(row.name), thousands(row.requests), ms(row.p50), ms(row.p95), ms(row.p99), ms(row.max)]);
  const judged = result.ladder
    ? []
    : result.thresholds.map(({ metric, threshold, met }) => [escape(inWords(metric)), escape(threshold), met ? 'met' : '<span class="bad">missed</span>']);
  const own = Object.entries(result.counters).map(([name, value]) => [escape(name.replace(/_/g, ' ')), thousands(Math.round(value * 10000) / 10000)]);
  return [
    section('By request', '', table(['request', 'count', 'median', 'p95', 'p99', 'slowest'], rows)),
    judged.length > 0 ? section('Objectives', '', table(['what', 'wanted', ''], judged, 'narrow')) : '',
    own.length > 0 ? section('What the scenario counted', '', table(['', ''], own, 'narrow')) : '',
  ].join('');
}

function cpuPerRequest(result) {
  const { processes, stack, generator, machine } = result.cpu;
  const most = Math.max(...processes.map(({ cores }) => cores), generator.cores, 0.001);
  const bar = (cores) => `<span class="meter"><span style="width:${number((cores / most) * 100, 1)}%"></span></span>`;
  const row = (name, { instances, cores, ms_per_request: each }) => [name, instances || '', number(cores, 3), bar(cores), each === null ? '-' : `${number(each, 3)} ms`];
  const rows = [
    ...processes.map((process) => row(escape(process.process), process)),
    row('<b>the stack</b>', { instances: '', ...stack }),
    row('the generator, k6', generator),
    ...(machine ? [row('the whole machine', { ...machine, instances: '' })] : []),
  ].map((cells, place) => (place >= processes.length && !cells[0].includes('generator') ? [...cells.slice(0, 3), '', cells[4]] : cells));
  return section('CPU per request', 'CPU time over all requests of the run, pictures included. What a process does when idle is part of it, and weighs more the lower the rate.', table(['process', 'instances', 'cores', '', 'each request'], rows));
}

function memory(result) {
  const rows = result.memory.map(({ name, before, after }) => [escape(name), `${before} MiB`, `${after} MiB`, `${after >= before ? '+' : ''}${after - before}`]);
  return section('Memory', 'Before and after, those that grew most first.', table(['container', 'before', 'after', 'MiB'], rows));
}

function orders(result, audit) {
  const { acknowledged, in_database: inDatabase, unknown, verdict } = result.orders;
  const text = `${thousands(acknowledged)} orders were confirmed to customers, ${thousands(inDatabase)} new ones are in the database, ${thousands(unknown)} of unknown outcome: ${verdict}.`;
  return section('Orders', escape(text), audit ? `<pre>${escape(audit.trim())}</pre>` : '');
}

function conditions(result) {
  const generator = result.cpu && result.cpu.machine ? ` The generator ran on the same machine and took ${number(result.cpu.generator.cores, 2)} of its cores, which the shop did not have.` : '';
  return `<footer><p>${escape(result.machine)}, ${result.cores} cores, ${escape(result.k6)}.${generator} Iterations begin at their rate whether or not earlier ones have ended; ${thousands(result.dropped_iterations)} could not begin because too many were still waiting.</p></footer>`;
}

// ---- parts

function base(result) {
  return { windows: result.windows, events: result.events.slice(0, EVENTS_DRAWN_MAX), stages: result.stages };
}

function overTimeSection(result, { title, note, ...plot }) {
  return section(title, note, figure(plot.series, timePlot({ ...base(result), ...plot }), plot.format));
}

function percentileSeries(windows, figures) {
  return PERCENTILES.map(({ key, name, colour }) => ({ name, colour, values: windows.map((window) => figures(window)[key]) }));
}

// A plot with its legend, which shows the values under the pointer.
function figure(series, plot, format) {
  const values = series.map((one) => one.values.map((value) => (value === null ? '-' : format(value))));
  return `<figure data-values="${escape(JSON.stringify(values))}">${legend(series)}${plot}</figure>`;
}

function legend(series) {
  const items = series.map(({ name, colour }) => `<li><span class="swatch ${colour}"></span>${escape(name)} <b></b></li>`);
  return `<ul class="legend">${items.join('')}</ul>`;
}

function section(title, note, body) {
  return `<section><h2>${title}</h2>${note ? `<p class="note">${note}</p>` : ''}${body}</section>`;
}

function table(columns, rows, className = '') {
  const headings = columns.some(Boolean) ? `<thead><tr>${columns.map((column) => `<th>${column}</th>`).join('')}</tr></thead>` : '';
  const body = rows.map((row) => `<tr>${row.map((cell) => `<td>${cell}</td>`).join('')}</tr>`).join('');
  return `<div class="scroll"><table class="${className}">${headings}<tbody>${body}</tbody></table></div>`;
}

function inWords(metric) {
  return metric
    .replace(/^http_req_duration\{stage:(.*)\}$/, 'answers ($1)')
    .replace(/^http_req_duration\{(kind|name):(.*)\}$/, '$2')
    .replace(/^http_req_duration/, 'answers')
    .replace(/\{load:yes\}$/, '')
    .replace(/\{stage:(.*)\}$/, ' ($1)')
    .replace(/_/g, ' ');
}

function dateOf(run) {
  const parts = /^(\d{4})(\d\d)(\d\d)-(\d\d)(\d\d)/.exec(run);
  return parts ? `${parts[1]}-${parts[2]}-${parts[3]} ${parts[4]}:${parts[5]}` : run;
}

function ms(value) {
  if (value === null || value === undefined) {
    return '-';
  }
  return value >= 10000 ? `${number(value / 1000, 1)} s` : `${number(value, value < 10 ? 1 : 0)} ms`;
}

function msShort(value) {
  return value >= 1000 ? `${number(value / 1000, value % 1000 === 0 ? 0 : 1)} s` : `${number(value, value < 10 && value % 1 !== 0 ? 1 : 0)} ms`;
}

function percent(rate) {
  return `${number(rate * 100, 2)} %`;
}

function number(value, digits) {
  return value.toFixed(digits);
}

function thousands(value) {
  const [whole, part] = String(value).split('.');
  return whole.replace(/\B(?=(\d{3})+$)/g, '\u2009') + (part ? `.${part}` : '');
}

function escape(text) {
  return String(text).replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;').replace(/"/g, '&quot;');
}
