// Who may act. The token lives in this tab alone, and is sent nowhere but to the admin API.

import { make } from "./format.js";

const KEPT = "admin-token";

export class Admin {
  constructor(button, dialog) {
    this.button = button;
    this.dialog = dialog;
    this.changed = () => {};
    button.onclick = () => (this.token ? this.leave() : this.ask());
    this.#show();
  }

  get token() {
    return sessionStorage.getItem(KEPT);
  }

  leave() {
    sessionStorage.removeItem(KEPT);
    this.#show();
  }

  #show() {
    this.button.textContent = this.token ? "Sign out" : "Sign in to act";
    this.changed();
  }

  ask() {
    const input = make("input", "", {
      type: "password", id: "token", autocomplete: "off", required: true, spellcheck: false,
    });
    const problem = make("p", "problem", { role: "alert" });
    const cancel = make("button", "quiet", { type: "button", onclick: () => this.dialog.close() }, "Cancel");
    const form = make("form", "", {},
      make("h2", "", { id: "signing-title" }, "Sign in to act"),
      make("p", "", {}, "The value of ADMIN_TOKEN, or the access token of an admin. It stays in this tab."),
      make("label", "", { htmlFor: "token" }, "Token"),
      input,
      problem,
      make("div", "buttons", {}, make("button", "main", { type: "submit" }, "Sign in"), cancel),
    );
    form.onsubmit = async (event) => {
      event.preventDefault();
      try {
        await send("GET", "", undefined, input.value.trim());
        sessionStorage.setItem(KEPT, input.value.trim());
        this.dialog.close();
        this.#show();
      } catch (error) {
        problem.textContent = error.message;
      }
    };
    this.dialog.replaceChildren(form);
    this.dialog.showModal();
    input.focus();
  }

  /** Throws an Error whose message is for the person; a token that has expired is forgotten. */
  async order(method, path, body) {
    try {
      return await send(method, path, body, this.token);
    } catch (error) {
      if (error.status === 401) this.leave();
      throw error;
    }
  }
}

async function send(method, path, body, token) {
  let answer;
  try {
    answer = await fetch(`/admin/breakers${path}`, {
      method,
      headers: { Authorization: `Bearer ${token}` },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch {
    throw new Error("The gateway can’t be reached.");
  }
  const said = await answer.json().catch(() => ({}));
  if (answer.ok) return said.data;
  const error = new Error(
    { 401: "This token isn’t accepted.", 403: "This is no admin’s token." }[answer.status] ?? said.message ?? `Status ${answer.status}`,
  );
  error.status = answer.status;
  throw error;
}
