// The conversations that this browser knows: a list of {id, title}, the last used first.

import { $, make } from "./element.js";
import { say } from "./words.js";

const MOST = 200;
let current = "";

export function kept() {
  try {
    const list = JSON.parse(localStorage.getItem("conversations"));
    return Array.isArray(list) ? list : [];
  } catch {
    return [];
  }
}

export function keep(id, title) {
  const list = kept();
  const known = list.find((one) => one.id === id);
  const rest = list.filter((one) => one.id !== id);
  write([{ id, title: known?.title || title }, ...rest].slice(0, MOST));
}

export function drop(id) {
  write(kept().filter((one) => one.id !== id));
}

export function show(id = current) {
  current = id;
  const known = kept();
  const here = known.find((one) => one.id === id);
  const all = here ? known : [{ id, title: "" }, ...known];
  $("list").replaceChildren(...all.map((one) => make("li", {}, make("a", {
    href: `#${one.id}`, dir: "auto", text: one.title || say("untitled"),
    "aria-current": one.id === id ? "page" : undefined,
  }))));
  $("title").textContent = here?.title || "Ponte";
  document.title = here?.title ? `${here.title} – Ponte` : "Ponte";
}

function write(list) {
  localStorage.setItem("conversations", JSON.stringify(list));
  show();
}

addEventListener("storage", () => show());
