// What an admin can do with a breaker.

import { Confirm } from "./confirm.js";
import { make } from "./format.js";

// What each does, in words that can be weighed before it is done.
const ACTIONS = {
  trip: ["Trip", "It opens now, and probes when its reset timeout has passed."],
  force_open: ["Force open", "Every call is rejected until somebody resets it."],
  reset: ["Reset", "It closes now, and forgets the failures it has counted."],
  disable: ["Disable", "Every call is let through, and none is counted."],
  observe: ["Observe", "Every call is let through; it says what it would have done."],
};
const NUMBERS = { max_failures: "Failures to trip", reset_timeout: "Reset timeout, s" };
const CHANGE = "Change policy";
const RELOAD = "Reload file";

export class Acting {
  constructor(name, model, admin) {
    this.name = name;
    this.model = model;
    this.admin = admin;
    this.element = make("div", "acting");
    this.#offer();
  }

  /** Somebody has signed in or out; a form that is open stays, with all that was typed. */
  renew() {
    if (this.confirm === null) this.#offer("");
    else if (this.admin.token) this.confirm.signedIn();
  }

  /** Whether there is anything to go back from. */
  back() {
    const asks = this.confirm !== null;
    if (asks) this.confirm.giveUp();
    return asks;
  }

  draw() {
    if (this.change) this.change.hidden = !this.#policy;
  }

  get #policy() {
    return this.model.breakers.get(this.name).policy;
  }

  /** from: the label of the button to focus, the first where there is none; undefined leaves the focus alone. */
  #offer(from) {
    this.confirm = null;
    const button = (label, title, onclick) => make("button", "quiet", { type: "button", title, onclick }, label);
    this.change = button(CHANGE, "", () => this.#askForPolicy());
    const buttons = this.admin.token
      ? [
        ...Object.entries(ACTIONS).map(([action, [label, meaning]]) => button(label, meaning, () => this.#askFor(action))),
        this.change,
        button(RELOAD, "Read breakers.toml again", () => this.#askForReload()),
      ]
      : [button("Sign in to act", "", () => this.admin.ask())];
    this.element.replaceChildren(make("div", "buttons", {}, ...buttons));
    this.draw();
    if (from !== undefined) (buttons.find((one) => one.textContent === from) ?? buttons[0]).focus();
  }

  #askFor(action) {
    const [label, meaning] = ACTIONS[action];
    const path = `/${this.name}/${action}`;
    this.#ask(label, {
      question: `${label} ${this.name}?`, meaning, label,
      act: async (reason) => tellBehind(await this.admin.order("POST", path, { reason })),
    });
  }

  #askForReload() {
    this.#ask(RELOAD, {
      question: "Read breakers.toml again?", label: "Reload",
      meaning: "Every process takes its policies from breakers.toml; what was changed by hand is lost.",
      act: async (reason) => tellFailed(await this.admin.order("POST", "/reload", { reason })),
    });
  }

  #askForPolicy() {
    const policy = this.#policy;
    // A strategy of its own doesn't go by max_failures.
    const keys = Object.keys(NUMBERS).filter((key) => key !== "max_failures" || !policy.trip);
    const inputs = keys.map((key) => make("label", "field", {}, NUMBERS[key],
      make("input", "", { type: "number", name: key, step: "any", defaultValue: policy[key], required: true })));
    this.#ask(CHANGE, {
      question: `Change the policy of ${this.name}?`, inputs, label: "Change",
      meaning: "It holds from the next call on, until breakers.toml is read again. State and counts stay.",
      act: async (reason, form) =>
        tellBehind(await this.admin.order("PUT", `/${this.name}/policy`, { ...changed(form, keys), reason })),
    });
  }

  #ask(from, words) {
    this.confirm = new Confirm({ ...words, done: () => this.#offer(from), signIn: () => this.admin.ask() });
    this.element.replaceChildren(this.confirm.element);
    this.confirm.focus();
  }
}

/** Only what was changed here: what somebody else has changed meanwhile stays. */
function changed(form, keys) {
  const inputs = keys.map((key) => form.elements[key]).filter((input) => input.value !== input.defaultValue);
  if (!inputs.length) throw new Error("Nothing is different from what it was.");
  return Object.fromEntries(inputs.map((input) => [input.name, Number(input.value)]));
}

/** Of several workers one may hang. */
function tellBehind({ workers_behind: behind }) {
  if (behind) throw new Error(`Done, but not yet by worker ${behind.join(", ")}: it follows when it runs again.`);
}

/** A reload may fail in some processes only. */
function tellFailed(told) {
  const failed = Object.entries(told).filter(([, one]) => one?.error);
  if (!failed.length) return;
  const names = failed.map(([process]) => process).join(" and ");
  const reasons = [...new Set(failed.map(([, one]) => one.error))].join("; ");
  throw new Error(`All have read it but ${names}: ${reasons}.`.replaceAll("'", "’"));
}
