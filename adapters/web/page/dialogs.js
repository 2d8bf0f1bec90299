// Dialogs that are seldom opened. Each is drawn by its module, which is loaded for the first opening.

import { loadStyle, make } from "./element.js";
import { say } from "./words.js";

await loadStyle("dialogs.css");

/** Add a dialog with a title to the page. */
export function draw(id, title, ...children) {
  const dialog = make("dialog", { id, "aria-labelledby": `${id}-title` },
    make("h2", { id: `${id}-title`, dir: "auto", text: title }), ...children);
  document.body.append(dialog);
  return dialog;
}

/** A form whose buttons cancel and submit. `submit` is called without the page being left. */
export function form(submit, word, ...children) {
  const made = make("form", { on: { submit: (event) => { event.preventDefault(); submit(); } } }, ...children,
    make("button", { type: "button", text: say("cancel"), on: { click: () => made.closest("dialog").close() } }),
    make("button", { type: "submit", text: say(word) }));
  return made;
}

export function closing() {
  return make("form", { method: "dialog" }, make("button", { text: say("close") }));
}
