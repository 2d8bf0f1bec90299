// The list of shortcuts.

import { closing, draw } from "./dialogs.js";
import { make } from "./element.js";
import { say } from "./words.js";

const KEYS = { "?": "help", "/": "commands", S: "search", N: "new", W: "write", "↑": "edit", Esc: "escape" };

const dialog = draw("keys-list", say("shortcuts"), make("dl", {}, ...Object.entries(KEYS).flatMap(([key, name]) =>
  [make("dt", {}, make("kbd", { text: key })), make("dd", { text: say(`key_${name}`) })])),
  make("label", { class: "share" }, make("input", { type: "checkbox", checked: localStorage.getItem("shortcuts") !== "off", on: { change: turn } }), ` ${say("shortcuts_on")}`), closing());

function turn({ target }) {
  if (target.checked) localStorage.removeItem("shortcuts");
  else localStorage.setItem("shortcuts", "off");
}

export function open() {
  dialog.showModal();
}
