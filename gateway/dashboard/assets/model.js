// Everything the page knows, and what follows from it. No element is touched here.

export const BUCKET = 5;
export const SPAN = 900;
const PAST = { transitions: 200, failures: 50, calls_by_time: 180 };
const REJECTING = new Set(["OPEN", "FORCED_OPEN"]);
const GUARDED = { "student-service-grpc": "school-service, gRPC" };

export class Model {
  constructor() {
    this.breakers = new Map();
    this.answers = new Map();
    this.silentSince = new Map();
    this.skew = 0;
  }

  now() {
    return Date.now() / 1000 + this.skew;
  }

  hello(cast) {
    for (const service of cast.services) {
      this.#cast(service.breaker, cast.gateway, "gateway", service.process, true);
      for (const name of service.dependencies) {
        this.#cast(name, service.process, service.process, GUARDED[name] ?? "MongoDB", false);
      }
    }
  }

  #cast(name, owner, from, to, edge) {
    const empty = { name, state: "UNKNOWN", transitions: [], failures: [], calls_by_time: [], calls: {} };
    this.breakers.set(name, { ...empty, ...this.breakers.get(name), owner, from, to, edge });
  }

  tick(message) {
    this.skew = message.now - Date.now() / 1000;
  }

  report(message) {
    this.answers.set(message.process, message.answers);
    if (message.answers) this.silentSince.delete(message.process);
    else if (!this.silentSince.has(message.process)) this.silentSince.set(message.process, this.now());
    for (const news of message.breakers) {
      const known = this.breakers.get(news.name);
      if (known === undefined) continue;
      // A process that was started again doesn't know what was before; we may.
      const since = Math.max(message.since, message.started);
      this.breakers.set(news.name, { ...known, ...news, ...joined(known, news, since), started: message.started });
    }
  }

  all() {
    return [...this.breakers.values()];
  }

  isSilent(breaker) {
    return this.answers.get(breaker.owner) === false;
  }

  /** Its state, as far as it is known now. */
  state(breaker) {
    return this.isSilent(breaker) ? "UNKNOWN" : breaker.state;
  }

  rejects(breaker) {
    return REJECTING.has(this.state(breaker));
  }

  /** [succeeded, failed, ignored, cancelled, rejected] from `since` on. */
  counts(breaker, since) {
    const sums = [0, 0, 0, 0, 0];
    for (const bucket of breaker.calls_by_time) {
      if (bucket[0] + BUCKET > since) for (let n = 0; n < 5; n++) sums[n] += bucket[n + 1];
    }
    return sums;
  }

  perMinute(breaker) {
    return this.counts(breaker, this.now() - 60).reduce((sum, count) => sum + count, 0);
  }

  /** [from, until, state] for the span on show, oldest first; a time of which nothing is known has none. */
  stays(breaker) {
    const now = this.now();
    const end = this.silentSince.get(breaker.owner) ?? now;
    const changes = breaker.transitions.filter((one) => !one.observed);
    const stays = [];
    const first = changes[0];
    let from = Math.min(breaker.started ?? end, first?.time ?? Infinity);
    let state = first?.old ?? breaker.state;
    for (const change of changes) {
      stays.push([from, change.time, state]);
      [from, state] = [change.time, change.new];
    }
    // Started again since: it began closed, and no transition says so.
    if (state !== breaker.state && breaker.since > from) {
      stays.push([from, breaker.since, state]);
      from = breaker.since;
    }
    stays.push([from, end, breaker.state]);
    if (end < now) stays.push([end, now, "UNKNOWN"]);
    return stays.filter(([begin, until, which]) => until > now - SPAN && until > begin && which);
  }

  /** Every transition of every breaker, newest first. */
  events(most) {
    return this.all()
      .flatMap((breaker) => breaker.transitions)
      .sort((a, b) => b.time - a.time)
      .slice(0, most);
  }
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
