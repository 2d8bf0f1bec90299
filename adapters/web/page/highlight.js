// Marks the words of a search in what was said.

import { $ } from "./element.js";

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
