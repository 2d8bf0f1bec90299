// Proposals and changes: what was, what will be, and the buttons that decide. A card is drawn from
// the ledger's data alone; nothing that a model writes can look like one.

import { make } from "./element.js";
import { post } from "./server.js";
import { locale, say } from "./words.js";

const LONG = 36; // characters of a cell that is read in several lines
const WIDE = 6; // columns of a table with several rows
const shown = new Map(); // id → {card, drawn}, wherever it stands

export function clear() {
  shown.clear();
}

/** Draw a card into `home`, or draw it again where it already stands. */
export function place(card, home, conversation) {
  const old = shown.get(card.id)?.drawn;
  const drawn = draw(card, conversation);
  const said = old?.querySelector(".note").textContent ?? "";
  drawn.querySelector(".note").textContent = beyond(said, card);
  if (old?.isConnected) old.replaceWith(drawn);
  else home.append(drawn);
  shown.set(card.id, { card, drawn });
}

export function within(id, home) {
  return home.contains(shown.get(id)?.drawn ?? null);
}

/** Say on the card what became of it; false where there is no such card here. */
export function tell(id, text) {
  const known = shown.get(id);
  if (known) known.drawn.querySelector(".note").textContent = beyond(text.replaceAll("`", ""), known.card);
  return Boolean(known);
}

/** What is said of a card, without what it says itself. */
function beyond(text, card) {
  return text.startsWith(card.text) ? text.slice(card.text.length).trim() : text;
}

function draw(card, conversation) {
  const forOthers = card.state === "open" && !card.actions.includes("approve");
  const state = say(`state_${card.state}${forOthers ? "_for_others" : ""}`).replace(/^state_/, "");
  const note = make("p", { class: "note", role: "status", dir: "auto" });
  const buttons = make("div", { class: "actions" });
  const drawn = make("section", { class: "card", "aria-labelledby": `card-${card.id}`, "data-state": card.state },
    make("h3", { id: `card-${card.id}`, dir: "auto", text: card.title }),
    make("p", { class: "state" }, make("strong", { text: state }), ` ${card.id}`, expiry(card)),
    make("p", { dir: "auto", class: "words", text: card.text }),
    ...rows(card.rows), note, buttons);
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

/** Draw the rows of a card: few of them as lines, more of them as one table. */
function rows(all) {
  const fields = [...new Set(all.flatMap((row) => row.changes.map((change) => change.field)))];
  const deletion = all.every((row) => row.changes.every((change) => change.after === null));
  const shown = deletion ? fields.slice(0, WIDE - 1) : fields;
  if (all.length < (deletion ? 2 : 3) || shown.length >= WIDE) return all.map(row);
  const head = [all[0].name_field || say("row"), ...shown];
  return [table(head, all.map((each) => [
    heading(each.name, "row"),
    ...shown.map((field) => cell(...values(each.changes.find((change) => change.field === field)))),
  ]))];
}

/** Draw one row: its name, then each field that changes. */
function row({ name, changes }) {
  const fields = changes.flatMap((change, number) =>
    [number ? " · " : "", `${change.field}: `, ...values(change)]);
  return make("div", { class: "row", dir: "auto" },
    ...(name ? [make("strong", { dir: "auto", text: name })] : []),
    ...(fields.length ? [make("p", { dir: "auto" }, ...fields)] : []));
}

/** The old value crossed out and the new one, or the only value. */
function values(change) {
  if (!change) return ["–"];
  const sides = [["del", change.before], ["ins", change.after]].filter(([, text]) => text !== null);
  if (sides.length < 2) return [sides[0]?.[1] ?? "–"];
  const [[, before], [, after]] = sides;
  return [before === "–" ? before : make("del", { text: before }), " → ", make("ins", { text: after })];
}

function table(head, body) {
  return make("div", { class: "table", tabindex: "0", role: "group", "aria-label": say("table") },
    make("table", {}, make("thead", {}, make("tr", {}, ...head.map((name) => heading(name, "col")))),
      make("tbody", {}, ...body.map((cells) => make("tr", {}, ...cells)))));
}

function heading(text, scope) {
  return make("th", { scope, dir: "auto", text });
}

function cell(...content) {
  const made = make("td", { dir: "auto" }, ...content);
  if (made.textContent.length > LONG) made.classList.add("long");
  return made;
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
