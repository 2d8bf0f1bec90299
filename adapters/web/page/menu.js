// A menu at its button, as W3C's pattern for menu buttons has it: arrows, Home, End and letters move,
// Enter and Space choose, Escape, Tab and a press beside it close. The focus returns to the button.

import "./dialogs.js"; // its style sheet
import { isComposing, make } from "./element.js";
import { icon } from "./icons.js";

const GAP = 4; // pixels between the button and its menu, and around it
let shut = () => {};

/** Open the menu of a button, or close it. An entry has a `text` and what it does: `act`, or the address
    `href`. `checked` makes it a choice, `radio` one of several. A list of entries is a group, named first.
    `onClosed` is called at the end. */
export function toggleMenu(button, entries, onClosed = () => {}) {
  const isOpen = button.getAttribute("aria-expanded") === "true";
  shut();
  if (isOpen) return;
  const close = (event) => {
    if (event?.target instanceof Node && (list.contains(event.target) || button.contains(event.target))) return;
    removeEventListener("pointerdown", close, true);
    removeEventListener("resize", close);
    shut = () => {};
    if (list.contains(document.activeElement)) button.focus({ preventScroll: true });
    button.setAttribute("aria-expanded", "false");
    list.remove();
    onClosed();
  };
  const list = make("div", { role: "menu", class: "menu-list", tabindex: "-1", popover: "manual", "aria-label": button.getAttribute("aria-label") ?? button.title,
    on: { keydown: (event) => move(event, list, close) } }, ...entries.map((entry) => draw(entry, close)));
  button.after(list);
  button.setAttribute("aria-expanded", "true");
  list.showPopover();
  place(list, button.getBoundingClientRect());
  addEventListener("pointerdown", close, true);
  addEventListener("resize", close);
  shut = close;
  items(list)[0].focus();
}

function draw(entry, close) {
  if (Array.isArray(entry)) {
    const [name, ...entries] = entry;
    return make("div", { role: "group", "aria-label": name }, make("span", { "aria-hidden": "true", class: "hint", text: name }),
      ...entries.map((one) => draw(one, close)));
  }
  const { text, act, href, download, lang, checked, radio, last, danger } = entry;
  const role = checked === undefined ? "menuitem" : radio ? "menuitemradio" : "menuitemcheckbox";
  const marks = { role, tabindex: "-1", lang, href, download, class: danger ? "last bad" : last && "last",
    "aria-checked": checked === undefined ? undefined : String(checked) };
  return make(href ? "a" : "button", { ...marks, type: href ? undefined : "button", on: { click: () => { close(); act?.(); } } },
    text, ...(checked ? [icon("check")] : []));
}

const items = (list) => [...list.querySelectorAll("[role^=menuitem]")];

function move(event, list, close) {
  if (isComposing(event) || event.ctrlKey || event.metaKey || event.altKey) return;
  const all = items(list);
  const here = all.indexOf(document.activeElement);
  const letter = event.key.length === 1 && event.key !== " " && event.key.toLocaleLowerCase();
  const next = { ArrowDown: here + 1, ArrowUp: here - 1, Home: 0, End: -1 }[event.key];
  if (event.key === "Escape" || event.key === "Tab") close();
  else if (next !== undefined) all.at(next % all.length).focus();
  else if (letter) [...all.slice(here + 1), ...all].find((one) => one.textContent.toLocaleLowerCase().startsWith(letter))?.focus();
  else if (event.key === " " && document.activeElement.matches("a")) document.activeElement.click();
  else return;
  event.stopPropagation();
  if (event.key !== "Tab") event.preventDefault();
}

function place(list, { left, right, top, bottom }) {
  const { offsetWidth: width, offsetHeight: height } = list;
  const x = left + width + GAP > innerWidth ? right - width : left;
  list.style.left = `${Math.max(GAP, x)}px`;
  list.style.top = `${Math.max(GAP, bottom + GAP + height > innerHeight ? top - GAP - height : bottom + GAP)}px`;
}
