// Signing in as an admin. The token is kept in this tab, and sent only to the admin API.

import { make, put, sentence } from "../model/format.js";
import { keep, recall } from "../model/storage.js";

const KEPT = "admin-token";
const TIMEOUT_MS = 15000;

export class Admin {
  constructor(button, dialog) {
    this.button = button;
    this.dialog = dialog;
    this.token = recall("sessionStorage", KEPT);
    this.listeners = [];
    button.onclick = () => (this.token ? this.#take(null) : this.ask());
    this.#show();
  }

  #take(token) {
    this.token = token;
    keep("sessionStorage", KEPT, token);
    this.#show();
    for (const changed of this.listeners) changed();
  }

  /** Call `changed` after each sign-in and sign-out. */
  onChange(changed) {
    this.listeners.push(changed);
  }

  #show() {
    // A narrow header hides the last words.
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
        await request("GET", "", undefined, token);
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

  /** Send a command. Throws an Error with a message for the user; deletes a token that has expired. */
  async send(method, path, body) {
    try {
      return await request(method, path, body, this.token);
    } catch (error) {
      if (error.status === 401) this.#take(null);
      throw error;
    }
  }
}

async function request(method, path, body, token) {
  // A header can contain no other characters.
  if (!/^[\x21-\x7e]+$/.test(token ?? "")) throw refusal(401);
  let answer;
  try {
    answer = await fetch(`/admin/breakers${path}`, {
      method,
      headers: { Authorization: `Bearer ${token}` },
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
  } catch (error) {
    throw new Error(error.name === "TimeoutError"
      ? "The gateway doesn’t answer; it may still carry this out." : "The gateway can’t be reached.");
  }
  const reply = await answer.json().catch(() => ({}));
  if (!answer.ok) throw refusal(answer.status, reply.message);
  return reply.data;
}

function refusal(status, message) {
  const words = { 401: "This token isn’t accepted.", 403: "This is no admin’s token." };
  const text = words[status] ?? sentence(message?.replaceAll("'", "’") ?? `Status ${status}`);
  return Object.assign(new Error(text), { status });
}
