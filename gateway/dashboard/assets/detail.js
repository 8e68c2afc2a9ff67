// All about one breaker, and what an admin can do with it.

import { STATES, make, moment, number, put, plural } from "./format.js";
import { plainPolicy } from "./policy.js";
import { since, why } from "./rows.js";

// What each does, in words that can be weighed before it is done.
const ACTIONS = {
  trip: ["Trip", "It opens now, and probes when its reset timeout has passed."],
  force_open: ["Force open", "Every call is rejected until somebody resets it."],
  reset: ["Reset", "It closes now, and forgets the failures it has counted."],
  disable: ["Disable", "Every call is let through, and none is counted."],
  observe: ["Observe", "Every call is let through; it says what it would have done."],
};
const NUMBERS = { max_failures: "Failures to trip", reset_timeout: "Reset timeout, s" };

export class Detail {
  constructor(dialog, model, admin) {
    this.dialog = dialog;
    this.model = model;
    this.admin = admin;
    this.name = null;
    dialog.addEventListener("close", () => (this.name = null));
    dialog.addEventListener("click", (event) => {
      if (event.target === dialog) dialog.close();
    });
    admin.changed = () => this.name && this.#build();
  }

  show(name) {
    this.name = name;
    this.#build();
    this.dialog.showModal();
  }

  #build() {
    const breaker = this.model.breakers.get(this.name);
    this.state = make("p", "detail-state");
    this.facts = make("dl", "facts");
    this.failures = make("ol", "failures");
    this.changes = make("ol", "changes");
    this.policy = make("dl", "facts");
    this.acting = make("div", "acting");
    const close = make("button", "quiet close", { type: "button", ariaLabel: "Close", onclick: () => this.dialog.close() }, "✕");
    this.dialog.replaceChildren(make("div", "inside", {},
      make("header", "", {}, make("div", "", {}, make("h2", "", { id: "detail-name" }, breaker.name),
        make("p", "between", {}, `Guards ${breaker.from} → ${breaker.to}`)), close),
      this.state,
      this.acting,
      make("h3", "", {}, "Since its process started"),
      this.facts,
      make("h3", "", {}, "Last failures"),
      this.failures,
      make("h3", "", {}, "Last changes"),
      this.changes,
      make("h3", "", {}, "Policy"),
      this.policy,
    ));
    this.#offer();
    this.draw();
  }

  draw() {
    if (this.name === null) return;
    const { model } = this;
    const breaker = model.breakers.get(this.name);
    const state = model.state(breaker);
    const now = model.now();
    const reason = why(model, breaker, state);
    this.dialog.dataset.state = state;
    put(this.state, `${STATES[state]} ${since(model, breaker)}${from(model, breaker, state, now)}. ${reason}${reason ? "." : ""}`.trim());
    list(this.facts, {
      answered: breaker.calls.success, failed: breaker.calls.failure, rejected: breaker.calls.rejected,
      ignored: breaker.calls.ignored, cancelled: breaker.calls.cancelled, "running now": breaker.in_flight,
    });
    list(this.policy, plainPolicy(breaker.policy ?? {}));
    items(this.failures, breaker.failures, (one) => [
      moment(one.time, now), one.error ?? "", one.count > 1 ? `${plural(one.count, "call")}` : "",
    ], "None lately.");
    items(this.changes, breaker.transitions, (one) => [
      moment(one.time, now), `${one.observed ? "would be " : ""}${STATES[one.new].toLowerCase()}`, one.reason,
    ], "None lately.");
  }

  // Acting.

  #offer() {
    if (!this.admin.token) {
      const sign = make("button", "quiet", { type: "button", onclick: () => this.admin.ask() }, "Sign in to act");
      this.acting.replaceChildren(sign);
      return;
    }
    const buttons = Object.entries(ACTIONS).map(([action, [label, meaning]]) =>
      make("button", "quiet", { type: "button", title: meaning, onclick: () => this.#confirm(action) }, label));
    const change = make("button", "quiet", { type: "button", onclick: () => this.#change() }, "Change policy");
    const again = make("button", "quiet", { type: "button", title: "Read breakers.toml again", onclick: () => this.#reload() }, "Reload file");
    this.acting.replaceChildren(make("div", "buttons", {}, ...buttons, change, again));
  }

  #confirm(action) {
    const [label, meaning] = ACTIONS[action];
    const path = `/${this.name}/${action}`;
    this.#form(`${label} ${this.name}?`, meaning, [], label, (reason) => this.admin.order("POST", path, { reason }));
  }

  #reload() {
    const meaning = "Every process takes its policies from breakers.toml; what was changed by hand is lost.";
    this.#form("Read breakers.toml again?", meaning, [], "Reload", (reason) => this.admin.order("POST", "/reload", { reason }));
  }

  #change() {
    const policy = this.model.breakers.get(this.name).policy;
    const inputs = Object.entries(NUMBERS).map(([key, label]) =>
      make("label", "field", {}, label, make("input", "", { type: "number", name: key, step: "any", value: policy[key], required: true })));
    const meaning = "It holds from the next call on, until breakers.toml is read again. State and counts stay.";
    this.#form(`Change the policy of ${this.name}?`, meaning, inputs, "Change", (reason, form) => {
      const values = Object.fromEntries(Object.keys(NUMBERS).map((key) => [key, Number(form.elements[key].value)]));
      return this.admin.order("PUT", `/${this.name}/policy`, { ...values, reason });
    });
  }

  #form(question, meaning, inputs, label, act) {
    const why = make("input", "", { type: "text", id: "reason", maxLength: 200, required: true, placeholder: "Why? It is written to the log." });
    const problem = make("p", "problem", { role: "alert" });
    const form = make("form", "confirm", {},
      make("p", "question", {}, question), make("p", "", {}, meaning), ...inputs,
      make("label", "field", { htmlFor: "reason" }, "Reason"), why, problem,
      make("div", "buttons", {}, make("button", "main", { type: "submit" }, label),
        make("button", "quiet", { type: "button", onclick: () => this.#offer() }, "Cancel")));
    form.onsubmit = async (event) => {
      event.preventDefault();
      try {
        await act(why.value.trim(), form);
        this.#offer();
      } catch (error) {
        problem.textContent = error.message;
      }
    };
    this.acting.replaceChildren(form);
    (inputs[0]?.querySelector("input") ?? why).focus();
  }
}

function from(model, breaker, state, now) {
  return state === "UNKNOWN" ? "" : `, since ${moment(model.since(breaker), now)}`;
}

function list(element, values) {
  const wanted = Object.entries(values).map(([what, value]) => [what, value === undefined ? "–" : typeof value === "number" ? number(value) : value]);
  const key = JSON.stringify(wanted);
  if (element.dataset.key === key) return;
  element.dataset.key = key;
  element.replaceChildren(...wanted.map(([what, value]) => make("div", "", {}, make("dt", "", {}, what), make("dd", "", {}, value))));
}

function items(element, all, parts, nothing) {
  const wanted = all.slice(-8).reverse().map(parts);
  const key = JSON.stringify(wanted);
  if (element.dataset.key === key) return;
  element.dataset.key = key;
  const lines = wanted.map(([when, ...rest]) => make("li", "", {}, make("time", "", {}, when), ...rest.map((text) => make("span", "", {}, text))));
  element.replaceChildren(...(lines.length ? lines : [make("li", "nothing", {}, nothing)]));
}
