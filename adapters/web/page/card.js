// Proposals and changes: what was, what will be, and the buttons that decide. A card is drawn from
// the ledger's data alone; nothing that a model writes can look like one.

import { $, make } from "./element.js";
import { signOf } from "./icons.js";
import { alignFigures } from "./tables.js";
import { moment, say } from "./words.js";

const LONG = 36; // characters of a cell that is read in several lines,
const LONG_NAME = 18; // and of one in the first column, which stays in sight
const RESULT = 1500; // characters of a result that the text of a card has
const SHORT = 120; // characters of a text that a decided card shows unopened
const WIDE = 6; // columns of a table with several rows
const TOGETHER = 10; // cards that one press approves
const shown = new Map(); // id → {card, copies}: the elements that show it

export function clear() {
  shown.clear();
}

/** Draw a card again wherever it stands, and into `home` if it is not yet in that list or log. */
export function place(card, home, conversation) {
  const old = (shown.get(card.id)?.copies ?? []).filter((copy) => copy.isConnected);
  const said = old[0]?.querySelector(".note").textContent ?? "";
  const copies = old.map((copy) => {
    const drawn = draw(card, copy.dataset.conversation);
    const active = document.activeElement;
    const focused = copy.contains(active);
    const form = copy.querySelector("form");
    if (card.actions.includes(form?.dataset.action)) drawn.querySelector(".note").before(form);
    copy.replaceWith(drawn);
    const same = drawn.contains(active) ? active : drawn.querySelector(`[data-action="${active.dataset.action}"]`);
    if (focused) (same ?? drawn).focus({ preventScroll: true });
    return drawn;
  });
  const frame = home.closest("dialog, main");
  if (!copies.some((copy) => copy.closest("dialog, main") === frame)) {
    copies.push(draw(card, conversation));
    home.append(copies.at(-1));
  }
  for (const copy of copies) copy.querySelector(".note").textContent = beyond(said, card);
  shown.set(card.id, { card, copies });
  for (const copy of copies) offerAll(copy.parentElement, conversation);
}

/** Offer one button for all open cards in `home`, if they are of one turn and each can be approved here. */
function offerAll(home, conversation) {
  home.querySelector(":scope > .together")?.remove();
  const cards = [...home.querySelectorAll(":scope > .card")].map((one) => shown.get(one.dataset.card)?.card);
  const open = cards.filter((one) => one?.state === "open");
  const possible = open.every((one) => one.actions.includes("approve") && one.seq === open[0].seq);
  if (open.length < 2 || open.length > TOGETHER || !possible) return;
  home.append(make("div", { class: "together actions" }, make("button", { type: "button", class: "approve",
    text: say("approve_all", { count: open.length }),
    on: { click: ({ currentTarget }) => decide(open[0].id, "approve", conversation, currentTarget,
      { others: open.slice(1).map(({ id }) => versionShown(id)) }) } })));
}

/** A card with its version as it is drawn; a newer one is not approved with it. */
export function versionShown(id) {
  return `${id}.${shown.get(id)?.card.revision}`;
}

export function within(id, home) {
  return Boolean(shown.get(id)?.copies.some((copy) => home.contains(copy)));
}

/** Say on the card what became of it; false where there is no such card here. */
export function tell(id, text) {
  const known = shown.get(id);
  const words = known && beyond(text, known.card).replaceAll("`", "");
  for (const copy of known?.copies ?? []) copy.querySelector(".note").textContent = words;
  return Boolean(known);
}

