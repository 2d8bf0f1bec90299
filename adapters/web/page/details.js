// What is asked of an answer now and then: its tokens and cost, the answer before it, a table alone.

import { $, againButton, loadStyle, make, notice, stick } from "./element.js";
import { grow } from "./growing.js";
import { request } from "./server.js";
import { locale, moment, say } from "./words.js";

await Promise.all(["details.css", "data.css"].map(loadStyle));

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
    body.replaceChildren(error.message, " ", againButton(() => { home.remove(); showEarlier(turn, above, dress); }));
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
    line.replaceChildren(error.message, " ", againButton(() => { line.remove(); showUsage(shown, button); }));
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

const ANCHORS = { middle: "center", end: "end" };
const TITLE = 30, KEY = 22; // pixels of the title of a chart and of each line of its legend

/** Draw a chart on a canvas of twice its size, as it is on the page. */
function paint(figure) {
  const svg = figure.querySelector("svg"), { width, height } = svg.viewBox.baseVal;
  const keys = [...figure.querySelectorAll("li")], page = getComputedStyle(document.body);
  const canvas = make("canvas", { width: 2 * width, height: 2 * (TITLE + height + KEY * keys.length) });
  const pen = canvas.getContext("2d");
  const write = (text, x, y, size, weight = "") => {
    pen.font = `${weight} ${size} ${page.fontFamily}`;
    pen.fillText(text, x, y);
  };
  pen.scale(2, 2);
  pen.fillStyle = page.backgroundColor;
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.fillStyle = page.color;
  write(figure.querySelector("figcaption").textContent, 8, 20, "15px", "600");
  pen.translate(0, TITLE);
  for (const one of svg.children) {
    const style = getComputedStyle(one);
    if (style.display === "none") continue;
    pen.fillStyle = style.fill;
    if (one.localName === "text") {
      pen.textAlign = ANCHORS[one.getAttribute("text-anchor")];
      write(one.textContent, one.getAttribute("x"), one.getAttribute("y"), style.fontSize);
      continue;
    }
    const shape = new Path2D(one.getAttribute("d") ?? "");
    if (one.localName === "circle") shape.arc(one.getAttribute("cx"), one.getAttribute("cy"), one.getAttribute("r"), 0, 7);
    pen.globalAlpha = style.fillOpacity;
    if (style.fill !== "none") pen.fill(shape);
    [pen.globalAlpha, pen.strokeStyle, pen.lineWidth] = [style.strokeOpacity, style.stroke, parseFloat(style.strokeWidth)];
    if (style.stroke !== "none") pen.stroke(shape);
    pen.globalAlpha = 1;
  }
  pen.textAlign = "start";
  keys.forEach((key, at) => {
    pen.fillStyle = getComputedStyle(key, "::before").backgroundColor;
    pen.fillRect(8, height + KEY * at + 2, 12, 12);
    pen.fillStyle = page.color;
    write(key.textContent, 26, height + KEY * at + 13, "13px");
  });
  return new Promise((resolve) => canvas.toBlob(resolve));
}

/** The drawing as a file of its own: what the style sheet says stands in each element. */
function serialize(figure) {
  const svg = figure.querySelector("svg"), copy = svg.cloneNode(true), { width, height } = svg.viewBox.baseVal;
  [...svg.children].forEach((one, at) => {
    const style = getComputedStyle(one);
    for (const name of ["fill", "fill-opacity", "stroke", "stroke-opacity", "stroke-width", "font-size", "font-family", "display"]) {
      copy.children[at].setAttribute(name, style.getPropertyValue(name));
    }
  });
  for (const [name, value] of Object.entries({ xmlns: svg.namespaceURI, width, height })) copy.setAttribute(name, value);
  return new Blob([new XMLSerializer().serializeToString(copy)], { type: "image/svg+xml" });
}

export async function copyChart(figure) {
  await navigator.clipboard.write([new ClipboardItem({ "image/png": paint(figure) })]);
}

export async function saveChart(figure, form) {
  const href = URL.createObjectURL(form === "png" ? await paint(figure) : serialize(figure));
  const title = figure.querySelector("figcaption").textContent.replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-+|-+$/g, "");
  make("a", { href, download: `${title || "chart"}.${form}` }).click();
  setTimeout(() => URL.revokeObjectURL(href), 10_000);
}

/** Show a picture large, over the page. */
export function enlarge({ src, alt }) {
  if (!$("picture")) {
    document.body.append(make("dialog", { id: "picture" }, make("img", { id: "large" }),
      make("form", { method: "dialog" }, make("button", { text: say("close") }))));
  }
  Object.assign($("large"), { src, alt });
  $("picture").showModal();
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
  const item = make("li", {}, make("span", { text }), make("time", { datetime: when.toISOString(), text: moment(when) }), close);
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

/** Make buttons of the headings. */
export function makeSortable(frame) {
  for (const head of frame.querySelectorAll("th")) {
    if (!head.textContent.trim() || head.querySelector("button")) continue;
    head.replaceChildren(make("button", { type: "button" }, ...head.childNodes));
  }
}

document.addEventListener("click", ({ target }) => {
  const head = target.closest?.(".table th button")?.parentElement;
  if (head) sort(head);
});
