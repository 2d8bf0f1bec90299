// A search: a place that it found, and the marks of its words in what was said.

import { $, make } from "./element.js";
import { say } from "./words.js";

export function drawHit({ id, title, turn, excerpt }, current) {
  const found = excerpt ? [make("span", { class: "excerpt", dir: "auto" }, excerpt.before, make("mark", { text: excerpt.match }), excerpt.after)] : [];
  return make("li", { "data-id": id }, make("a", { href: turn ? `#${id}/${turn}` : `#${id}`, class: "hit", "aria-current": id === current ? "page" : undefined },
    make("span", { dir: "auto", text: title || say("new") }), ...found));
}

export function mark(searched) {
  if (!globalThis.CSS?.highlights) return;
  const words = searched.toLocaleLowerCase().split(/\s+/).filter(Boolean);
  const ranges = [];
  const texts = document.createTreeWalker($("log"), NodeFilter.SHOW_TEXT);
  while (words.length && texts.nextNode()) {
    const node = texts.currentNode;
    const text = node.data.toLocaleLowerCase();
    for (const word of text.length === node.data.length ? words : []) {
      for (let at = text.indexOf(word); at >= 0; at = text.indexOf(word, at + word.length)) {
        ranges.push(new StaticRange({ startContainer: node, startOffset: at, endContainer: node, endOffset: at + word.length }));
      }
    }
  }
  CSS.highlights.set("searched", new Highlight(...ranges));
}
