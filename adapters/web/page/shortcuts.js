// The list of shortcuts.

import { $, make } from "./element.js";
import { say } from "./words.js";

const KEYS = { "?": "help", "/": "search", N: "new", W: "write", "↑": "edit", Esc: "escape" };

function draw() {
  const rows = Object.entries(KEYS).flatMap(([key, name]) =>
    [make("dt", {}, make("kbd", { text: key })), make("dd", { text: say(`key_${name}`) })]);
  document.body.append(make("dialog", { id: "keys-list", "aria-labelledby": "keys-title" },
    make("h2", { id: "keys-title", text: say("shortcuts") }), make("dl", {}, ...rows),
    make("form", { method: "dialog" }, make("button", { text: say("close") }))));
}

export function open() {
  if (!$("keys-list")) draw();
  $("keys-list").showModal();
}
