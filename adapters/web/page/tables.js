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

/** Give the tables of a text that grows the size that they will have. */
export function prepare(content) {
  for (const figure of content.querySelectorAll("figure.chart")) figure.append(room("tools"));
  for (const frame of content.querySelectorAll("div.table")) {
    const table = frame.querySelector("table");
    alignFigures(table);
    frame.after(...(table.tBodies[0]?.rows.length > SHORT ? [room("rows")] : []), room("tools"));
  }
}

/** Label the tables of a turn's answer, and put their buttons under them. */
export function dress(body, turn) {
  for (const one of body.querySelectorAll(".room")) one.remove();
  body.querySelectorAll("figure.chart").forEach(offerChart);
  body.querySelectorAll("div.table").forEach((frame, at) => {
    frame.setAttribute("role", "group");
    frame.setAttribute("aria-label", say("table"));
    details().then((one) => one.makeSortable(frame));
    widths.observe(frame);
    frame.after(...offerRows(frame), make("p", { class: "tools" },
      copyButton("copy", "copy_table", async () => copied((await details()).cells(frame))),
      ...["CSV", "XLSX", "JSON"].map((text) => {
        const label = say("download_as", { form: text });
        return make("button", { type: "button", class: "quiet-button", "aria-label": label, title: label, text,
          on: { click: () => details().then((one) => one.download(turn, at + 1, text.toLowerCase())) } });
      }),
      iconButton("wide", "wide", () => details().then((one) => one.widen(frame)))));
  });
}

/** The buttons of a chart: copy it, and save it as a picture. */
function offerChart(figure) {
  const save = (text, label) => make("button", { type: "button", class: "quiet-button", "aria-label": label, title: label, text,
    on: { click: () => details().then((one) => one.saveChart(figure, text.toLowerCase())) } });
  figure.append(make("p", { class: "tools" },
    ...(globalThis.ClipboardItem ? [copyButton("copy", "copy_chart", async () => (await details()).copyChart(figure))] : []),
    ...["PNG", "SVG"].map((text) => save(text, say("save_as", { form: text })))));
}

/** A button that shows all rows of a table, and a box that filters them, if there are many. */
function offerRows(frame) {
  const rows = [...frame.querySelectorAll("tbody tr")];
  if (rows.length <= SHORT) return [];
  const all = make("button", { type: "button", text: say("show_all", { count: rows.length }), on: { click: () => {
    frame.classList.add("all");
    all.remove();
    frame.focus({ preventScroll: true });
  } } });
  if (rows.length <= FILTERED) return [make("p", { class: "rows" }, all)];
  const box = make("input", { type: "search", "aria-label": say("filter_rows"), placeholder: say("filter_rows"), on: { input: () => {
    const words = box.value.trim().toLocaleLowerCase();
    frame.classList.toggle("filtered", words !== "");
    for (const row of rows) row.hidden = !row.textContent.toLocaleLowerCase().includes(words);
  } } });
  return [make("p", { class: "rows" }, all, box)];
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
