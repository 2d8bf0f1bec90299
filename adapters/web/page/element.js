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

addEventListener("scroll", () => {
  sticking = scrollY + innerHeight > document.documentElement.scrollHeight - NEAR;
}, { passive: true });

/** Make a change, and stay at the end of the page if the reader was there. */
export function stick(change = () => {}) {
  const following = sticking;
  change();
  if (following) scrollTo(0, document.documentElement.scrollHeight);
}

export function notice(text) {
  $("notice").textContent = text;
}
