// The person's conversations, as the server lists them: the same in every browser. Searched, they are
// a list of the places that were found.

import { $, againButton, make } from "./element.js";
import { icon } from "./icons.js";
import { request } from "./server.js";
import { locale, say } from "./words.js";

const SOON = 200; // milliseconds that typing or a burst of messages is waited out
const DAY = 86400000;
const TITLED = [2000, 6000, 15000]; // milliseconds after the first answer at which its title may be there
let current = "";
let known = [];
let isLoaded = false; // whether the list was read once
const first = new Map(); // conversation → the beginning of what was sent to it first
let wanted = ""; // the words of a search, as the list shows them
let drawHit; // of a search
let waiting = 0;
let asked = 0;

export async function newest() {
  await refresh();
  return known[0]?.id;
}

export function searched() {
  return wanted;
}

/** Until it has a title, a conversation is listed under its first words. */
export function began(id, words) {
  first.set(id, first.get(id) ?? words.slice(0, 60));
  show();
}

export function show(id = current) {
  current = id;
  if ($("list").querySelector("input, [aria-expanded=true]")) return; // a name is typed, or a menu is open
  const focused = document.activeElement?.closest("#list :is(a, button)");
  const held = focused?.closest("li").dataset.id;
  if (wanted) $("list").replaceChildren(make("ul", {}, ...known.map((one) => drawHit(one, current))));
  else $("list").replaceChildren(...groups());
  if (held) $("list").querySelector(`[data-id="${held}"] ${focused.tagName}`)?.focus({ preventScroll: true });
  const here = known.find((one) => one.id === id);
  if (here || !wanted) {
    $("title").textContent = here?.title || "Ponte";
    document.title = here?.title ? `${here.title} – Ponte` : "Ponte";
    $("options").hidden = !here;
  }
  $("matches").textContent = wanted ? say(known.length ? "found" : "found_none", { count: known.length }) : "";
}

/** Pinned ones first, then by the day of the last message. */
function groups() {
  const here = known.some((one) => one.id === current);
  const all = here || !isLoaded || !first.has(current) ? known : [{ id: current, title: "", at: Date.now() / 1000 }, ...known];
  const made = new Map();
  for (const one of all) {
    const name = one.pinned ? say("pinned") : age(new Date(one.at * 1000));
    made.set(name, [...(made.get(name) ?? []), item(one)]);
  }
  return [...made].map(([name, items]) => make("section", {}, make("h2", { text: name }), make("ul", {}, ...items)));
}

function age(then) {
  const today = new Date();
  const days = Math.round((new Date(today).setHours(0, 0, 0, 0) - new Date(then).setHours(0, 0, 0, 0)) / DAY);
  if (days < 1) return say("today");
  if (days < 2) return say("yesterday");
  if (days < 8) return say("last_week");
  if (days < 31) return say("last_month");
  const year = then.getFullYear() === today.getFullYear() ? undefined : "numeric";
  return then.toLocaleDateString(locale, { month: "long", year });
}

function item({ id, title, pinned }) {
  const name = title || first.get(id) || say("new");
  const link = make("a", { href: `#${id}`, dir: "auto", text: name, title: name, "aria-current": id === current ? "page" : undefined });
  if (!title) return make("li", { "data-id": id }, link);
  const more = make("button", { type: "button", class: "more", "aria-haspopup": "menu", "aria-expanded": "false", "aria-label": say("more", { name }),
    on: { click: () => chooseListed({ id, title, pinned }) } }, icon("more"));
  return make("li", { class: pinned ? "pinned" : "", "data-id": id }, link, more);
}

/** What can be done with the one that is open. */
export async function chooseCurrent() {
  const here = () => known.find((one) => one.id === current);
  if (!here()) await refresh().catch(() => {}); // its first message may be newer than the list
  (await import("./options.js")).open($("options"), here() ?? { id: current, title: "" }, $("title"), changed);
}

/** The list may be drawn again while what is asked for the first time is loaded. */
async function chooseListed(one) {
  const options = await import("./options.js");
  const row = $("list").querySelector(`[data-id="${one.id}"]`);
  if (row) options.open(row.querySelector(".more"), one, row.querySelector("a"), changed);
}

export async function forget(id) {
  await request(`/conversations/${id}`, { method: "DELETE" });
  await refresh();
}

/** Later, and once for all that happens meanwhile. */
export function changed() {
  clearTimeout(waiting);
  waiting = setTimeout(() => refresh().catch((error) => {
    if (error.status > 401) $("matches").replaceChildren(error.message, " ", againButton(changed));
  }), SOON);
}

/** The model makes the title after the first answer, which is all that the page is told of. */
export function awaitTitle() {
  for (const later of TITLED) setTimeout(changed, later);
}

async function refresh() {
  const number = ++asked;
  const words = $("search").value.trim();
  const { conversations } = await request(`/conversations?search=${encodeURIComponent(words)}`);
  if (words) ({ drawHit } = await import("./highlight.js"));
  if (number !== asked) return;
  known = conversations;
  isLoaded = true;
  $("list").setAttribute("aria-busy", "false");
  wanted = words;
  show();
  dispatchEvent(new Event("searched"));
}

document.addEventListener("visibilitychange", () => document.hidden || changed());
