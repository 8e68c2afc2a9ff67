// A form that explains an action and asks for its reason before it is taken.

import { make, put } from "../model/format.js";

const REFUSED = "This token isn’t accepted any more. Sign in again, then repeat.";

export class Confirm {
  /** act(reason, form) takes the action, or throws an Error with a message; done() is called at the end. */
  constructor({ question, meaning, inputs = [], label, act, done, signIn }) {
    Object.assign(this, { label, act, done });
    this.pending = false;
    this.reason = make("input", "", {
      type: "text", id: "reason", maxLength: 200, required: true, pattern: ".*\\S.*", title: "Some words",
      placeholder: "Why? It is written to the log.",
    });
    this.problem = make("p", "problem", { role: "alert" });
    this.submit = make("button", "main", { type: "submit" }, label);
    this.sign = make("button", "quiet", { type: "button", hidden: true, onclick: signIn }, "Sign in");
    this.cancel = make("button", "quiet", { type: "button", onclick: () => this.giveUp() }, "Cancel");
    this.element = make("form", "confirm", {},
      make("p", "question", {}, question), make("p", "", {}, meaning), ...inputs,
      make("label", "field", { htmlFor: "reason" }, "Reason"), this.reason, this.problem,
      make("div", "buttons", {}, this.submit, this.sign, this.cancel));
    this.element.onsubmit = (event) => {
      event.preventDefault();
      this.#send();
    };
  }

  focus() {
    this.element.querySelector("input").focus();
  }

  giveUp() {
    if (!this.pending) this.done();
  }

  signedIn() {
    put(this.problem, "");
    this.sign.hidden = true;
    this.submit.focus();
  }

  async #send() {
    put(this.problem, "");
    this.#wait(true);
    try {
      await this.act(this.reason.value.trim(), this.element);
      this.pending = false;
      this.done();
    } catch (error) {
      this.#wait(false);
      const refused = error.status === 401;
      put(this.problem, refused ? REFUSED : error.message);
      this.sign.hidden = !refused;
      (refused ? this.sign : this.submit).focus();
    }
  }

  /** Disable the form while the command is being sent: it can't be revoked. */
  #wait(pending) {
    this.pending = pending;
    this.element.ariaBusy = String(pending);
    put(this.submit, pending ? `${this.label}…` : this.label);
    for (const button of [this.submit, this.cancel, this.sign]) button.disabled = pending;
  }
}
