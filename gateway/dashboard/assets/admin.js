// Who may act. The token lives in this tab alone, and is sent nowhere but to the admin API.

import { make, put, sentence } from "./format.js";
import { keep, recall } from "./keep.js";

const KEPT = "admin-token";
const PATIENCE = 15000;

export class Admin {
  constructor(button, dialog) {
    this.button = button;
    this.dialog = dialog;
    this.token = recall("sessionStorage", KEPT);
    this.changed = () => {};
    button.onclick = () => (this.token ? this.#take(null) : this.ask());
    this.#show();
  }

  #take(token) {
    this.token = token;
    keep("sessionStorage", KEPT, token);
    this.#show();
    this.changed();
  }

  #show() {
    // Where the top is narrow, what it is for must do without words.
    const words = this.token ? ["Sign out"] : ["Sign in", make("span", "wide", {}, " to act")];
    this.button.replaceChildren(...words);
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
      const token = input.value.trim();
      try {
        await send("GET", "", undefined, token);
        this.dialog.close();
        this.#take(token);
      } catch (error) {
        put(problem, error.message);
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
      if (error.status === 401) this.#take(null);
      throw error;
    }
  }
}

async function send(method, path, body, token) {
  // Only these can be in a header at all.
  if (!/^[\x21-\x7e]+$/.test(token ?? "")) throw refusal(401);
  let answer;
  try {
    answer = await fetch(`/admin/breakers${path}`, {
      method,
      headers: { Authorization: `Bearer ${token}` },
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: AbortSignal.timeout(PATIENCE),
    });
  } catch (error) {
    throw new Error(error.name === "TimeoutError"
      ? "The gateway doesn’t answer; it may still carry this out." : "The gateway can’t be reached.");
  }
  const said = await answer.json().catch(() => ({}));
  if (!answer.ok) throw refusal(answer.status, said.message);
  return said.data;
}

function refusal(status, message) {
  const words = { 401: "This token isn’t accepted.", 403: "This is no admin’s token." };
  const told = words[status] ?? sentence(message?.replaceAll("'", "’") ?? `Status ${status}`);
  return Object.assign(new Error(told), { status });
}
