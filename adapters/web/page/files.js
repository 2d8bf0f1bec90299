// Files under what was said: pictures are shown, code that ran unfolds, all else is a link.

import { make, stick } from "./element.js";
import { say } from "./words.js";

const PICTURE = /^image\/(png|jpeg|gif|webp)$/;
const CODE = "text/x-python";

export function filesOf(files) {
  return make("ul", { class: "files", hidden: files.length === 0 }, ...files.map(shown));
}

function shown(file) {
  const name = make("bdi", { text: file.name });
  if (!file.url) return make("li", {}, name);
  if (PICTURE.test(file.type)) {
    const image = make("img", { src: file.url, alt: file.name, on: { load: () => stick() } });
    return make("li", {}, make("a", { href: file.url, target: "_blank", rel: "noopener" }, image));
  }
  const link = make("a", { href: file.url, download: file.name }, name);
  return file.type === CODE ? make("li", { class: "ran" }, unfolding(file, link)) : make("li", {}, link);
}

/** The code is fetched when it is first unfolded. */
function unfolding(file, link) {
  const code = make("code");
  const pre = make("pre", { tabindex: "0", dir: "ltr", role: "group", "aria-label": say("code") }, code);
  const fold = make("details", {}, make("summary", { text: say("ran") }), pre, link);
  fold.addEventListener("toggle", async () => {
    if (!fold.open || code.textContent) return;
    const answer = await fetch(file.url).catch(() => ({ ok: false }));
    const text = answer.ok ? await answer.text() : say("no_connection");
    stick(() => { code.textContent = text; });
  });
  return fold;
}

export async function copied(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = make("textarea", { class: "unseen", text }); // plain http beyond this machine
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}
