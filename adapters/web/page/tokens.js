// The person's API tokens: a list, a new one that is shown once, and revoking.

import { closing, draw } from "./dialogs.js";
import { $, againButton, make } from "./element.js";
import { post, request } from "./server.js";
import { moment, say } from "./words.js";

function describe({ name, seen, expired }) {
  const day = seen && moment(new Date(`${seen}T12:00`));
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

/** The lines that connect a program over MCP, by its name. */
function mcpLines(token) {
  const url = `${location.origin}/mcp`;
  const headers = { Authorization: `Bearer ${token}` };
  return Object.entries({
    "Claude Code": `claude mcp add --transport http ponte ${url} --header "Authorization: Bearer ${token}"`,
    "Cursor": JSON.stringify({ mcpServers: { ponte: { url, headers } } }),
    "VS Code": JSON.stringify({ servers: { ponte: { type: "http", url, headers } } }),
    "claude.ai": `${url}\nAuthorization: Bearer ${token}`,
  }).flatMap(([name, lines]) => [make("dt", { text: name }), make("dd", {}, make("pre", { text: lines }))]);
}

async function create(kind) {
  const { token } = await post("/me/tokens", { name: $("token-name").value.trim(), kind });
  $("token-name").value = "";
  $("tokens-made").hidden = false;
  $("tokens-mcp").hidden = kind !== "mcp";
  $("token-lines").replaceChildren(...(kind === "mcp" ? mcpLines(token) : []));
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
  make("form", { id: "tokens-new", on: { submit: (event) => { event.preventDefault(); attempt(() => create(event.submitter?.value || "api")); } } },
    make("label", { for: "token-name", text: say("token_for") }),
    make("input", { id: "token-name", dir: "auto", maxlength: 60, autocomplete: "off" }),
    make("button", { type: "submit", value: "api", text: say("token_create") }),
    make("button", { type: "submit", value: "mcp", text: say("token_create_mcp") })),
  make("p", { id: "tokens-made", role: "status", hidden: true },
    make("label", { for: "token-text", text: say("token_once") }), make("input", { id: "token-text", readonly: true })),
  make("div", { id: "tokens-mcp", hidden: true },
    make("p", { text: say("token_mcp_why") }), make("dl", { id: "token-lines" })),
  make("p", { id: "tokens-trouble", role: "alert" }),
  closing());
dialog.addEventListener("close", () => {
  $("token-text").value = ""; // it is shown once
  $("token-lines").replaceChildren();
  $("tokens-made").hidden = $("tokens-mcp").hidden = true;
});

export async function open() {
  dialog.showModal();
  await attempt(show);
}
