// What operators have ordered, and which transitions their orders caused. Who ordered it is for admins alone.

import { STATES } from "./format.js";
import { changesInWords } from "./policy.js";

const MOST = 200;
// Seconds between an order and its transition, by the clocks of two hosts.
const BEFORE = 2;
const AFTER = 10;
// The state that an action leads to, the begin of the transition's reason, and the word for what was done.
const ACTIONS = {
  trip: ["OPEN", "tripped by operator", "tripped"],
  reset: ["CLOSED", "reset by operator", "reset"],
  force_open: ["FORCED_OPEN", "forced by operator", "forced"],
  disable: ["DISABLED", "disabled by operator", "disabled"],
  observe: ["OBSERVING", "observed by operator", "observed"],
};

export class Orders {
  constructor() {
    this.byId = new Map();
  }

  /** Take all orders that a process knows. Those that it has forgotten stay, but are not in force. */
  take(process, orders) {
    for (const one of this.byId.values()) if (one.process === process) one.in_force = false;
    for (const one of orders) this.byId.set(one.id, { ...one, process });
    const kept = this.all().slice(-MOST);
    this.byId = new Map(kept.map((one) => [one.id, one]));
  }

  /** Oldest first. */
  all() {
    return [...this.byId.values()].sort((a, b) => a.time - b.time);
  }

  /** The order that holds a breaker in its state, or undefined. */
  hold(breaker) {
    return this.all().findLast((one) => one.in_force && one.breaker === breaker.name && ACTIONS[one.action]?.[0] === breaker.state);
  }

  /** The transitions, each with the `order` that caused it, and the orders that caused none. */
  joinedTo(transitions) {
    const caused = new Map();
    for (const order of this.all()) {
      const found = transitions.find((one) => !caused.has(one) && causes(order, one));
      if (found) caused.set(found, order);
    }
    const used = new Set(caused.values());
    return transitions
      .map((one) => (caused.has(one) ? { ...one, order: caused.get(one) } : one))
      .concat(this.all().filter((one) => !used.has(one)).map((order) => ({ time: order.time, order })));
  }
}

function causes(order, transition) {
  const [state, reason] = ACTIONS[order.action] ?? [];
  const after = transition.time - order.time;
  return transition.breaker === order.breaker && transition.new === state && !transition.observed
    && transition.reason.startsWith(reason) && after >= -BEFORE && after <= AFTER;
}

/** What became of it: the state of the breaker, or what was changed. */
export function became(order) {
  if (order.action === "configure") return "policy changed";
  return order.action === "reload" ? "file read again" : STATES[ACTIONS[order.action]?.[0]]?.toLowerCase() ?? order.action;
}

/** What was done, by whom, why and until when. who: a name or "an operator"; until: a time in words, or "". */
export function account(order, who, until) {
  const why = order.reason ? `: ${order.reason}` : "";
  const end = until ? `, until ${until}` : "";
  switch (order.action) {
    case "configure": return `${changesInWords(order.changes ?? {})}, by ${who}${why}${end}`;
    case "reload": return `breakers.toml read again ${order.by_signal ? "at a signal" : `by ${who}`}${why}; changed: ${order.breakers.join(", ")}`;
    default: return `${ACTIONS[order.action]?.[2] ?? order.action} by ${who}${why}${end}`;
  }
}
