// Proposals and changes: what was, what will be, and the buttons that decide. A card is drawn from
// the ledger's data alone; nothing that a model writes can look like one.

import { make } from "./element.js";
import { post } from "./server.js";
import { locale, say } from "./words.js";

const shown = new Map(); // id → {card, drawn}, wherever it stands

export function clear() {
  shown.clear();
}

/** Draw a card into `home`, or draw it again where it already stands. */
export function place(card, home, conversation) {
  const old = shown.get(card.id)?.drawn;
  const drawn = draw(card, conversation);
  const said = old?.querySelector(".note").textContent ?? "";
  if (!said.startsWith(card.text)) drawn.querySelector(".note").textContent = said; // not twice
  if (old?.isConnected) old.replaceWith(drawn);
  else home.append(drawn);
  shown.set(card.id, { card, drawn });
}

export function within(id, home) {
  return home.contains(shown.get(id)?.drawn ?? null);
}

/** Say on the card what became of it; false where there is no such card here. */
export function tell(id, text) {
  const note = shown.get(id)?.drawn.querySelector(".note");
  if (note) note.textContent = text.replaceAll("`", "");
  return Boolean(note);
}

function draw(card, conversation) {
  const state = say(`state_${card.state}`).replace(/^state_/, "");
  const note = make("p", { class: "note", role: "status", dir: "auto" });
  const buttons = make("div", { class: "actions" });
  const drawn = make("section", { class: "card", "aria-labelledby": `card-${card.id}`, "data-state": card.state },
    make("h3", { id: `card-${card.id}`, dir: "auto", text: card.title }),
    make("p", { class: "state" }, make("strong", { text: state }), ` ${card.id}`, expiry(card)),
    make("p", { dir: "auto", class: "words", text: card.text }),
    ...card.rows.map(row), note, buttons);
  for (const action of card.actions) {
    const label = `${say(action)}: ${card.title}`;
    buttons.append(make("button", { type: "button", class: action, text: say(action), "aria-label": label,
      on: { click: () => decide(card.id, action, conversation) } }));
  }
  return drawn;
}

function expiry(card) {
  if (!card.expires_at || card.state !== "open") return "";
  const when = new Date(card.expires_at * 1000).toLocaleString(locale, { dateStyle: "medium", timeStyle: "short" });
  return ` · ${say("expires", { when })}`;
}

/** What differs, and two fields that do not: they say which row this is. */
function row({ before, after }) {
  const names = [...new Set([...Object.keys(before ?? {}), ...Object.keys(after ?? {})])];
  const same = names.filter((name) => words(before?.[name]) === words(after?.[name]));
  const beside = new Set(same.slice(0, 2));
  const cell = (value, tag) => make("td", { dir: "auto" }, value === undefined || value === null
    ? "–" : make(tag, { text: words(value) }));
  const head = ["field", "before", "after"].map((key) => make("th", { scope: "col", text: say(key) }));
  const rows = names.filter((name) => beside.has(name) || !same.includes(name)).map((name) => make("tr", {},
    make("th", { scope: "row", dir: "auto", text: name }),
    cell(before?.[name], beside.has(name) ? "span" : "del"),
    cell(after?.[name], beside.has(name) ? "span" : "ins")));
  return make("div", { class: "table", tabindex: "0", role: "region", "aria-label": say("table") },
    make("table", {}, make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...rows)));
}

function words(value) {
  return typeof value === "object" && value !== null ? JSON.stringify(value) : String(value ?? "");
}

/** Shows at once what was decided; the event stream then brings the card as it stands. */
async function decide(id, action, conversation) {
  const { card, drawn } = shown.get(id);
  const buttons = [...drawn.querySelectorAll(".actions button")];
  for (const button of buttons) button.disabled = true;
  tell(id, say("deciding"));
  try {
    const decided = await post(`/cards/${id}`, { action, conversation });
    tell(id, decided.aloud ? "" : decided.text);
    const newest = shown.get(id);
    if (newest?.card === card) place({ ...card, state: decided.state, actions: [] }, drawn.parentElement, conversation);
  } catch (error) {
    tell(id, error.message);
    for (const button of buttons) button.disabled = error.status === 404 || error.status === 410;
  }
}
