// Pictures of buttons, drawn with lines on a field of 24 by 24. The button's name is its label.

import { make } from "./element.js";
import { say } from "./words.js";

const SPACE = "http://www.w3.org/2000/svg";
export const LINES = {
  copy: "M9 9h10v12H9zM5 15V3h10",
  check: "M5 13l4 4L19 7",
  approve: "M9 12l2.5 2.5L16 10M12 3a9 9 0 1 0 .01 0",
  edit: "M4 20h4L19 9l-4-4L4 16zM13 7l4 4",
  again: "M20 12a8 8 0 1 1-2.3-5.7M20 3v4h-4",
  more: "M5 12h.01M12 12h.01M19 12h.01",
  wide: "M9 4H4v5M4 4l6 6M15 20h5v-5M20 20l-6-6",
  down: "M12 5v14M6 13l6 6 6-6",
  send: "M12 19V5M6 11l6-6 6 6",
  stop: "M6 6h12v12H6z",
  info: "M12 11v6M12 7h.01M12 3a9 9 0 1 0 .01 0",
  ask: "M10.5 4a6.5 6.5 0 1 0 .01 0M15.5 15.5L20 20",
  change: "M4 20h4L19 9l-4-4L4 16zM13 7l4 4",
  chart: "M4 20h16M7 16v-5M12 16V6M17 16v-8",
  quick: "M13 3L5 14h6l-1 7 8-11h-6z",
  commands: "M5 6h.01M9 6h11M5 12h.01M9 12h11M5 18h.01M9 18h11",
  help: "M12 11v6M12 7h.01M12 3a9 9 0 1 0 .01 0",
  past: "M15 5l-7 7 7 7",
};
const BAD = "M12 5v9M12 19h.01", OVER = "M5 12h14";
const SIGNS = { applying: "more", checking: "more", done: "check", approved: "check", on: "check", denied: "M7 7l10 10M17 7L7 17",
  failed: BAD, partial: BAD, failing: BAD, undone: OVER, expired: OVER, withdrawn: OVER };

export const signOf = (state) => icon(SIGNS[state] ?? "M12 10a2 2 0 1 0 .01 0");

export function icon(name) {
  const svg = document.createElementNS(SPACE, "svg");
  for (const [key, value] of Object.entries({ viewBox: "0 0 24 24", "aria-hidden": "true", class: "icon" })) svg.setAttribute(key, value);
  const path = document.createElementNS(SPACE, "path");
  path.setAttribute("d", LINES[name] ?? name);
  svg.append(path);
  return svg;
}

/** A quiet button with a picture; `word` is the key of its name. */
export function iconButton(name, word, work, attributes = {}) {
  return make("button", { type: "button", class: "quiet-button", "aria-label": say(word), title: say(word),
    ...attributes, on: { click: work } }, icon(name));
}

export function copyButton(name, word, work) {
  const button = iconButton(name, word, async () => {
    await work(button);
    dress(button, "check", "copied");
    setTimeout(() => dress(button, name, word), 2000);
  }, { class: "quiet-button copy" });
  return button;
}

function dress(button, name, word) {
  button.replaceChildren(icon(name));
  button.setAttribute("aria-label", say(word));
  button.title = say(word);
}
