// One row for each breaker: what it is, what it does, how near it is to tripping, and what went through it.

import { STATES, capital, duration, inWords, make, number, plural, put } from "./format.js";
import { Plot } from "./plot.js";

const PIPS = 12;

function glyph() {
  const box = make("span", "switch", { ariaHidden: "true" });
  box.append(make("i", "lead"), make("i", "lever"), make("i", "lead"));
  return box;
}

export class Row {
  constructor(breaker, choose) {
    this.name = breaker.name;
    this.button = make("button", "name", { type: "button", onclick: () => choose(breaker.name) }, breaker.name);
    this.between = make("span", "between", {}, `to ${breaker.to}`);
    this.state = make("strong", "state");
    this.since = make("span", "since");
    this.why = make("span", "why");
    this.wait = make("span", "wait", { hidden: true });
    this.fuse = make("span", "fuse");
    this.fuseText = make("span", "fuse-text");
    this.scale = make("span", "scale", { ariaHidden: "true" });
    this.plot = new Plot();
    this.numbers = ["minute", "failed", "rejections"].map((what) => make("span", `number ${what}`));
    this.cost = make("span", "cost", { ariaHidden: "true" });
    this.element = make("article", `row ${breaker.edge ? "edge" : "below"}`, { ariaLabel: breaker.name },
      make("div", "who", {}, glyph(), make("div", "", {}, this.button, this.between)),
      make("div", "what", {}, make("div", "", {}, this.state, this.since), this.why),
      make("div", "near", {}, this.fuse, this.fuseText, this.wait),
      make("div", "past", {}, this.scale, this.plot.svg),
      ...this.numbers,
      this.cost,
    );
    this.element.dataset.name = breaker.name;
  }

  draw(model, breaker) {
    const now = model.now();
    const state = model.state(breaker);
    this.element.dataset.state = state;
    put(this.state, STATES[state]);
    put(this.since, ` ${since(breaker, state, now)}`);
    put(this.why, why(model, breaker, state));
    this.#countDown(breaker, state, now);
    this.#drawFuse(breaker);
    const most = this.plot.draw(model, breaker);
    put(this.scale, breaker.calls_by_time.length ? `${rate(most / 5)}/s` : "");
    this.#count(model, breaker, now);
  }

  #countDown(breaker, state, now) {
    const counts = state === "OPEN" && breaker.probe_at !== null;
    this.wait.hidden = !counts;
    this.fuseText.hidden = counts;
    if (!counts) return;
    const left = Math.max(0, breaker.probe_at - now);
    const whole = Math.max(breaker.probe_at - breaker.since, 1);
    this.wait.style.setProperty("--left", Math.min(1, left / whole).toFixed(4));
    put(this.wait, left < 0.5 ? "probe is due" : `probe in ${duration(Math.ceil(left))}`);
  }

  #drawFuse(breaker) {
    const policy = breaker.policy ?? {};
    const consecutive = !policy.trip;
    const most = policy.max_failures;
    const shown = consecutive && most <= PIPS ? most : 0;
    while (this.fuse.children.length > shown) this.fuse.lastChild.remove();
    while (this.fuse.children.length < shown) this.fuse.append(make("i"));
    [...this.fuse.children].forEach((pip, place) => pip.classList.toggle("lit", place < breaker.failure_count));
    if (breaker.failure_count === undefined) put(this.fuseText, "");
    else if (consecutive) put(this.fuseText, `${breaker.failure_count} of ${most} in a row`);
    else put(this.fuseText, `${breaker.failure_count} · ${policy.trip.kind}`);
  }

  #count(model, breaker, now) {
    const [, failed, , , rejected] = model.counts(breaker, now - 900);
    [model.perMinute(breaker), failed, rejected].forEach((count, place) => {
      put(this.numbers[place], number(count));
      this.numbers[place].classList.toggle("none", count === 0);
    });
    put(this.cost, failed + rejected ? `${number(failed)} failed, ${number(rejected)} rejected in 15 min` : "");
  }
}

/** An outage lasts from when the breaker first left CLOSED, however often it has probed since. */
export function since(breaker, state, now) {
  if (state === "UNKNOWN") return "";
  const whole = duration(now - (breaker.outage_since ?? breaker.since));
  return state === "HALF_OPEN" ? `· out for ${whole}` : `for ${whole}`;
}

function rate(value) {
  return value >= 10 ? number(Math.round(value)) : String(Math.round(value * 10) / 10);
}

export function why(model, breaker, state) {
  if (state === "UNKNOWN") {
    return model.answers.has(breaker.owner) ? `${breaker.owner} doesn’t answer` : "asking…";
  }
  if (state === "CLOSED") return "";
  if (state === "HALF_OPEN") return "the next call is the probe";
  const last = breaker.last_failure && state === "OPEN" ? `: ${breaker.last_failure}` : "";
  return capital(`${breaker.reason ?? ""}${last}`);
}

/** The page's first sentence, and what stands below it. */
export function summary(model) {
  const all = model.all();
  const of = (...states) => all.filter((one) => states.includes(model.state(one)));
  const [open, probing, unknown] = [of("OPEN", "FORCED_OPEN"), of("HALF_OPEN"), of("UNKNOWN")];
  const held = of("DISABLED", "OBSERVING");
  if (!model.answers.size) return ["Asking every process…", "\u00a0", "unknown"];
  const said = sentence(all, open, probing, unknown, held);
  return [said, open.length ? cost(model, open) : traffic(model, all), kind(open, probing, unknown, held)];
}

function kind(open, probing, unknown, held) {
  if (open.length) return "open";
  return probing.length || unknown.length || held.length ? "watch" : "well";
}

function sentence(all, open, probing, unknown, held) {
  const some = (list, one, many) =>
    list.length === 1 ? `${list[0].name} ${one}.` : `${capital(inWords(list.length))} of ${inWords(all.length)} breakers ${many}.`;
  if (open.length) return some(open, "is open", "are open");
  if (probing.length) return some(probing, "is half-open", "are half-open");
  if (unknown.length) return some(unknown, "can’t be seen", "can’t be seen");
  if (held.length) return some(held, "is held by an operator", "are held by operators");
  return `All ${inWords(all.length)} breakers are closed.`;
}

function cost(model, open) {
  const now = model.now();
  const first = Math.min(...open.map((one) => one.outage_since ?? one.since));
  const rejected = open.reduce((sum, one) => sum + model.counts(one, one.outage_since ?? one.since)[4], 0);
  const next = Math.min(...open.map((one) => one.probe_at ?? Infinity));
  const parts = [
    `Out for ${duration(now - first)}`,
    `${plural(rejected, "call")} rejected in that time`,
  ];
  if (next < Infinity) parts.push(next - now < 1 ? "next probe now" : `next probe in ${duration(Math.ceil(next - now))}`);
  return parts.join(" · ");
}

function traffic(model, all) {
  const since = model.now() - 900;
  const edges = all.filter((one) => one.edge);
  const calls = edges.reduce((sum, one) => sum + model.perMinute(one), 0);
  const failed = all.reduce((sum, one) => sum + model.counts(one, since)[1], 0);
  const rejected = all.reduce((sum, one) => sum + model.counts(one, since)[4], 0);
  const past = failed + rejected
    ? `${plural(failed, "failure")} and ${plural(rejected, "rejection")} in 15 minutes`
    : "no failure and no rejection in 15 minutes";
  return `${plural(calls, "request")} in the last minute · ${past}`;
}
