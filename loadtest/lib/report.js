// Run by k6 after a run: makes summary.json and report.html of what lies in $RESULTS_DIR, and says what the CPU was used for.

import { cpuOf } from './cpu.js';
import { page } from './page.js';

const folder = __ENV.RESULTS_DIR;
const read = (name) => {
  try {
    return open(`${folder}/${name}`);
  } catch {
    return '';
  }
};

const run = JSON.parse(open(`${folder}/run.json`));
const figures = JSON.parse(open(`${folder}/k6.json`));
const texts = {
  cpu: read('cpu.tsv'),
  events: read('events.tsv'),
  audit: read('audit.txt'),
  memoryBefore: read('memory-before.tsv'),
  memoryAfter: read('memory-after.tsv'),
};

export const options = { vus: 1, iterations: 1 };
// k6 wants to have done something.
export default function nothing() {}

export function handleSummary() {
  const result = { ...run, ...figures };
  const cpu = cpuOf(texts.cpu, run.project);
  const [from, to] = [figures.began_ms, figures.began_ms + figures.seconds * 1000];
  result.cpu = cpuTable(cpu, from, to);
  result.events = eventsOf(texts.events);
  result.memory = memoryOf(texts.memoryBefore, texts.memoryAfter);
  if (run.scenario === 'breakpoint') {
    result.ladder = ladderOf(cpu);
    const missed = result.ladder.findIndex((step) => !step.met);
    const met = missed < 0 ? result.ladder : result.ladder.slice(0, missed);
    result.limit_rate = met.length > 0 ? met[met.length - 1].rate : null;
    result.limit_is_higher = met.length === figures.stages.length;
  }
  const overTime = (process) =>
    figures.windows.map(({ at, seconds }) => cpu.cores(process, from + at * 1000, from + (at + seconds) * 1000));
  return {
    stdout: `${lines(result).join('\n')}\n`,
    [`${folder}/summary.json`]: `${JSON.stringify(result, null, 1)}\n`,
    [`${folder}/report.html`]: page({ result, cpu, overTime, audit: texts.audit }),
    ...(result.ladder ? { [`${folder}/ladder.md`]: ladderTable(result.ladder) } : {}),
  };
}

function cpuTable(cpu, from, to) {
  if (!cpu.isMeasured || !figures.began_ms) {
    return null;
  }
  const row = (process) => {
    const cores = cpu.cores(process, from, to);
    return { process, instances: cpu.instances(process), cores, ms_per_request: (cores * (to - from)) / Math.max(1, figures.requests) };
  };
  const processes = cpu.processes.map(row).sort((a, b) => b.cores - a.cores);
  const sum = (key) => processes.reduce((total, process) => total + process[key], 0);
  return {
    source: run.cpu_source,
    processes,
    stack: { cores: sum('cores'), ms_per_request: sum('ms_per_request') },
    generator: cpu.has('generator') ? row('generator') : { process: 'generator', instances: 1, cores: run.generator_cores, ms_per_request: null },
    machine: cpu.has('machine') ? row('machine') : null,
  };
}

function eventsOf(text) {
  const words = { die: 'died', start: 'was started', pause: 'was frozen', unpause: 'goes on', oom: 'ran out of memory' };
  return text
    .split('\n')
    .map((line) => line.split('\t'))
    .filter(([ms, what]) => ms && what)
    .map(([ms, what, which]) => ({
      at: (Number(ms) - figures.began_ms) / 1000,
      text: `${(which || '').replace(`${run.project}-`, '')} ${words[what] || what}`.trim(),
    }))
    .filter(({ at }) => at >= -1 && at <= figures.seconds + 30)
    .map((event, place) => ({ number: place + 1, ...event }));
}

function memoryOf(before, after) {
  const parse = (text) => Object.fromEntries(text.split('\n').map((line) => line.split('\t')).filter(([, mib]) => mib));
  const [first, last] = [parse(before), parse(after)];
  const rows = Object.keys(last).map((name) => ({ name: name.replace(`${run.project}-`, ''), before: Number(first[name] || 0), after: Number(last[name]) }));
  return rows.length > 0 ? rows.sort((a, b) => b.after - b.before - (a.after - a.before)) : null;
}

// The steps that were gone through, and whether each met the objective. The one in which the run was ended says nothing.
function ladderOf(cpu) {
  const reached = figures.stages.filter(({ requests, to }) => requests > 0 && to <= figures.seconds);
  return reached.map((stage) => {
    const [from, to] = [figures.began_ms + stage.from * 1000, figures.began_ms + stage.to * 1000];
    const misses = figures.thresholds.filter(({ metric, met }) => !met && metric.endsWith(`{stage:${stage.name}}`));
    return {
      step: stage.name,
      rate: Math.round(stage.rate),
      iterations_per_second: stage.iterations / (stage.to - stage.from),
      requests_per_second: stage.requests / (stage.to - stage.from),
      failed: stage.failed,
      shed: stage.shed,
      p50: stage.p50,
      p95: stage.p95,
      p99: stage.p99,
      machine_cores: cpu.has('machine') ? cpu.cores('machine', from, to) : null,
      generator_cores: cpu.has('generator') ? cpu.cores('generator', from, to) : null,
      met: misses.length === 0,
      missed: misses.map(({ metric, threshold }) => `${metric.split('{')[0].replace('http_req_duration', 'answers')} ${threshold}`),
    };
  });
}

function ladderTable(ladder) {
  const cores = (value) => (value === null ? '-' : value.toFixed(2));
  const rows = ladder.map(
    (step) =>
      `| ${step.rate} | ${step.requests_per_second.toFixed(0)} | ${step.failed} | ${step.shed} | ${ms(step.p50)} | ${ms(step.p95)} | ${ms(step.p99)} | ${cores(step.machine_cores)} of ${run.cores} | ${cores(step.generator_cores)} | ${step.met ? 'met' : `missed: ${step.missed.join(', ')}`} |`,
  );
  return [
    '| iterations/s | requests/s | failed | shed | p50 | p95 | p99 | CPU of the machine | of it the generator | objective |',
    '| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |',
    ...rows,
    '',
  ].join('\n');
}

function lines(result) {
  const report = [];
  if (result.ladder) {
    report.push('', ladderTable(result.ladder));
    report.push(
      result.limit_rate === null
        ? 'Not even the first step met the objective: begin lower (RATE=...)'
        : `The last step that met the objective: ${result.limit_rate} iterations a second${result.limit_is_higher ? ', the highest that was tried (STEPS=... or RATE=... for more)' : ''}`,
    );
  }
  if (result.cpu) {
    const { generator, machine, stack, processes } = result.cpu;
    const machineText = machine ? `, the whole machine ${machine.cores.toFixed(2)} of ${run.cores}` : '';
    report.push(`CPU: the stack used ${stack.cores.toFixed(2)} cores, the generator ${generator.cores.toFixed(2)}${machineText}`);
    const most = processes.slice(0, 6).map(({ process, ms_per_request: each }) => `${process} ${each.toFixed(2)}`);
    report.push(`CPU per request: ${stack.ms_per_request.toFixed(2)} ms; ${most.join(', ')}`);
  }
  return report;
}

function ms(value) {
  return value === null ? '-' : `${value.toFixed(value < 10 ? 1 : 0)} ms`;
}
