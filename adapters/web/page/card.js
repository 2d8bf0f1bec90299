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

/** One row stands field by field; several share a table, a line each, where that is not too wide. */
function rows(all) {
  const names = [...new Set(all.flatMap(fields))];
  return all.length > 1 && names.length <= WIDE ? [lines(all, names)] : all.map(row);
}

/** What differs, and two fields that do not: they say which row this is. */
function fields({ before, after }) {
  const names = [...new Set([...Object.keys(before ?? {}), ...Object.keys(after ?? {})])];
  const same = names.filter((name) => words(before?.[name]) === words(after?.[name]));
  const beside = new Set(same.slice(0, 2));
  return names.filter((name) => beside.has(name) || !same.includes(name));
}

function row({ before, after }) {
  const head = ["field", "before", "after"].map(say);
  return table(head, fields({ before, after }).map((name) => {
    const stays = words(before?.[name]) === words(after?.[name]);
    return [heading(name, "row"), ...[[before, "del"], [after, "ins"]].map(([side, tag]) =>
      cell(isEmpty(side?.[name]) ? "–" : make(stays ? "span" : tag, { text: words(side[name]) })))];
  }));
}

function lines(all, names) {
  return table(names, all.map(({ before, after }) => names.map((name) => {
    const [old, now] = [before?.[name], after?.[name]];
    if (words(old) === words(now)) return cell(isEmpty(old) ? "–" : words(old));
    const sides = [[old, "del"], [now, "ins"]].filter(([value]) => !isEmpty(value));
    const shown = sides.map(([value, tag]) => make(tag, { text: words(value) }));
    return cell(...(shown.length > 1 ? [shown[0], " → ", shown[1]] : shown));
  })));
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

function isEmpty(value) {
  return value === undefined || value === null;
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
