// What is asked of an answer now and then: its tokens and cost, the answer before it, a table alone.

import { $, make, notice, stick } from "./element.js";
import { grow } from "./growing.js";
import { request } from "./server.js";
import { locale, say } from "./words.js";

await new Promise((resolve) => {
  const href = new URL("details.css", import.meta.url);
  document.head.append(make("link", { rel: "stylesheet", href, on: { load: resolve, error: resolve } }));
});

/** Show the answers that stood here before, or hide them. `dress` labels their tables. */
export async function toggleEarlier(shown, button, dress) {
  const old = shown.answer.querySelectorAll(".earlier");
  button.setAttribute("aria-expanded", String(old.length === 0));
  if (old.length) return old.forEach((one) => one.remove());
  await showEarlier(shown.replaces, shown.tools, dress);
}

async function showEarlier(turn, above, dress) {
  const body = make("div");
  const home = make("section", { class: "earlier" }, make("h3", { text: say("earlier") }), body);
  stick(() => above.after(home));
  try {
    const before = await request(`/turns/${turn}?html=1`);
    grow(body, before.html);
    dress(body, turn);
    if (before.replaces) await showEarlier(before.replaces, home, dress);
  } catch (error) {
    body.textContent = error.message;
  }
}

/** Tokens and cost of an answer, asked for when somebody wants to know. */
export async function showUsage(shown, button) {
  const old = shown.answer.querySelector(".usage");
  button.setAttribute("aria-expanded", String(!old));
  if (old) return old.remove();
  const line = make("p", { class: "usage", role: "status" });
  stick(() => shown.tools.after(line));
  try {
    const used = await request(`/turns/${shown.turn}/usage`);
    const number = (value) => value.toLocaleString(locale);
    const words = [say("usage_tokens", { input: number(used.input), output: number(used.output) })];
    if (used.cost !== null) {
      words.push(used.cost.toLocaleString(locale, { style: "currency", currency: "USD", maximumSignificantDigits: 3 }));
    }
    if (used.model) words.unshift(used.model);
    line.textContent = (used.estimated ? "≈ " : "") + words.join(" · ");
  } catch (error) {
    line.textContent = error.message;
  }
}

const FORMULA = /^[ \n]*[=+\-@\t\r＝＋－＠]/;
const NUMBER = /^[+-]?\d[\d.,\u00a0\u202f ]*(e[+-]?\d+)?%?$/i;

/** The cells of a table, as a spreadsheet pastes them. It runs what begins as a formula: an
    apostrophe before it, as in exports. */
export function cells(table) {
  const quoted = (text) => {
    const safe = FORMULA.test(text) && !NUMBER.test(text) ? `'${text}` : text;
    return /["\n\r\t]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  return [...table.querySelectorAll("tr")]
    .map((row) => [...row.cells].map((cell) => quoted(cell.innerText)).join("\t")).join("\r\n");
}

/** Download a table of an answer. The file is named after the conversation, if the server gives it no name. */
export function download(turn, number, form) {
  const href = `/turns/${turn}/tables/${number}?format=${form}`;
  const title = $("title").textContent.trim().replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-+|-+$/g, "").slice(0, 60);
  make("a", { href, download: `${title || "table"}.${form}` }).click();
}

export function widen(frame) {
  if (!$("wide")) {
    document.body.append(make("dialog", { id: "wide", "aria-labelledby": "wide-title" },
      make("form", { method: "dialog" }, make("h2", { id: "wide-title", text: say("table") }), make("button", { text: say("close") })),
      make("div", { id: "wide-table" })));
  }
  const copy = frame.cloneNode(true);
  copy.classList.remove("fits");
  $("wide-table").replaceChildren(copy);
  $("wide").showModal();
  copy.focus();
}

/** Show the sentences to this person. */
export function showNotices(waiting) {
  $("person-notices").replaceChildren(...waiting.map(drawNotice));
}

/** A sentence to this person, which stays until they close it. */
function drawNotice({ id, text, at }) {
  const when = new Date(at * 1000);
  const close = make("button", { type: "button", text: say("close"), on: { click: () => request(`/me/notices/${id}`, { method: "DELETE" })
    .then(() => { item.remove(); ($("person-notices").querySelector("button") ?? $("text")).focus(); },
      (error) => notice(error.message)) } });
  const item = make("li", {}, make("span", { text }), make("time", { datetime: when.toISOString(), text: when.toLocaleDateString(locale) }), close);
  return item;
}

const collator = new Intl.Collator(locale, { numeric: true });

/** Sort the rows of a table by the column of a heading, at the second time the other way round. */
function sort(head) {
  const order = head.ariaSort === "ascending" ? -1 : 1;
  for (const other of head.parentElement.cells) other.ariaSort = null;
  head.ariaSort = order > 0 ? "ascending" : "descending";
  const body = head.closest("table").tBodies[0], cell = (row) => row.cells[head.cellIndex];
  body.append(...[...body.rows].sort((a, b) => order * compare(cell(a), cell(b))));
}

/** Numbers come before texts. */
function compare(one, other) {
  const [a, b] = [one, other].map((cell) => parseFloat(cell?.dataset.value ?? "NaN"));
  if (!isNaN(a) || !isNaN(b)) return isNaN(a) ? 1 : isNaN(b) ? -1 : a - b;
  return collator.compare(one?.textContent, other?.textContent);
}

/** Make buttons of the headings. A table of a chart stands under it, so their style is loaded too. */
export function makeSortable(frame) {
  if (!document.querySelector("link[href$='data.css']")) {
    document.head.append(make("link", { rel: "stylesheet", href: new URL("data.css", import.meta.url) }));
  }
  for (const head of frame.querySelectorAll("th")) {
    if (!head.textContent.trim() || head.querySelector("button")) continue;
    head.replaceChildren(make("button", { type: "button" }, ...head.childNodes));
  }
}

document.addEventListener("click", ({ target }) => {
  const head = target.closest?.(".table th button")?.parentElement;
  if (head) sort(head);
});
