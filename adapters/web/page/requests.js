// The inbox of the requests that wait for this person's decision: the list, and the card of the chosen one.

import * as card from "./card.js";
import { closing, draw } from "./dialogs.js";
import { $, againButton, make } from "./element.js";
import { request } from "./server.js";
import { locale, say } from "./words.js";

const TOGETHER = 10; // requests that one press approves
const MINUTE = 60000; // milliseconds
const PLATFORMS = { slack: "Slack", discord: "Discord", terminal: "Terminal" };
const AGES = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", Infinity]];

const rows = new Map(); // id → {request, row, frame}: a line of the list, and the place of its card
const opened = new Set(); // the versions of cards that were opened in full
let current = ""; // the open conversation: it stores decisions where the person cannot open that of a request
let chosen = "";
let asked = 0;

const button = (word, work, attributes = {}) => make("button", { type: "button", text: say(word), ...attributes, on: { click: work } });
const dialog = draw("requests", say("approvals_title"), button("approvals_back", back, { id: "requests-back" }), closing(),
  make("div", { id: "requests-side" },
    make("ul", { id: "requests-list", "aria-describedby": "requests-keys", on: { keydown: move } }),
    make("p", { id: "requests-more", class: "hint" }), make("p", { id: "requests-none", role: "status", hidden: true }),
    make("p", { id: "requests-keys", class: "hint", text: say("approvals_keys") }), make("div", { id: "requests-together" })),
  make("div", { id: "requests-cards" }),
  make("p", { id: "requests-steps", class: "actions" }, button("approvals_full", () => open(chosen), { id: "requests-full", class: "approve", hidden: true }),
    button("approvals_next", () => open(next()), { id: "requests-next", disabled: true })));
dialog.addEventListener("cancel", (event) => {
  if (!("reading" in dialog.dataset)) return;
  event.preventDefault();
  back();
});
dialog.addEventListener("close", () => {
  clear();
  $("approvals").hidden = $("approvals-count").textContent === "0";
});
addEventListener("hashchange", () => location.hash.slice(1).split("/")[0] !== current && dialog.close());
new MutationObserver(drawList).observe($("requests-cards"), { childList: true, subtree: true });
setInterval(() => dialog.open && list(current), MINUTE); // requests expire, and ages grow

function clear() {
  delete dialog.dataset.reading;
  for (const id of ["requests-list", "requests-cards", "requests-together", "requests-more"]) $(id).replaceChildren();
  rows.clear();
  opened.clear();
  chosen = "";
}

/** Show the requests as they are now. */
export async function list(conversation) {
  current = conversation;
  const number = asked += 1, isFirst = rows.size === 0;
  let answer;
  try {
    answer = await request("/approvals");
  } catch (error) {
    if (number !== asked) return;
    $("requests-none").replaceChildren(error.message, " ", againButton(() => list(current)));
    $("requests-none").hidden = false;
    return;
  }
  const { approvals, more } = answer;
  if (number !== asked || !dialog.open) return;
  // A request may expire before the event stream tells the number.
  $("approvals-count").textContent = approvals.length + more;
  $("approvals").setAttribute("aria-label", say("approvals_count", { count: approvals.length + more }));
  for (const one of approvals) place(one);
  const waiting = new Set(approvals.map(({ id }) => id));
  await Promise.all([...rows.keys()].filter((id) => !waiting.has(id) && rows.get(id).frame.querySelector("[data-state=open], [data-state=applying]")).map(settle));
  $("requests-none").textContent = say("approvals_none");
  $("requests-none").hidden = rows.size > 0;
  $("requests-more").textContent = more ? say("approvals_more", { count: more }) : "";
  if (isFirst && rows.size === 1) open(approvals[0].id);
  else if (isFirst && rows.size) rows.get(approvals[0].id).row.focus();
  drawList();
}

/** Draw the card of a request, unless it is drawn as it is now. */
function place(one) {
  if (!rows.has(one.id)) add(one.id);
  const known = rows.get(one.id), { frame } = known;
  if (card.within(one.id, frame) && isWaiting(one.id) && JSON.stringify(known.request) === JSON.stringify(one)) return;
  if (!card.within(one.id, frame)) frame.replaceChildren();
  known.request = one;
  card.place(one, frame, one.conversation ?? current);
  if (one.conversation && !frame.querySelector("a")) {
    frame.append(make("a", { href: `#${one.conversation}`, text: say("approvals_open"), on: { click: () => dialog.close() } }));
  }
}

function add(id) {
  const row = make("button", { type: "button", "data-of": id, tabindex: -1, on: { focus: () => choose(id), click: () => open(id) } });
  const frame = make("section", { hidden: true });
  rows.set(id, { row, frame });
  $("requests-list").append(make("li", {}, row));
  $("requests-cards").append(frame);
}

function isWaiting(id) {
  return Boolean(rows.get(id)?.frame.querySelector('[data-state=open] > .actions > [data-action="approve"]'));
}

