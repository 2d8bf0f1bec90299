// The person's conversations, as the server lists them: the same in every browser.

import { $, make, notice } from "./element.js";
import { request } from "./server.js";
import { say } from "./words.js";

const SOON = 200; // milliseconds that typing or a burst of messages is waited out
let current = "";
let known = [];
let wanted = "";
let waiting = 0;
let asked = 0;

export async function newest() {
  await refresh();
  return known[0]?.id;
}

export function show(id = current) {
  current = id;
  const here = known.find((one) => one.id === id);
  const all = here || wanted ? known : [{ id, title: "" }, ...known];
  $("list").replaceChildren(...all.map(shown));
  $("title").textContent = here?.title || "Ponte";
  document.title = here?.title ? `${here.title} – Ponte` : "Ponte";
}

function shown({ id, title, pinned, turn }) {
  const name = title || say("untitled");
  const link = make("a", { href: turn ? `#${id}/${turn}` : `#${id}`, dir: "auto", text: name,
    "aria-current": id === current ? "page" : undefined });
  if (!title) return make("li", {}, link);
  const more = make("button", { type: "button", class: "more", text: "⋯", "aria-label": say("more", { name }),
    on: { click: () => choose({ id, title, pinned }) } });
  return make("li", { class: pinned ? "pinned" : "" }, link, more);
}

/** What can be done with one of them. */
function choose({ id, title, pinned }) {
  const dialog = $("conversation");
  const doing = (method, body) => async (event) => {
    event.preventDefault();
    dialog.close();
    await change(id, method, body?.());
  };
  $("conversation-title").textContent = title;
  $("rename").value = title;
  $("renamed").onsubmit = doing("PATCH", () => ({ title: $("rename").value }));
  $("pin").textContent = say(pinned ? "unpin" : "pin");
  $("pin").onclick = doing("PATCH", () => ({ pinned: !pinned }));
  $("export").href = `/conversations/${id}/export`;
  $("delete").onclick = (event) => {
    event.preventDefault();
    dialog.close();
    dispatchEvent(new CustomEvent("forgetting", { detail: id }));
  };
  dialog.showModal();
}

async function change(id, method, body) {
  try {
    const headers = { "Content-Type": "application/json" };
    await request(`/conversations/${id}`, { method, headers, body: JSON.stringify(body) });
  } catch (error) {
    notice(error.message);
  }
  await refresh();
}

export async function forget(id) {
  await request(`/conversations/${id}`, { method: "DELETE" });
  await refresh();
}

/** Later, and once for all that happens meanwhile. */
export function changed() {
  clearTimeout(waiting);
  waiting = setTimeout(() => refresh().catch(() => {}), SOON);
}

export function search(words) {
  wanted = words;
  changed();
}

async function refresh() {
  const number = ++asked;
  const { conversations } = await request(`/conversations?search=${encodeURIComponent(wanted)}`);
  if (number !== asked) return;
  known = conversations;
  show();
}

document.addEventListener("visibilitychange", () => document.hidden || changed());
