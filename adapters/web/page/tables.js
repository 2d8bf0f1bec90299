// Tables of answers: figures to the right, a wide view, and the values for a spreadsheet.

import { details, make } from "./element.js";
import { copied, csv } from "./files.js";
import { copyButton, iconButton } from "./icons.js";
import { say } from "./words.js";

const FIGURE = /^[(+−-]?\s?(\p{Sc}|[A-Z]{1,3}\$?)?\s?[+−-]?\d[\d.,'’\u00a0\u202f ]*\s?(%|‰|\p{Sc}|[A-Z]{3})?\)?$/u;

const collator = new Intl.Collator(undefined, { numeric: true });

/** A click on a heading sorts the rows by their column; another one turns the order around. */
document.addEventListener("click", ({ target }) => {
  const head = target.closest?.(".table th button")?.parentElement;
  if (!head) return;
  const order = head.ariaSort === "ascending" ? -1 : 1;
  for (const other of head.parentElement.cells) other.ariaSort = null;
  head.ariaSort = order > 0 ? "ascending" : "descending";
  const key = (row) => row.cells[head.cellIndex];
  const body = head.closest("table").tBodies[0];
  body.append(...[...body.rows].sort((a, b) => order * compare(key(a), key(b))));
});

/** Numbers come before texts. */
function compare(one, other) {
  const [a, b] = [one, other].map((cell) => parseFloat(cell?.dataset.value ?? "NaN"));
  if (!isNaN(a) || !isNaN(b)) return isNaN(a) ? 1 : isNaN(b) ? -1 : a - b;
  return collator.compare(one?.textContent, other?.textContent);
}

/** Label the tables of an answer, and put their buttons under them. */
export function dress(body) {
  for (const frame of body.querySelectorAll("div.table")) {
    frame.setAttribute("role", "group");
    frame.setAttribute("aria-label", say("table"));
    alignFigures(frame.querySelector("table"));
    for (const head of frame.querySelectorAll("th")) {
      if (head.textContent.trim()) head.replaceChildren(make("button", { type: "button" }, ...head.childNodes));
    }
    frame.after(make("p", { class: "tools" },
      copyButton("copy", "copy_table", () => copied(csv(frame, "\t"))),
      iconButton("download", "download_csv", () => details((one) => one.download(frame))),
      iconButton("wide", "wide", () => details((one) => one.widen(frame)))));
  }
}

/** Columns that hold nothing but figures stand to the right, if the answer says nothing else. Where
    the first one is wide, it stays whole and scrolls with the rest. */
export function alignFigures(table) {
  const [head, ...rows] = table.rows;
  [...(head?.cells ?? [])].forEach((top, column) => {
    const cells = rows.map((row) => row.cells[column]).filter(Boolean);
    const filled = cells.filter((cell) => cell.textContent.trim() && cell.textContent.trim() !== "–");
    if (!filled.length || !filled.every((cell) => FIGURE.test(cell.textContent.trim()))) return;
    const classes = /left|center|right/.test(top.className) ? [] : ["right"];
    if (column === 0 && cells.some((cell) => cell.classList.contains("long"))) classes.push("whole");
    for (const cell of [top, ...cells]) cell.classList.add(...classes);
  });
}
