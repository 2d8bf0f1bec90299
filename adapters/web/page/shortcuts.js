// The list of shortcuts.

import { closing, draw } from "./dialogs.js";
import { make } from "./element.js";
import { say } from "./words.js";

const KEYS = { "?": "help", "/": "search", N: "new", W: "write", "↑": "edit", Esc: "escape" };

const dialog = draw("keys-list", say("shortcuts"), make("dl", {}, ...Object.entries(KEYS).flatMap(([key, name]) =>
  [make("dt", {}, make("kbd", { text: key })), make("dd", { text: say(`key_${name}`) })])), closing());

export function open() {
  dialog.showModal();
}
