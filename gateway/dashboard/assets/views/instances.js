// The same breaker in other instances: a line below its row, one entry for each instance.

import { STATES, duration, make, plural, put } from "../model/format.js";

export class Instances {
  constructor() {
    this.list = make("ul", "instances", { ariaLabel: "Other instances" });
    this.list.hidden = true;
  }

  draw(model, breaker) {
    const others = model.state(breaker) === "UNKNOWN" ? [] : breaker.others;
    this.list.hidden = !others.length;
    while (this.list.children.length > others.length) this.list.lastChild.remove();
    while (this.list.children.length < others.length) {
      this.list.append(make("li", "", {}, make("i", "", { ariaHidden: "true" }), make("b"), " ", make("span")));
    }
    others.forEach((one, place) => {
      const item = this.list.children[place];
      item.dataset.state = one.state;
      item.title = title(one);
      put(item.querySelector("b"), one.address);
      put(item.querySelector("span"), words(one, model.now()));
    });
  }
}

function words(one, now) {
  const state = STATES[one.state].toLowerCase();
  const failing = one.state === "CLOSED" && one.failure_count ? `, ${plural(one.failure_count, "failure")}` : "";
  return one.state === "CLOSED" ? `${state}${failing}` : `${state} for ${duration(now - one.since)}`;
}

function title(one) {
  const workers = one.workers > 1 ? `The worst of ${one.workers} workers. ` : "";
  return `${workers}${one.reason ?? ""}`;
}
