// Elements by id, and new ones: text always goes in as text, never as HTML.

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

/** 24 characters at random; crypto.randomUUID is missing on plain http beyond this machine. */
export function randomKey() {
  const bytes = [...crypto.getRandomValues(new Uint8Array(12))];
  return bytes.map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

const NEAR = 120; // pixels from the end within which the page follows the newest text
let sticking = true;
let isScrollDue = false;

function watch() {
  sticking = scrollY + innerHeight > document.documentElement.scrollHeight - NEAR;
}

addEventListener("scroll", watch, { passive: true });

/** Scroll to the newest text and follow it, or to another place. */
export function scrollPage(top = document.documentElement.scrollHeight) {
  scrollTo(0, top);
  watch(); // no scroll event comes if the page was there already
}

/** Make a change, and stay at the end of the page if the reader was there. To scroll, the browser lays
    out the page, so it scrolls once for all changes that are made together. */
export function stick(change = () => {}) {
  const following = sticking;
  change();
  if (!following || isScrollDue) return;
  isScrollDue = true;
  queueMicrotask(() => {
    isScrollDue = false;
    scrollTo(0, document.documentElement.scrollHeight);
  });
}

/** Whether an input method composes text with this key. Of the Enter that ends a composition, only
    the key code says so in Safari. */
export function isComposing(event) {
  return event.isComposing || event.keyCode === 229;
}

let isPassing = false;

/** Say something at the top of the page; if it is passing, until `reconnected`. */
export function notice(text, passing = false) {
  $("notice").textContent = text;
  isPassing = passing;
}

export function reconnected() {
  if (isPassing) notice("");
}
