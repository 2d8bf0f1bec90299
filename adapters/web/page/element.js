// Elements by id, and new ones: text always goes in as text, never as HTML.

import { say } from "./words.js";

export const $ = (id) => document.getElementById(id);

export function make(tag, { text, on, ...attributes } = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) element.setAttribute(name, "");
    else if (value !== undefined && value !== false) element.setAttribute(name, value);
  }
  if (text !== undefined) element.textContent = text;
  for (const [event, handler] of Object.entries(on ?? {})) element.addEventListener(event, handler);
  element.append(...children);
  return element;
}

/** Wait for a style sheet of this folder, or for its failure. */
export function loadStyle(name) {
  return new Promise((resolve) => {
    const href = new URL(name, import.meta.url);
    document.head.append(make("link", { rel: "stylesheet", href, on: { load: resolve, error: resolve } }));
  });
}

/** 24 characters at random; crypto.randomUUID is missing on plain http beyond this machine. */
export function randomKey() {
  const bytes = [...crypto.getRandomValues(new Uint8Array(12))];
  return bytes.map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

const NEAR = 120; // pixels from the end within which the page follows the newest text
const HEADER = 64; // pixels under the header at which a turn begins
const LINE = 50; // pixels by which `showWhole` scrolls at most
const SHARE = 0.4; // of the window, which a long message keeps above its answer
let sticking = true;
let isScrollDue = false;

function watch() {
  sticking = scrollY + innerHeight > document.documentElement.scrollHeight - NEAR;
}

addEventListener("scroll", watch, { passive: true });

export function scrollPage(top = document.documentElement.scrollHeight) {
  scrollTo(0, top);
  watch(); // no scroll event comes if the page was there already
}

/** Where to scroll so that the turn that runs, or else the last one, begins at the top of the window. Of a
    long message only the end is shown above its answer. */
export function beginning() {
  const items = [...$("log").querySelectorAll(":scope > li:not(.quiet)")];
  const item = items.find((one) => one.querySelector('[aria-busy="true"]')) ?? items.at(-1);
  if (!item) return 0;
  const [top, answer] = [item, item.querySelector(".answer")].map((one) => one.getBoundingClientRect().top);
  return scrollY - HEADER + Math.max(top, item.querySelector(".answer").hidden ? top : answer - innerHeight * SHARE);
}

/** Make a change, and follow the end of the page if the reader was there, until the turn begins at the top
    of the window. Who went beyond that follows the end. To scroll, the browser lays out the page: it
    scrolls once for all changes that are made together. */
export function stick(change = () => {}) {
  const following = sticking;
  change();
  if (!following || isScrollDue) return;
  isScrollDue = true;
  queueMicrotask(() => {
    isScrollDue = false;
    if ($("log").getBoundingClientRect().bottom <= $("ask").getBoundingClientRect().top) return;
    const end = document.documentElement.scrollHeight - innerHeight, begin = beginning();
    const goal = scrollY > begin + LINE ? end : Math.min(end, begin);
    if (goal > scrollY) scrollTo(0, goal);
    sticking = end - goal < NEAR;
  });
}

/** Scroll by the part of a line that the message box covers. One that it covers whole stays where it is. */
export function showWhole(line) {
  const { bottom, height } = line.getBoundingClientRect(), covered = bottom - $("ask").getBoundingClientRect().top;
  if (covered > 0 && covered < height) scrollBy(0, covered);
}

/** Whether an input method composes text with this key. Of the Enter that ends a composition, only
    the key code says so in Safari. */
export function isComposing(event) {
  return event.isComposing || event.keyCode === 229;
}

let isPassing = false;
let isOffline = false;

/** Say something at the top of the page; if it is passing, until `reconnected`. `again` does it once more. */
export function notice(text, passing = false, again = null) {
  isPassing = passing || (isOffline && !text);
  $("notice").replaceChildren(isPassing && isOffline ? say("offline_now") : text, ...(again ? [" ", againButton(again)] : []));
}

export function againButton(again) {
  return make("button", { type: "button", class: "unsent", text: say("again"), on: { click: again } });
}

/** Ponte answers: what waits can go out. */
export function reconnected() {
  if (isOffline) return;
  if (isPassing) notice("");
  dispatchEvent(new Event("reconnected"));
}

/** The browser says whether it has a network. Ponte on this machine answers without one. */
export function setOffline(offline) {
  isOffline = offline;
  if (offline) notice("", true);
}
