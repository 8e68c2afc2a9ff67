// The actions that an admin can take on a breaker.

import { Confirm } from "./confirm.js";
import { make, put, sentence } from "../model/format.js";
import { impossible } from "../model/possible.js";

// The label of each action, and its effect, which is shown before it is confirmed.
const ACTIONS = {
  reset: ["Reset", "It closes now, and forgets the failures it has counted."],
  trip: ["Trip", "It opens now, and probes when its reset timeout has passed."],
  force_open: ["Force open", "Every call is rejected until it is reset."],
  disable: ["Disable", "Every call is let through, and none is counted."],
  observe: ["Observe", "Every call is let through; it says what it would have done."],
};
const HOLDS = ["force_open", "disable", "observe"];
// How long a command is in force, in seconds.
const DURATIONS = { "Until it is lifted": "", "10 minutes": 600, "1 hour": 3600, "8 hours": 28800, "1 day": 86400 };
const NUMBERS = { max_failures: "Failures to trip", reset_timeout: "Reset timeout, s" };
const CHANGE = "Change policy";

export class Actions {
  /** report(breaker): called with the admin API's report of the breaker after a command. */
  constructor(name, model, admin, report) {
    this.report = report;
    this.name = name;
    this.model = model;
    this.admin = admin;
    this.element = make("div", "acting");
    this.#offer();
  }

  /** Update after a sign-in or sign-out. An open form keeps its inputs. */
  renew() {
    if (this.confirm === null) this.#offer("");
    else if (this.admin.token) this.confirm.signedIn();
  }

  /** Close an open form; return whether there was one. */
  back() {
    const asks = this.confirm !== null;
    if (asks) this.confirm.giveUp();
    return asks;
  }

  /** Disable what is impossible now. Such a button keeps the focus, and tells why in its title and when pressed. */
  draw() {
    const { breaker } = this;
    this.change.hidden = !breaker.policy;
    for (const { button, action, meaning } of this.offered) {
      const reason = impossible(action, breaker, this.model.state(breaker));
      button.title = reason || meaning;
      button.ariaDisabled = String(Boolean(reason));
    }
    if (this.pressed && this.pressed.ariaDisabled !== "true") this.#explain(null);
  }

  get breaker() {
    return this.model.breakers.get(this.name);
  }

  #explain(button) {
    this.pressed = button;
    put(this.note, button ? `${sentence(button.title)}` : "");
  }

  /** from: the label of the button to focus; if there is none, the first button. undefined: keep the focus. */
  #offer(from) {
    this.confirm = null;
    this.pressed = null;
    this.note = make("p", "note", { role: "status" });
    const button = (label, onclick) => make("button", "quiet", { type: "button", onclick }, label);
    const offer = (action, label, meaning, ask) => {
      const made = button(label, () => (made.ariaDisabled === "true" ? this.#explain(made) : ask()));
      return { button: made, action, meaning };
    };
    this.offered = [
      ...Object.entries(ACTIONS).map(([action, [label, meaning]]) => offer(action, label, meaning, () => this.#askFor(action))),
      offer("configure", CHANGE, "", () => this.#askForPolicy()),
    ];
    this.change = this.offered.at(-1).button;
    const buttons = this.admin.token ? this.offered.map((one) => one.button) : [button("Sign in to act", () => this.admin.ask())];
    this.element.replaceChildren(make("div", "buttons", {}, ...buttons), this.note);
    this.draw();
    const isPossible = (one) => one.ariaDisabled !== "true";
    if (from !== undefined) (buttons.find((one) => one.textContent === from) ?? buttons.find(isPossible) ?? buttons[0]).focus();
  }

  #askFor(action) {
    const [label, meaning] = ACTIONS[action];
    const path = `/${this.name}/${action}`;
    this.#ask(label, {
      question: `${label} ${this.name}?`, meaning, label, inputs: HOLDS.includes(action) ? [duration()] : [],
      act: async (reason, form) => this.#check(await this.admin.send("POST", path, { ...chosen(form), reason })),
    });
  }

  #askForPolicy() {
    const { policy } = this.breaker;
    // A policy with a trip strategy ignores max_failures.
    const keys = Object.keys(NUMBERS).filter((key) => key !== "max_failures" || !policy.trip);
    const inputs = keys.map((key) => make("label", "field", {}, NUMBERS[key],
      make("input", "", { type: "number", name: key, step: "any", defaultValue: policy[key], required: true })));
    this.#ask(CHANGE, {
      question: `Change the policy of ${this.name}?`, inputs: [...inputs, duration()], label: "Change",
      meaning: "It holds from the next call on, until breakers.toml is read again. State and counts stay.",
      act: async (reason, form) =>
        this.#check(await this.admin.send("PUT", `/${this.name}/policy`, { ...changed(form, keys), ...chosen(form), reason })),
    });
  }

  #check(breaker) {
    this.report(breaker);
    checkInstances(breaker);
  }

  #ask(from, words) {
    this.confirm = new Confirm({ ...words, done: () => this.#offer(from), signIn: () => this.admin.ask() });
    this.element.replaceChildren(this.confirm.element);
    this.confirm.focus();
  }
}

/** Only the values changed in this form, so that concurrent changes of other values are kept. */
function changed(form, keys) {
  const inputs = keys.map((key) => form.elements[key]).filter((input) => input.value !== input.defaultValue);
  if (!inputs.length) throw new Error("Nothing is different from what it was.");
  return Object.fromEntries(inputs.map((input) => [input.name, Number(input.value)]));
}

function duration() {
  const options = Object.entries(DURATIONS).map(([label, value]) => make("option", "", { value }, label));
  return make("label", "field", {}, "In force", make("select", "", { name: "for" }, ...options));
}

/** The duration that is chosen in the form, if it has any. */
function chosen(form) {
  const value = form.elements.for?.value;
  return value ? { for: Number(value) } : {};
}

/** Throws an Error if some instances have not applied the command. */
function checkInstances({ shared, note, not_yet: late = [], failed = {} }) {
  if (shared === false) throw new Error(`Done here only. ${sentence(note)}`.replaceAll("'", "’"));
  const names = Object.keys(failed);
  if (names.length) throw new Error(`Done, but ${names.join(", ")} can’t: ${[...new Set(Object.values(failed))].join("; ")}.`);
  if (late.length) throw new Error(`Done, but not yet by ${late.join(", ")}: it follows when it runs again.`);
}
