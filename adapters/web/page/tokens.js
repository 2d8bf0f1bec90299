// The person's API tokens: a list, a new one that is shown once, and revoking.

import { $, make } from "./element.js";
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
  await act().catch((error) => { $("tokens-trouble").textContent = error.message; });
}

$("tokens-new").addEventListener("submit", (event) => {
  event.preventDefault();
  attempt(create);
});
$("tokens").addEventListener("close", () => {
  $("token-text").value = ""; // it is shown once
  $("tokens-made").hidden = true;
});

export async function open() {
  $("tokens").showModal();
  await attempt(show);
}
