// The person's API tokens: a list, a new one that is shown once, and revoking.

import { closing, draw } from "./dialogs.js";
import { $, againButton, make } from "./element.js";
import { post, request } from "./server.js";
import { locale, say } from "./words.js";

function describe({ name, seen, expired }) {
  const day = seen && new Date(`${seen}T12:00`).toLocaleDateString(locale);
  const used = expired ? say("token_expired") : seen ? say("token_used", { when: day }) : say("token_unused");
  return make("span", {}, make("bdi", { text: name || say("token_unnamed") }), ` · ${used}`);
}

async function show() {
  const { tokens } = await request("/me/tokens");
  $("tokens-list").replaceChildren(...tokens.map((token) => make("li", {}, describe(token),
    make("button", { type: "button", text: say("revoke"), on: { click: () => attempt(() => revoke(token.id)) } }))));
}

async function revoke(id) {
  await request(`/me/tokens/${id}`, { method: "DELETE" });
  await show();
}

async function create() {
  const { token } = await post("/me/tokens", { name: $("token-name").value.trim() });
  $("token-name").value = "";
  $("tokens-made").hidden = false;
  $("token-text").value = token;
  $("token-text").select();
  await show();
}

/** Run this; what goes wrong is said in the dialog. */
async function attempt(act) {
  $("tokens-trouble").textContent = "";
  await act().catch((error) => $("tokens-trouble").replaceChildren(error.message, " ", againButton(() => attempt(act))));
}

const dialog = draw("tokens", say("api_tokens"),
  make("p", { text: say("api_tokens_why") }),
  make("ul", { id: "tokens-list" }),
  make("form", { id: "tokens-new", on: { submit: (event) => { event.preventDefault(); attempt(create); } } },
    make("label", { for: "token-name", text: say("token_for") }),
    make("input", { id: "token-name", dir: "auto", maxlength: 60, autocomplete: "off" }),
    make("button", { type: "submit", text: say("token_create") })),
  make("p", { id: "tokens-made", role: "status", hidden: true },
    make("label", { for: "token-text", text: say("token_once") }), make("input", { id: "token-text", readonly: true })),
  make("p", { id: "tokens-trouble", role: "alert" }),
  closing());
dialog.addEventListener("close", () => {
  $("token-text").value = ""; // it is shown once
  $("tokens-made").hidden = true;
});

export async function open() {
  dialog.showModal();
  await attempt(show);
}