/** What is said of a card, without the sentences that it says itself, where it may name what it tells (after a colon or in brackets). */
function beyond(text, card) {
  const own = `${say(`state_${card.state}`)} ${card.text.replace(/^>.*$/gm, "")}`.toLowerCase();
  return text.split(/(?<=\.)\s+/).filter((one) => !own.includes(one.toLowerCase().split(/:| \(/)[0].replace(/\.$/, ""))).join(" ");
}

function draw(card, conversation) {
  const forOthers = card.state === "open" && !card.actions.includes("approve");
  const state = say(`state_${card.state}${forOthers ? "_for_others" : ""}`).replace(/^state_/, "");
  const note = make("p", { class: "note", role: "status", dir: "auto" });
  const buttons = make("div", { class: "actions" });
  const drawn = make("article", { class: "card", tabindex: "-1", "aria-label": card.title, "data-state": card.state,
    "data-card": card.id, "data-conversation": conversation },
    make("h3", { dir: "auto", text: card.title }),
    make("p", { class: "state" }, make("strong", { class: "badge" }, signOf(card.state), ` ${state}`), make("span", { text: timeOf(card) }), make("small", { text: card.id })),
    make("div", { dir: "auto", class: "words" }, ...blocks(card.text, card.state)), ...whole(card.result),
    card.plan && make("a", { href: `${card.plan}?conversation=${conversation}`, text: say("plan") }),
    ...rows(card.rows, card.state), note, buttons);
  if (card.actions.length) import("./deciding.js").catch(() => {}); // before it is pressed
  for (const action of card.actions.toReversed()) {
    const text = action === "approve" ? card.label : say(action === "again" ? "card_again" : action), label = `${text}: ${card.title}`;
    const isDeletion = action === "approve" && card.rows.length > 0 && card.rows.every(({ after }) => after === null);
    buttons.append(make("button", { type: "button", class: isDeletion ? "approve danger" : action, "data-action": action, text, "aria-label": label,
      on: { click: ({ currentTarget }) => decide(card.id, action, conversation, currentTarget) } }));
  }
  return drawn;
}

function whole(result) {
  if (result.length <= RESULT) return [];
  return [make("details", { class: "words" }, make("summary", { text: say("show_result") }), make("pre", { dir: "auto", text: result }))];
}

/** The text of a card; lines with `>` are a quote. */
function blocks(text, state) {
  return text.split(/((?:^>.*\n*)+)/m).flatMap((part, at) => (at % 2
    ? make("blockquote", {}, shorten(part.trim().replace(/^> ?/gm, ""), state))
    : words(part)));
}

/** A text; a long one of a decided card behind its beginning, which opens it. Who decides sees all. */
function shorten(text, state) {
  if (state === "open" || text.length <= SHORT) return text;
  return make("details", {}, make("summary", { text: `${text.slice(0, SHORT)}…` }), text);
}

/** The text; `x` is code. */
function words(text) {
  return text.split(/`([^`\n]+)`/).map((part, at) => (at % 2 ? make("code", { text: part }) : part));
}

/** When an open card expires, or when the other was decided. */
function timeOf(card) {
  const open = card.state === "open";
  const at = open ? card.expires_at : card.decided_at;
  if (!at) return "";
  const when = moment(new Date(at * 1000), true);
  return open ? say("expires", { when }) : when;
}

/** Draw the rows of a card: few of them as lines, more of them as one table. */
function rows(all, state) {
  const columns = (kind) => [...new Set(all.flatMap((row) => row[kind].map(({ field }) => field)))];
  const details = columns("details"), fields = columns("changes");
  const deletion = all.every((row) => row.changes.every((change) => change.after === null));
  if (all.length < (deletion ? 2 : 3) || details.length + fields.length >= WIDE) return all.map((each) => row(each, state));
  const head = [all[0].name_field || say("row"), ...details, ...fields];
  return [table(head, all.map((each) => [
    heading(each.name, "row", LONG_NAME),
    ...details.map((field) => cell(field, each.details.find((detail) => detail.field === field)?.after ?? "–")),
    ...fields.map((field) => cell(field, ...values(each.changes.find((change) => change.field === field), state))),
  ]))];
}

function row({ name, details, changes }, state) {
  return make("div", { class: "row" },
    ...(name ? [make("strong", { dir: "auto", text: name })] : []),
    ...details.map(({ field, after }) => make("div", { class: "field" }, make("span", { dir: "auto", text: `${say("field", { name: field })} ` }),
      make("span", { dir: "auto", text: after }))),
    ...changes.map((change) => make("div", { class: "field" }, make("span", { dir: "auto", text: `${say("field", { name: change.field })} ` }),
      make("span", { dir: "auto", class: "value" }, ...values(change, state)))));
}

/** The old value and the new one, or the only value. It is struck only where it goes away. */
function values(change, state) {
  if (!change) return ["–"];
  const [before, after] = [change.before, change.after].map((text) => text && shorten(text, state));
  if (change.before === null) return foldDigests(change.after ?? "–", after);
  if (change.after === null) return [make("del", {}, before)];
  const old = change.after === "–" ? make("del", {}, before) : before;
  return [old, " → ", make("ins", {}, after)];
}

/** A new file: its name and size; its kind and digest behind a click. */
function foldDigests(text, whole) {
  const parts = text.split(/, ([\w.+-]+\/[\w.+-]+, SHA-256 [0-9a-f]{16})\)/);
  if (parts.length < 2) return [whole];
  return parts.flatMap((part, at) => (at % 2 ? [")", make("details", { class: "digest" }, make("summary", { text: "#" }), ` ${part}`)] : part));
}

function table(head, body) {
  // On a phone each row is a block, and then only the roles say that it is a table.
  const made = make("table", { role: "table" },
    make("thead", { role: "rowgroup" }, make("tr", { role: "row" },
      ...head.map((name, column) => heading(name, "col", column ? LONG : LONG_NAME)))),
    make("tbody", { role: "rowgroup" }, ...body.map((cells) => make("tr", { role: "row" }, ...cells))));
  alignFigures(made);
  return make("div", { class: "table", tabindex: "0", role: "group", "aria-label": say("table") }, made);
}

function heading(text, scope, long) {
  return make("th", { scope, role: scope === "col" ? "columnheader" : "rowheader", dir: "auto", text, class: text.length > long ? "long" : undefined });
}

function cell(field, ...content) {
  const made = make("td", { role: "cell", dir: "auto", "data-head": `${say("field", { name: field })} ` }, ...content);
  if (made.textContent.length > LONG) made.classList.add("long");
  return made;
}

/** Decide by a press of a button, as `decide` of deciding.js says. */
export async function decide(...press) {
  return (await import("./deciding.js")).decide({ shown, place, tell }, ...press);
}
