// Formulas as MathML, by Temml (temml.LICENSE.txt). This module and what it loads is fetched when an
// answer first has a formula.

import { make } from "./element.js";
import { say } from "./words.js";

const MOST = 400; // formulas of one answer; more stay as they were written
const LIMITS = { trust: false, throwOnError: true, maxExpand: 300, maxSize: [20, 40] };
const drawings = new Map(); // display and formula → what is drawn
let loading;

export function load() {
  loading ??= new Promise((resolve, reject) => {
    document.head.append(make("link", { rel: "stylesheet", href: new URL("math.css", import.meta.url) }),
      make("script", { src: new URL("temml.min.js", import.meta.url), on: { load: resolve, error: reject } }));
  }).catch((error) => { loading = undefined; throw error; });
  return loading;
}

/** Show the formulas of an answer. One that cannot be read stays as it was written. */
export function typeset(body) {
  for (const place of [...body.querySelectorAll(".math")].slice(0, MOST)) {
    if (place.title) continue;
    const block = place.localName === "div";
    const tex = place.textContent;
    const drawing = draw(tex, block);
    if (!drawing) continue;
    place.replaceChildren(drawing.cloneNode(true));
    place.title = tex;
    if (block) {
      place.setAttribute("role", "group");
      place.setAttribute("aria-label", say("formula"));
    }
  }
}

/** The formula as MathML, null if it cannot be read. It is drawn once: while an answer grows, it is asked for again. */
function draw(tex, block) {
  const key = `${block} ${tex}`;
  if (!drawings.has(key)) {
    const shown = make("span");
    try {
      globalThis.temml.render(strip(tex), shown, { ...LIMITS, displayMode: block });
      const drawing = new DocumentFragment();
      drawing.append(...shown.childNodes);
      drawings.set(key, drawing);
    } catch {
      drawings.set(key, null);
    }
  }
  return drawings.get(key);
}

/** The formula without the signs around it. */
function strip(tex) {
  return /^(\$\$|\\\[|\\\(|\$)([^]*?)(\$\$|\\\]|\\\)|\$)$/.exec(tex.trim())?.[2] ?? tex;
}
