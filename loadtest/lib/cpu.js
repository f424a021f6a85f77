// From samples of CPU time to cores over time and CPU per request.

// What is drawn together; the table lists every process.
export const GROUPS = [
  { name: 'gateway, balancers, edges', colour: 'ochre', processes: ['gateway', 'balancer', 'edge'] },
  { name: 'inventory, user, workers', colour: 'blue', processes: ['inventory', 'user', 'photo-worker'] },
  { name: 'Postgres, etcd', colour: 'green', processes: ['postgres', 'etcd'] },
  { name: 'Redis', colour: 'madder', processes: ['sessions', 'sentinel', 'cache'] },
  { name: 'RabbitMQ, objects', colour: 'violet', processes: ['rabbitmq', 'objects'] },
];

// `text` is cpu.tsv: "milliseconds<TAB>name<TAB>microseconds so far", or a percentage of a core just then. Gives an object
// with `cores(process, from, to)`.
export function cpuOf(text, project) {
  const containers = {};
  for (const line of text.split('\n')) {
    const [ms, name, microseconds] = line.split('\t');
    if (microseconds === undefined) {
      continue;
    }
    const samples = (containers[name] = containers[name] || []);
    if (microseconds.endsWith('%')) {
      const [before, used] = samples[samples.length - 1] || [Number(ms), 0];
      samples.push([Number(ms), used + Number.parseFloat(microseconds) * 10 * (Number(ms) - before)]);
    } else {
      samples.push([Number(ms), Number(microseconds)]);
    }
  }
  const processes = {};
  for (const [name, samples] of Object.entries(containers)) {
    const process = name.replace(`${project}-`, '').replace(/-\d+$/, '');
    (processes[process] = processes[process] || []).push(growing(samples));
  }
  return {
    isMeasured: Object.keys(containers).length > 0,
    has: (process) => processes[process] !== undefined,
    processes: Object.keys(processes).filter((name) => name !== 'machine' && name !== 'generator'),
    instances: (process) => (processes[process] || []).length,
    // Cores that all containers of a process kept busy on average, between two times in milliseconds.
    cores: (process, from, to) =>
      (processes[process] || []).reduce((sum, samples) => sum + (at(samples, to) - at(samples, from)) / 1000 / (to - from), 0),
  };
}

// A container that was started again counts from zero.
function growing(samples) {
  let sum = 0;
  return samples.map(([ms, value], place) => {
    const before = place === 0 ? value : samples[place - 1][1];
    sum += value >= before ? value - before : value;
    return [ms, sum];
  });
}

// The value at a time between two samples.
function at(samples, ms) {
  let low = 0;
  let high = samples.length - 1;
  if (ms <= samples[low][0]) {
    return samples[low][1];
  }
  if (ms >= samples[high][0]) {
    return samples[high][1];
  }
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (samples[middle][0] <= ms) {
      low = middle;
    } else {
      high = middle;
    }
  }
  const [[ms0, value0], [ms1, value1]] = [samples[low], samples[high]];
  return value0 + ((value1 - value0) * (ms - ms0)) / (ms1 - ms0);
}
