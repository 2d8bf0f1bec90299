// Tables of answers: figures to the right, a wide view, and the values for a spreadsheet.

import { $, make } from "./element.js";
import { copied, csv } from "./files.js";
import { copyButton, iconButton } from "./icons.js";
import { say } from "./words.js";

const FIGURE = /^[(+−-]?\s?(\p{Sc}|[A-Z]{1,3}\$?)?\s?[+−-]?\d[\d.,'’\u00a0\u202f ]*\s?(%|‰|\p{Sc}|[A-Z]{3})?\)?$/u;

/** Label the tables of an answer, and put their buttons under them. */
export function dress(body) {
  for (const frame of body.querySelectorAll("div.table")) {
    frame.setAttribute("role", "group");
    frame.setAttribute("aria-label", say("table"));
    alignFigures(frame.querySelector("table"));
    frame.after(make("p", { class: "tools" },
      copyButton("copy", "copy_table", () => copied(csv(frame, "\t"))),
      iconButton("download", "download_csv", () => download(frame)),
      iconButton("wide", "wide", () => widen(frame))));
  }
}

/** Columns that hold nothing but figures stand to the right, if the answer says nothing else. */
function alignFigures(table) {
  const [head, ...rows] = table.rows;
  [...(head?.cells ?? [])].forEach((top, column) => {
    const cells = rows.map((row) => row.cells[column]).filter(Boolean);
    const filled = cells.filter((cell) => cell.textContent.trim() && cell.textContent.trim() !== "–");
    if (/left|center|right/.test(top.className) || !filled.length) return;
    if (!filled.every((cell) => FIGURE.test(cell.textContent.trim()))) return;
    for (const cell of [top, ...cells]) cell.classList.add("right");
  });
}

/** A file that a spreadsheet opens: the mark at its beginning says that it is UTF-8. */
function download(frame) {
  const title = $("title").textContent.trim().replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-+|-+$/g, "").slice(0, 60);
  const file = new Blob(["\ufeff", csv(frame, ","), "\r\n"], { type: "text/csv" });
  const link = make("a", { href: URL.createObjectURL(file), download: `${title || "table"}.csv` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

function widen(frame) {
  const copy = frame.cloneNode(true);
  $("wide-table").replaceChildren(copy);
  $("wide").showModal();
  copy.focus();
}
