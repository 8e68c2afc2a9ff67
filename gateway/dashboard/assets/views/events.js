// The list of events: every transition of every breaker, and every restart of a process.

import { STATES, make, moment } from "../model/format.js";

// Failing probes add a few lines a minute; the list must still include the outage's start.
const MOST = 300;

export class Events {
  constructor(list, nothing) {
    this.list = list;
    this.nothing = nothing;
    this.drawn = "";
  }

  draw(model) {
    const events = model.events(MOST).map((one) => ({ ...one, when: moment(one.time, model.now()) }));
    this.nothing.hidden = events.length > 0;
    const key = events.map((one) => `${one.breaker ?? one.process}${one.time}${one.when}`).join();
    if (key === this.drawn) return;
    this.drawn = key;
    this.list.replaceChildren(...events.map(line));
  }
}

function line(one) {
  const at = make("time", "", { dateTime: new Date(one.time * 1000).toISOString() }, one.when);
  if (one.process) {
    return make("li", "start", {}, at, make("span", "which", {}, one.process), make("span", "became", {}, "started again"),
      make("span", "reason", {}, "its breakers began closed"));
  }
  return make("li", one.observed ? "observed" : "", {}, at, make("span", "which", {}, one.breaker),
    make("span", `became ${one.new}`, {}, `${one.observed ? "would be " : ""}${STATES[one.new].toLowerCase()}`),
    make("span", "reason", {}, one.reason));
}
