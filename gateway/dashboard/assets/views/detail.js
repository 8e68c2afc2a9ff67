// The sheet with the details of one breaker, and its actions.

import { Actions } from "./actions.js";
import { STATES, make, moment, number, put, plural, sentence } from "../model/format.js";
import { inShadow, plainPolicy } from "../model/policy.js";
import { recovery } from "../model/recovery.js";
import { since, why } from "./rows.js";

export class Detail {
  constructor(dialog, model, admin) {
    this.dialog = dialog;
    this.model = model;
    this.admin = admin;
    this.name = null;
    dialog.addEventListener("close", () => {
      this.name = null;
      dialog.replaceChildren();
    });
    closeByBackdrop(dialog);
    dialog.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && this.actions.back()) event.preventDefault();
    });
    admin.onChange(() => {
      if (this.name === null) return;
      this.actions.renew();
      this.#fetchCommands();
    });
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
    this.shadow = make("p", "in-shadow");
    this.failures = make("ol", "failures");
    this.changes = make("ol", "changes");
    this.policy = make("dl", "facts policy");
    this.actions = new Actions(this.name, this.model, this.admin, (report) => this.#showCommands(report));
    this.commands = make("ol", "changes commands");
    this.ordered = make("h3", "", { hidden: true }, "Last commands");
    const close = make("button", "quiet close", { type: "button", ariaLabel: "Close", onclick: () => this.dialog.close() }, "✕");
    this.dialog.replaceChildren(make("div", "inside", {},
      make("header", "", {}, make("div", "", {}, make("h2", "", { id: "detail-name" }, breaker.name),
        make("p", "between", {}, `Guards ${breaker.from} → ${breaker.to}`)), close),
      this.state,
      this.actions.element,
      make("div", "known", {},
        make("h3", "", {}, "Since its process started"), this.facts, this.shadow,
        make("h3", "", {}, "Last failures"), this.failures,
        make("h3", "", {}, "Last changes"), this.changes,
        this.ordered, this.commands,
        make("h3", "", {}, "Policy"), this.policy,
        make("h3", "", {}, "Elsewhere"), ...elsewhere(breaker)),
    ));
    this.draw();
    this.#fetchCommands();
  }

  /** Who ordered what is for admins alone. */
  async #fetchCommands() {
    const { name } = this;
    if (!this.admin.token) return this.#showCommands(null);
    const report = await this.admin.send("GET", `/${name}`).catch(() => null);
    if (report && this.name === name) this.#showCommands(report);
  }

  #showCommands(report) {
    const all = report?.commands ?? [];
    const inForce = new Set((report?.in_force ?? []).map((one) => one.id));
    const now = this.model.now();
    this.ordered.hidden = this.commands.hidden = !report?.commands;
    items(this.commands, all, (one) => [
      moment(one.time, now), [one.action.replace("_", " "), ...Object.keys(one.changes ?? {})].join(" "),
      [`by ${one.who}`, one.reason, one.until && `until ${moment(one.until, now)}`, inForce.has(one.id) && "in force"].filter(Boolean).join(", "),
    ], "None.");
  }

  draw() {
    if (this.name === null) return;
    const { model } = this;
    const breaker = model.breakers.get(this.name);
    const now = model.now();
    this.dialog.dataset.state = model.state(breaker);
    put(this.state, this.#sentences(breaker, now));
    this.actions.draw();
    list(this.facts, {
      answered: breaker.calls.success, failed: breaker.calls.failure, rejected: breaker.calls.rejected,
      ignored: breaker.calls.ignored, cancelled: breaker.calls.cancelled, "running now": running(breaker),
    });
    const shadow = inShadow(breaker);
    this.shadow.hidden = !shadow;
    put(this.shadow, shadow);
    list(this.policy, plainPolicy(breaker.policy ?? {}));
    items(this.failures, breaker.failures, (one) => [
      moment(one.time, now), one.error ?? "", one.count > 1 ? `last of ${plural(one.count, "call")}` : "",
    ], "None lately.");
    items(this.changes, breaker.transitions, (one) => [
      moment(one.time, now), `${one.observed ? "would be " : ""}${STATES[one.new].toLowerCase()}`, one.reason,
    ], "None lately.");
  }

  #sentences(breaker, now) {
    const { model } = this;
    const state = model.state(breaker);
    const known = state === "UNKNOWN" ? "" : `, since ${moment(model.since(breaker), now)}`;
    const is = `${[STATES[state], since(model, breaker)].filter(Boolean).join(" ")}${known}`;
    const lost = model.lostAt === null ? "" : "Disconnected. As of the last report: ";
    return lost + [is, recovery(model, breaker, state).sentence, why(model, breaker, state)].filter(Boolean).map(sentence).join(" ");
  }
}

/** Where there is more about a breaker: the log of its process, and its metrics. */
function elsewhere({ name, owner }) {
  return [
    make("p", "", {}, "Log: ", make("code", "", {}, `uv run just logs ${owner}`)),
    make("p", "", {}, "Metrics: ", make("a", "", { href: "/metrics" }, "/metrics"), ", with ", make("code", "", {}, `service="${name}"`)),
  ];
}

/** The calls in flight, of those that may run at once if that is limited. */
function running({ in_flight: calls, bulkhead_limit: limit }) {
  return typeof limit === "number" ? `${number(calls)} of ${number(limit)}` : calls;
}

/** A drag that starts in the sheet, to select text, must not close it when it ends on the backdrop. */
function closeByBackdrop(dialog) {
  let pressed = null;
  dialog.addEventListener("pointerdown", (event) => (pressed = event.target));
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog && pressed === dialog) dialog.close();
  });
}

function list(element, values) {
  const wanted = Object.entries(values).map(([what, value]) => [what, value === undefined ? "–" : typeof value === "number" ? number(value) : value]);
  const key = JSON.stringify(wanted);
  if (element.dataset.key === key) return;
  element.dataset.key = key;
  element.replaceChildren(...wanted.map(([what, value]) =>
    make("div", value.length > 12 ? "long" : "", {}, make("dt", "", {}, what), make("dd", "", {}, value))));
}

function items(element, all, parts, nothing) {
  const wanted = all.slice(-8).reverse().map(parts);
  const key = JSON.stringify(wanted);
  if (element.dataset.key === key) return;
  element.dataset.key = key;
  const lines = wanted.map(([when, ...rest]) => make("li", "", {}, make("time", "", {}, when), ...rest.map((text) => make("span", "", {}, text))));
  element.replaceChildren(...(lines.length ? lines : [make("li", "nothing", {}, nothing)]));
}
