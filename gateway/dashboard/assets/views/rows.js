// One row for each breaker: its name, state, distance from tripping, and calls.

import { STATES, capital, duration, make, number, put } from "../model/format.js";
import { recovery } from "../model/recovery.js";
import { BUCKET } from "../model/span.js";
import { Instances } from "./instances.js";
import { Plot } from "./plot.js";
import { fuse } from "../model/policy.js";

// The label of each number for screen readers, which do not read the column heads.
const NUMBERS = { minute: "calls in the last minute", failed: "failed in 15 minutes", rejections: "rejected in 15 minutes" };

// The states in which failures lead to an opening, or have just led to it.
const METERED = new Set(["CLOSED", "OPEN", "OBSERVING"]);

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
    this.fuse = make("span", "fuse", { ariaHidden: "true" });
    this.fuseText = make("span", "fuse-text");
    this.scale = make("span", "scale", { ariaHidden: "true" });
    this.plot = new Plot();
    this.numbers = Object.keys(NUMBERS).map(() => make("span", "count"));
    this.instances = new Instances();
    this.cost = make("span", "cost", { ariaHidden: "true" });
    this.element = make("article", `row ${breaker.edge ? "edge" : "below"}`, { ariaLabel: breaker.name },
      make("div", "who", {}, glyph(), make("div", "", {}, this.button, this.between)),
      make("div", "what", {}, make("div", "", {}, this.state, " ", this.since), this.why),
      make("div", "near", {}, this.fuse, this.fuseText, this.wait),
      make("div", "past", {}, this.scale, this.plot.svg),
      ...Object.entries(NUMBERS).map(([what, label], place) =>
        make("span", `number ${what}`, {}, this.numbers[place], make("span", "unseen", {}, ` ${label}`))),
      this.cost,
      this.instances.list,
    );
    this.element.dataset.name = breaker.name;
  }

  draw(model, breaker) {
    const state = model.state(breaker);
    this.element.dataset.state = state;
    put(this.state, STATES[state]);
    put(this.since, since(model, breaker));
    put(this.why, why(model, breaker, state));
    this.#countDown(recovery(model, breaker, state));
    this.#drawFuse(breaker, state);
    const most = this.plot.draw(model, breaker);
    put(this.scale, breaker.calls_by_time.length ? `${rate(most / BUCKET)}/s` : "");
    this.#count(model, breaker);
    this.instances.draw(model, breaker);
  }

  #countDown({ short, left }) {
    this.wait.hidden = !short;
    this.fuseText.hidden = Boolean(short);
    this.wait.classList.toggle("counting", left !== null);
    if (left !== null) this.wait.style.setProperty("--left", left.toFixed(4));
    put(this.wait, short);
  }

  #drawFuse(breaker, state) {
    const { pips, text } = METERED.has(state) ? fuse(breaker) : { pips: 0, text: "" };
    while (this.fuse.children.length > pips) this.fuse.lastChild.remove();
    while (this.fuse.children.length < pips) this.fuse.append(make("i"));
    [...this.fuse.children].forEach((pip, place) => pip.classList.toggle("lit", place < breaker.failure_count));
    put(this.fuseText, text);
  }

  #count(model, breaker) {
    const [, failed, , , rejected] = model.counts(breaker);
    [model.perMinute(breaker), failed, rejected].forEach((count, place) => {
      put(this.numbers[place], number(count));
      this.numbers[place].classList.toggle("none", count === 0);
    });
    put(this.cost, failed + rejected ? `${number(failed)} failed, ${number(rejected)} rejected in 15 min` : "");
  }
}

export function since(model, breaker) {
  const state = model.state(breaker);
  if (state === "UNKNOWN") return "";
  return `for ${duration(model.now() - model.since(breaker))}`;
}

function rate(value) {
  return value >= 10 ? number(Math.round(value)) : String(Math.round(value * 10) / 10);
}

/** The breaker closes by the result of a call; until one comes, it waits. */
function probing({ in_flight: running, policy }) {
  const needed = policy?.successes_to_close > 1 ? `; ${number(policy.successes_to_close)} successes close it` : "";
  return running ? `Probing: a call is on its way${needed}` : `The next call is ${needed ? "a" : "the"} probe${needed}`;
}

export function why(model, breaker, state) {
  if (state === "UNKNOWN") return model.owner(breaker).answers === null ? "asking…" : `${breaker.owner} doesn’t answer`;
  if (state === "CLOSED") return "";
  if (state === "HALF_OPEN") return probing(breaker);
  const last = breaker.last_failure && state === "OPEN" ? `: ${breaker.last_failure}` : "";
  return capital(`${breaker.reason ?? ""}${last}`);
}
