// Formulas as MathML, by Temml (temml.LICENSE.txt). This module and what it loads is fetched when an
// answer first has a formula.

import { make, stick } from "./element.js";
import { say } from "./words.js";

const MOST = 400; // formulas of one answer; more stay as they were written
const LIMITS = { trust: false, throwOnError: true, maxExpand: 300, maxSize: [20, 40] };
let loading;

function load() {
  loading ??= new Promise((resolve, reject) => {
    document.head.append(make("link", { rel: "stylesheet", href: new URL("math.css", import.meta.url) }),
      make("script", { src: new URL("temml.min.js", import.meta.url), on: { load: resolve, error: reject } }));
  });
  return loading;
}

/** Show the formulas of an answer. One that cannot be read stays as it was written. */
export async function typeset(body) {
  const places = [...body.querySelectorAll(".math")].slice(0, MOST);
  try {
    await load();
  } catch {
    loading = undefined;
    return;
  }
  stick(() => {
    for (const place of places) {
      const block = place.localName === "div";
      const tex = place.textContent;
      const shown = make("span");
      try {
        globalThis.temml.render(strip(tex), shown, { ...LIMITS, displayMode: block });
      } catch {
        continue;
      }
      place.replaceChildren(...shown.childNodes);
      place.title = tex;
      if (block) {
        place.setAttribute("role", "group");
        place.setAttribute("aria-label", say("formula"));
      }
    }
  });
}

/** The formula without the signs around it. */
function strip(tex) {
  return /^(\$\$|\\\[|\\\(|\$)([^]*?)(\$\$|\\\]|\\\)|\$)$/.exec(tex.trim())?.[2] ?? tex;
}
