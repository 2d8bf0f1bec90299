// Tables and charts of answers: figures to the right, and buttons.

import { make } from "./element.js";
import { copied } from "./files.js";
import { copyButton, iconButton } from "./icons.js";
import { say } from "./words.js";

const FIGURE = /^[(+−-]?\s?(\p{Sc}|[A-Z]{1,2}\$|[A-Z]{3}\s)?\s?[+−-]?\d[\d.,'’\u00a0\u202f ]*\s?(%|‰|\p{Sc}|[A-Z]{3})?\)?$/u;

const SHORT = 10; // rows that are shown at first, as ponte.css has it
const FILTERED = 15; // a longer table has a box that filters its rows
const widths = new ResizeObserver((frames) => frames.forEach(({ target }) =>
  target.classList.toggle("fits", target.scrollWidth <= target.clientWidth)));

const details = () => import("./details.js"); // what is seldom asked for

const room = (of) => make("p", { class: `${of} room` }); // of buttons that come when the answer has ended

const rowsOf = (frame) => frame.querySelectorAll("tbody tr");

/** Give the tables of a text that grows the size that they will have. */
export function prepare(content) {
  for (const frame of content.querySelectorAll("div.table")) {
    alignFigures(frame.querySelector("table"));
    frame.before(room("above"));
    if (rowsOf(frame).length > SHORT) frame.after(room("rows"));
  }
}

/** Label the tables of a turn's answer: their controls stand in one row above the heading. */
export function dress(body, turn) {
  for (const one of body.querySelectorAll(".room")) one.remove();
  body.querySelectorAll("figure.chart").forEach(offerChart);
  body.querySelectorAll("div.table").forEach((frame, at) => {
    frame.setAttribute("role", "group");
    frame.setAttribute("aria-label", say("table"));
    details().then((one) => one.makeSortable(frame));
    widths.observe(frame);
    const download = (form) => details().then((one) => one.download(turn, at + 1, form));
    frame.before(make("div", { class: "above" }, ...offerFilter(frame),
      copyButton("copy", "copy_table", async () => copied((await details()).cells(frame))),
      downloadButton({ CSV: download, XLSX: download, JSON: download }),
      iconButton("wide", "wide", () => details().then((one) => one.widen(frame)))));
    frame.after(...offerRows(frame));
  });
}

/** A button with a menu of forms; each is called with its name in small letters. */
function downloadButton(forms) {
  const entries = Object.entries(forms).map(([text, save]) => ({ text, act: () => save(text.toLowerCase()) }));
  const button = make("button", { type: "button", class: "quiet-button download", "aria-haspopup": "menu", "aria-expanded": "false",
    text: say("download"), on: { click: async () => (await import("./menu.js")).toggleMenu(button, entries) } });
  return button;
}

/** The buttons of a chart: copy it, and save it as a picture. */
function offerChart(figure) {
  const save = (form) => details().then((one) => one.saveChart(figure, form));
  figure.append(make("div", { class: "above" },
    ...(globalThis.ClipboardItem ? [copyButton("copy", "copy_chart", async () => (await details()).copyChart(figure))] : []),
    downloadButton({ PNG: save, SVG: save })));
}

/** A button that shows all rows of a table. */
function offerRows(frame) {
  const { length: count } = rowsOf(frame);
  if (count <= SHORT) return [];
  const all = make("button", { type: "button", text: say("show_all", { count }), on: { click: () => {
    frame.classList.add("all");
    all.parentElement.remove();
    frame.focus({ preventScroll: true });
  } } });
  return [make("p", { class: "rows" }, all)];
}

/** A box that filters the rows, if there are many. */
function offerFilter(frame) {
  const rows = [...rowsOf(frame)];
  if (rows.length <= FILTERED) return [];
  const box = make("input", { type: "search", "aria-label": say("filter_rows"), placeholder: say("filter_rows"), on: { input: () => {
    const words = box.value.trim().toLocaleLowerCase();
    frame.classList.toggle("filtered", words !== "");
    for (const row of rows) row.hidden = !row.textContent.toLocaleLowerCase().includes(words);
  } } });
  return [box];
}

/** Columns that hold nothing but figures stand to the right, if the answer says nothing else. Where
    the first one is wide, it stays whole and scrolls with the rest. */
export function alignFigures(table) {
  const [head, ...rows] = table.rows;
  [...(head?.cells ?? [])].forEach((top, column) => {
    const cells = rows.map((row) => row.cells[column]).filter(Boolean);
    const filled = cells.filter((cell) => !/^–?$/.test(cell.textContent.trim()) && !cell.closest("tfoot"));
    if (!filled.length || !filled.every((cell) => FIGURE.test(cell.textContent.trim()))) return;
    const classes = /left|center|right/.test(top.className) ? [] : ["right"];
    if (column === 0 && cells.some((cell) => cell.classList.contains("long"))) classes.push("whole");
    for (const cell of [top, ...cells]) cell.classList.add(...classes);
  });
}
