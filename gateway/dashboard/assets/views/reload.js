// Reading breakers.toml again, which is about all breakers: a button at the top for admins, and its form.

import { Confirm } from "./confirm.js";

export class Reload {
  constructor(button, dialog, admin) {
    Object.assign(this, { button, dialog, admin });
    button.onclick = () => this.#ask();
    dialog.addEventListener("cancel", (event) => this.confirm.pending && event.preventDefault());
    admin.onChange(() => this.#show());
    this.#show();
  }

  #show() {
    this.button.hidden = !this.admin.token && !this.dialog.open;
    if (this.admin.token && this.dialog.open) this.confirm.signedIn();
  }

  #ask() {
    this.confirm = new Confirm({
      question: "Read breakers.toml again?", label: "Reload",
      meaning: "Every process takes its policies from breakers.toml; what was changed by hand is lost.",
      act: async (reason) => checkProcesses(await this.admin.send("POST", "/reload", { reason })),
      done: () => this.dialog.close(),
      signIn: () => this.admin.ask(),
    });
    this.confirm.element.querySelector(".question").id = "reloading-title";
    this.dialog.replaceChildren(this.confirm.element);
    this.dialog.onclose = () => this.#close();
    this.dialog.showModal();
    this.confirm.focus();
  }

  #close() {
    this.dialog.replaceChildren();
    this.#show();
  }
}

/** Throws an Error if the reload has failed in some processes. */
function checkProcesses(results) {
  const failed = Object.entries(results).filter(([, one]) => one?.error);
  if (!failed.length) return;
  const names = failed.map(([process]) => process).join(" and ");
  const reasons = [...new Set(failed.map(([, one]) => one.error))].join("; ");
  throw new Error(`All have read it but ${names}: ${reasons}.`.replaceAll("'", "’"));
}
