// The reports of all processes, and values computed from them. It uses no elements of the page.

import { Orders } from "./orders.js";
import { BUCKET, SPAN, spanOf } from "./span.js";
import { Uptime } from "./uptime.js";

const PAST = { transitions: 200, failures: 50, calls_by_time: 180 };
const REJECTING = new Set(["OPEN", "FORCED_OPEN"]);
const OUTAGE = new Set(["OPEN", "HALF_OPEN"]);
// By breaker, what it guards in words, and the process or database that this is.
const GUARDED = { "student-service-grpc": ["school-service, gRPC", "school-service"] };
const DATABASE = ["MongoDB", "MongoDB"];

export class Model {
  constructor() {
    this.breakers = new Map();
    this.processes = new Map();
    this.orders = new Orders();
    this.skew = 0;
    /** When the connection to the gateway was lost; until it is back, the page's clock stops. */
    this.lostAt = null;
  }

  now() {
    return this.lostAt ?? Date.now() / 1000 + this.skew;
  }

  /** The start of the displayed time span. It moves by whole buckets, so that bars keep their shape. */
  begin() {
    return (Math.floor(this.now() / BUCKET) + 1) * BUCKET - this.span();
  }

  /** Seconds of the displayed time span. */
  span() {
    const starts = [...this.processes.values()].flatMap((one) => one.starts.slice(0, 1));
    return spanOf(starts.length ? Math.min(...starts) : null, this.now());
  }

  hello(cast) {
    for (const service of cast.services) {
      this.#cast(service.breaker, cast.gateway, "gateway", [service.process, service.process], true);
      for (const name of service.dependencies) {
        this.#cast(name, service.process, service.process, GUARDED[name] ?? DATABASE, false);
      }
    }
  }

  #cast(name, owner, from, [to, target], edge) {
    const empty = { name, state: "UNKNOWN", transitions: [], failures: [], calls_by_time: [], calls: {}, others: [] };
    this.breakers.set(name, { ...empty, ...this.breakers.get(name), owner, from, to, target, edge });
    if (!this.processes.has(owner)) this.processes.set(owner, new Uptime());
  }

  tick(message) {
    this.skew = message.now - Date.now() / 1000;
  }

  report(message) {
    this.processes.get(message.process)?.take(message, this.now(), this.now() - SPAN);
    if (message.orders) this.orders.take(message.process, message.orders);
    if (message.instances) this.#note(message.process, message.instances);
    // Events before the report's start may be known from earlier reports.
    const since = Math.max(message.since, message.starts[0] ?? 0);
    for (const news of message.breakers) {
      const known = this.breakers.get(news.name);
      if (known !== undefined) this.breakers.set(news.name, { ...known, ...news, ...joined(known, news, since) });
    }
  }

  /** Other instances are shown beside a breaker, and never counted with it. */
  #note(process, instances) {
    for (const breaker of this.all().filter((one) => one.owner === process)) {
      const others = instances
        .filter((one) => one.breakers?.[breaker.name])
        .map(({ address, workers, breakers }) => ({ address, workers, ...breakers[breaker.name] }));
      this.breakers.set(breaker.name, { ...breaker, others });
    }
  }

  all() {
    return [...this.breakers.values()];
  }

  /** Whether the page has received a report of any process, or that it is silent. */
  get hasReports() {
    return [...this.processes.values()].some((one) => one.answers !== null);
  }

  owner(breaker) {
    return this.processes.get(breaker.owner);
  }

  /** The state of a breaker, or UNKNOWN. */
  state(breaker) {
    return this.owner(breaker).answers === false ? "UNKNOWN" : breaker.state;
  }

  rejects(breaker) {
    return REJECTING.has(this.state(breaker));
  }

  /** When the state began. An open breaker's began when it left CLOSED, whatever its probes did. */
  since(breaker) {
    return breaker.state === "HALF_OPEN" ? breaker.since : this.outage(breaker);
  }

  /** When the outage began; without one, when the state began. */
  outage(breaker) {
    return (OUTAGE.has(breaker.state) && breaker.outage_since) || breaker.since;
  }

  /** [succeeded, failed, ignored, cancelled, rejected] from `since` on. */
  counts(breaker, since = this.now() - SPAN) {
    const sums = [0, 0, 0, 0, 0];
    for (const bucket of breaker.calls_by_time) {
      if (bucket[0] + BUCKET > since) for (let n = 0; n < 5; n++) sums[n] += bucket[n + 1];
    }
    return sums;
  }

  /** Calls in the minute before the last report; a bucket that began earlier counts proportionally. */
  perMinute(breaker) {
    const since = Math.min(this.owner(breaker).lastReport, this.now()) - 60;
    const sum = breaker.calls_by_time.reduce((total, [start, ...counts]) => {
      const part = Math.min(Math.max((start + BUCKET - since) / BUCKET, 0), 1);
      return total + part * counts.reduce((a, b) => a + b);
    }, 0);
    return Math.round(sum);
  }

  /** [from, until, state] for the displayed time span, oldest first, without times of unknown state. */
  periods(breaker) {
    const now = this.now();
    const { starts } = this.owner(breaker);
    const gaps = this.owner(breaker).gaps(now);
    const known = this.#knownStays(breaker, starts, now);
    return gaps
      .reduce(without, known)
      .concat(gaps.map(([from, until]) => [from, until, "UNKNOWN"]))
      .filter(([from, until, state]) => until > now - SPAN && until > from && state)
      .sort((a, b) => a[0] - b[0]);
  }

  #knownStays(breaker, starts, now) {
    if (!starts.length) return [];
    // Each start is a transition too: a new breaker is closed.
    const changes = [
      ...breaker.transitions.filter((one) => !one.observed),
      ...starts.slice(1).map((time) => ({ time, new: "CLOSED" })),
    ].sort((a, b) => a.time - b.time);
    const periods = [];
    let from = Math.min(starts[0], changes[0]?.time ?? Infinity);
    let state = changes[0] ? changes[0].old ?? "CLOSED" : breaker.state;
    for (const change of changes) {
      periods.push([from, change.time, state]);
      [from, state] = [change.time, change.new];
    }
    if (state !== breaker.state && breaker.since > from) {
      periods.push([from, breaker.since, state]);
      from = breaker.since;
    }
    periods.push([from, now, breaker.state]);
    return periods;
  }

  /** Every transition of every breaker, every operator's order, and every restart of a process, newest first. */
  events(most) {
    const starts = [...this.processes].flatMap(([process, { starts }]) =>
      starts.slice(1).map((time) => ({ process, time })));
    return this.orders.joinedTo(this.all().flatMap((breaker) => breaker.transitions))
      .concat(starts)
      .sort((a, b) => b.time - a.time)
      .slice(0, most);
  }
}

function without(periods, [begin, end]) {
  return periods
    .flatMap(([from, until, state]) => [[from, Math.min(until, begin), state], [Math.max(from, end), until, state]])
    .filter(([from, until]) => until > from);
}

function joined(known, news, since) {
  const parts = {};
  for (const [part, limit] of Object.entries(PAST)) {
    const isOld =
      part === "calls_by_time" ? (one) => one[0] <= since - BUCKET : (one) => one.time < since;
    parts[part] = [...known[part].filter(isOld), ...news[part]].slice(-limit);
  }
  return parts;
}