function isOpened(id) {
  return opened.has(card.versionShown(id));
}

/** A request no longer waits for this person. What they opened shows how it ended; the others vanish. */
async function settle(id) {
  const { row, frame } = rows.get(id);
  try {
    if (isOpened(id)) {
      card.place(await request(`/cards/${id}`), frame, current);
      return;
    }
  } catch (error) {
    if (error.status !== 404) return;
  }
  const hadFocus = [row, frame].some((part) => part.contains(document.activeElement));
  const after = next() ?? [...rows.keys()].find((other) => other !== id);
  rows.delete(id);
  row.parentElement.remove();
  frame.remove();
  if (chosen !== id) return;
  delete dialog.dataset.reading;
  if (after) choose(after);
  if (hadFocus) (rows.get(after)?.row ?? dialog.querySelector("form button")).focus();
}

/** The waiting request after the chosen one; after the last, the first. */
function next() {
  const ids = [...rows.keys()], at = ids.indexOf(chosen);
  return [...ids.slice(at + 1), ...ids.slice(0, Math.max(at, 0))].find(isWaiting);
}

/** Show the card of a request; only its beginning, and without buttons, until this version is opened in full. */
function choose(id) {
  if (chosen !== id) delete dialog.dataset.reading;
  chosen = id;
  for (const [other, { row, frame }] of rows) {
    row.tabIndex = other === id ? 0 : -1;
    row.ariaCurrent = other === id ? "true" : null;
    frame.hidden = other !== id;
  }
  drawList();
}

function open(id) {
  opened.add(card.versionShown(id));
  choose(id);
  dialog.dataset.reading = "";
  $("requests-cards").scrollTop = 0;
  rows.get(id).frame.querySelector(".card").focus({ preventScroll: true });
}

function back() {
  delete dialog.dataset.reading;
  (rows.get(chosen)?.row ?? dialog.querySelector("form button")).focus();
}

function move(event) {
  const all = [...rows.values()].map(({ row }) => row), at = all.indexOf(document.activeElement);
  const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: all.length - 1 }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  all[to]?.focus();
}

function drawList() {
  const isReading = $("requests-cards").contains(document.activeElement);
  for (const [id, { request: { asker, platform, asked_at }, row, frame }] of rows) {
    const drawn = frame.querySelector(".card"), isNew = isWaiting(id) && !isOpened(id);
    const last = isWaiting(id) ? age(asked_at) : drawn.querySelector(".badge").textContent;
    row.classList.toggle("new", isNew);
    frame.inert = isNew;
    row.replaceChildren(make("strong", { dir: "auto", text: drawn.getAttribute("aria-label") }),
      make("span", { class: "hint", dir: "auto", text: [asker || say("approvals_you"), PLATFORMS[platform] ?? say("approvals_page"), last].join(" · ") }),
      ...(isNew ? [make("span", { class: "unseen", text: say("approvals_new") })] : []));
  }
  const isClosed = Boolean(rows.get(chosen)?.frame.inert);
  $("requests-full").hidden = !isClosed;
  if (isReading && isClosed) $("requests-full").focus();
  $("requests-next").disabled = !next();
  offerTables();
}

function age(at) {
  const seconds = Math.max(0, Date.now() / 1000 - at), [unit, size] = AGES.find(([, size]) => seconds >= size) ?? AGES.at(-1);
  return new Intl.RelativeTimeFormat(locale, { numeric: "auto", style: "short" }).format(-Math.floor(seconds / size), unit);
}

/** One button for each table. It approves exactly the versions that were opened here in full. */
function offerTables() {
  const held = document.activeElement?.dataset.table, tables = new Map();
  for (const [id, { request: { table } }] of rows) if (isWaiting(id)) tables.set(table, [...(tables.get(table) ?? []), id]);
  const several = [...tables].filter(([, ids]) => ids.length > 1);
  $("requests-together").replaceChildren(...several.flatMap(([table, ids]) => {
    const seen = ids.filter(isOpened).slice(0, TOGETHER), isAll = seen.length === ids.length && !$("requests-more").textContent;
    if (seen.length < 2) return [];
    return [button(isAll ? "approve_table" : "approve_opened", () => approveTogether(seen), { class: "approve", "data-table": table,
      text: say(isAll ? "approve_table" : "approve_opened", { count: seen.length, table }) })];
  }), ...(several.length ? [make("p", { class: "hint", text: say("approvals_together") })] : []));
  if (held) [...$("requests-together").children].find(({ dataset }) => dataset.table === held)?.focus();
}

async function approveTogether([first, ...others]) {
  open(first); // its card tells how it went
  const { request: { conversation }, frame } = rows.get(first);
  await card.decide(first, "approve", conversation ?? current, frame.querySelector(".card"), { others: others.map(card.versionShown) });
  list(current);
}

export function show(conversation) {
  clear();
  $("requests-none").hidden = true;
  dialog.showModal();
  list(conversation);
}
