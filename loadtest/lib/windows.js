// Figures over time. k6 sums up a whole run; its stream of single measurements (--out json or csv) is some kilobytes a
// request, and wants a program that makes percentiles of it, which not every machine has. But k6 keeps a sum of its own for
// every set of tags that a threshold names. So each request carries the number of the window of time in which it began,
// there is a threshold for each window that is always met, and at the end k6 has exact percentiles of each window, in any
// k6, for about a tenth of the CPU time that the request itself costs the generator.

import exec from 'k6/execution';
import { Gauge } from 'k6/metrics';

export const TIERS = ['edge', 'inventory', 'user'];

const WINDOWS_MAX = 60;
// What begins after the planned end: an order's last look, a photo's progress.
const LATE_WINDOWS = 3;
const LATE_SHARE_MIN = 0.2;
// Thresholds that only make k6 keep a sum.
export const ALWAYS_MET = {
  http_req_duration: ['max>=0'],
  http_reqs: ['count>=0'],
  begun: ['count>=0'],
  unanswered: ['count>=0'],
  failed: ['rate>=0'],
  shed: ['rate>=0'],
};

const beganAt = new Gauge('load_began');

let plan = planOf(1, []);
let began = 0;

// A run of so many seconds. `stages` are parts of it that are judged by themselves: [{ name, from, to }], in seconds.
export function planWindows(seconds, stages) {
  plan = planOf(seconds, stages);
}

function planOf(seconds, stages) {
  const width = Math.max(1, Math.ceil(seconds / WINDOWS_MAX));
  return { seconds, stages, width, count: Math.ceil(seconds / width) + LATE_WINDOWS };
}

// The tags of a request or an iteration that begins now.
export function momentTags() {
  if (began === 0) {
    try {
      began = exec.scenario.startTime;
    } catch (error) {
      // What `setup` does is no load.
      return {};
    }
    beganAt.add(began);
  }
  const second = (Date.now() - began) / 1000;
  const tags = { load: 'yes', t: String(Math.min(Math.floor(second / plan.width), plan.count - 1)) };
  for (const { name, from, to } of plan.stages) {
    if (second >= from && second < to) {
      tags.stage = name;
    }
  }
  return tags;
}

// The thresholds that make k6 keep what `overTime` and `byStage` read.
export function windowThresholds() {
  const thresholds = {};
  const keep = (metric, tags) => {
    thresholds[`${metric}{${tags}}`] = ALWAYS_MET[metric];
  };
  for (let number = 0; number < plan.count; number += 1) {
    keep('http_req_duration', `t:${number}`);
    for (const tier of TIERS) {
      keep('http_req_duration', `t:${number},tier:${tier}`);
    }
    keep('unanswered', `t:${number},why:failed`);
    keep('unanswered', `t:${number},why:shed`);
  }
  for (const { name } of plan.stages) {
    for (const metric of ['http_req_duration', 'failed', 'shed', 'begun']) {
      keep(metric, `stage:${name}`);
    }
    keep('unanswered', `stage:${name},why:failed`);
    keep('unanswered', `stage:${name},why:shed`);
  }
  return thresholds;
}

// Each window: when it began, how long it is, its requests, failures and percentiles, all of them and by tier. `lasted` is how
// long the load went on, in seconds: a run may be aborted.
export function overTime(metrics, lasted) {
  const windows = [];
  for (let number = 0; number < plan.count; number += 1) {
    const at = number * plan.width;
    const tiers = TIERS.map((tier) => [tier, durations(metrics, `t:${number},tier:${tier}`)]);
    windows.push({ at, seconds: plan.width, ...figures(metrics, `t:${number}`), tiers: Object.fromEntries(tiers) });
  }
  // After the planned end there are only stragglers, which make no second of load.
  const usual = windows.reduce((sum, { requests }) => sum + requests, 0) / windows.length;
  return windows.filter(({ at, requests }) => at < Math.min(plan.seconds, lasted) || requests > usual * LATE_SHARE_MIN);
}

// How many seconds of load there were.
export function loadSeconds(lasted) {
  return Math.min(plan.seconds, lasted);
}

// The same of each stage.
export function byStage(metrics) {
  return plan.stages.map((stage) => ({
    ...stage,
    ...figures(metrics, `stage:${stage.name}`),
    iterations: count(metrics, 'begun', `stage:${stage.name}`),
  }));
}

// When the load began, in milliseconds since 1970.
export function loadBegan(metrics) {
  return metrics.load_began ? metrics.load_began.values.min : null;
}

function figures(metrics, tags) {
  const unanswered = (why) => count(metrics, 'unanswered', `${tags},why:${why}`);
  return { ...durations(metrics, tags), failed: unanswered('failed'), shed: unanswered('shed') };
}

function durations(metrics, tags) {
  const metric = metrics[`http_req_duration{${tags}}`];
  return percentiles(metric);
}

// How many requests a metric of durations has seen, and their percentiles.
export function percentiles(metric) {
  const values = metric ? metric.values : {};
  if (!values.count) {
    return { requests: 0, p50: null, p95: null, p99: null, max: null };
  }
  return { requests: values.count, p50: values.med, p95: values['p(95)'], p99: values['p(99)'], max: values.max };
}

function count(metrics, name, tags) {
  const metric = metrics[`${name}{${tags}}`];
  return metric ? metric.values.count : 0;
}
