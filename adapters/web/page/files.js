// Files under what was said: pictures are shown, all else is a link. What Python made is in one frame with its code.

import { make, stick } from "./element.js";
import { say } from "./words.js";

const PICTURE = /^image\/(png|jpeg|gif|webp)$/;
const CODE = "text/x-python";

/** The code of a run follows the files that it made. */
export function filesOf(files) {
  const items = [];
  let made = [];
  for (const file of files) {
    if (file.type === CODE && file.url) {
      items.push(make("li", { class: "ran" }, ...(made.length ? framed(made, file) : [unfolding(file)])));
      made = [];
    } else made.push(file);
  }
  return make("ul", { class: "files", hidden: files.length === 0 }, ...items, ...made.map(shown));
}

/** Two tabs, as W3C's pattern has them: arrows move, and the tab with the focus is shown. */
function framed(made, file) {
  const panels = [make("ul", { class: "files", role: "tabpanel" }, ...made.map(shown)), make("div", { role: "tabpanel", hidden: true })];
  const choose = (chosen) => {
    tabs.forEach((tab, at) => {
      tab.setAttribute("aria-selected", String(at === chosen));
      tab.tabIndex = at === chosen ? 0 : -1;
      panels[at].hidden = at !== chosen;
    });
    if (chosen && !panels[1].hasChildNodes()) panels[1].append(...codeOf(file));
  };
  const tabs = [say("result"), say("code")].map((text, at) => make("button", { type: "button", role: "tab", text, on: { click: () => choose(at) } }));
  const move = (event) => {
    if (!["ArrowLeft", "ArrowRight"].includes(event.key)) return;
    const other = tabs[1 - tabs.indexOf(document.activeElement)];
    other.focus();
    other.click();
  };
  tabs.forEach((tab, at) => panels[at].setAttribute("aria-label", tab.textContent));
  choose(0);
  return [make("div", { role: "tablist", "aria-label": say("ran"), on: { keydown: move } }, ...tabs), ...panels];
}

function shown(file) {
  const name = make("bdi", { text: file.name });
  if (!file.url) return make("li", {}, name);
  if (PICTURE.test(file.type)) {
    const image = make("img", { src: file.url, alt: file.name, on: { load: () => stick() } });
    return make("li", {}, make("a", { href: file.url, target: "_blank", rel: "noopener" }, image));
  }
  return make("li", {}, make("a", { href: file.url, download: file.name }, name));
}

function unfolding(file) {
  const fold = make("details", {}, make("summary", { text: say("ran") }));
  fold.addEventListener("toggle", () => fold.children.length > 1 || fold.append(...codeOf(file)));
  return fold;
}

/** The code, which is fetched now, and a link that saves it. */
function codeOf(file) {
  const code = make("code", { class: "language-python" });
  fetch(file.url).catch(() => ({ ok: false })).then(async (answer) => {
    const text = answer.ok ? await answer.text() : say("no_connection");
    stick(() => { code.textContent = text; });
    (await import("./code.js")).colour(code);
  });
  return [make("pre", { tabindex: "0", dir: "ltr", role: "group", "aria-label": say("code") }, code),
    make("a", { href: file.url, download: file.name }, make("bdi", { text: file.name }))];
}

export async function copied(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = make("textarea", { class: "unseen", text }); // plain http beyond this machine
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}
