// The list of events: transitions of breakers, operators' orders, and restarts of processes.

import { STATES, make, moment } from "../model/format.js";
import { account, became } from "../model/orders.js";

// Failing probes add a few lines a minute; the list must still include the outage's start.
const MOST = 300;

export class Events {
  /** names: who ordered what, as far as this page may know. */
  constructor(list, nothing, names) {
    Object.assign(this, { list, nothing, names });
    this.drawn = "";
  }

  draw(model) {
    const lines = model.events(MOST).map((one) => this.#line(one, model.now()));
    this.nothing.hidden = lines.length > 0;
    const key = JSON.stringify(lines);
    if (key === this.drawn) return;
    this.drawn = key;
    this.list.replaceChildren(...lines.map(element));
  }

  #line(one, now) {
    const line = { time: one.time, when: moment(one.time, now) };
    if (one.old === undefined && one.order) {
      return { ...line, kind: "order", which: one.order.breaker || one.order.process, became: became(one.order), reason: this.#account(one.order, now) };
    }
    if (one.process) {
      return { ...line, kind: "start", which: one.process, became: "started again", reason: "its breakers began closed" };
    }
    const state = STATES[one.new].toLowerCase();
    return {
      ...line, kind: one.observed ? "observed" : "", which: one.breaker, state: one.new,
      became: one.observed ? `would be ${state}` : state,
      reason: one.order ? this.#account(one.order, now) : one.reason,
    };
  }

  #account(order, now) {
    return account(order, this.names.of(order), order.until ? moment(order.until, now) : "");
  }
}

function element({ time, when, kind, which, state = "", became, reason }) {
  return make("li", kind, {},
    make("time", "", { dateTime: new Date(time * 1000).toISOString() }, when), make("span", "which", {}, which),
    make("span", `became ${state}`.trim(), {}, became), make("span", "reason", {}, reason));
}
