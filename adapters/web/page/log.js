// What was said: one item per turn, with the person's words, the answer as it grows, cards, files.

import * as card from "./card.js";
import { $, againButton, make, showWhole, stick } from "./element.js";
import { awaitTitle, changed } from "./conversations.js";
import { copied, filesOf } from "./files.js";
import { grow } from "./growing.js";
import { copyButton, iconButton } from "./icons.js";
import * as notices from "./notices.js";
import * as tables from "./tables.js";
import { clock, say } from "./words.js";

const details = () => import("./details.js");
let counting = 0;
const SOURCE = say("source").split(",")[0].trim(); // how a line that names a source begins
const ZONE = /^([^]*)( \([^()]+\))(\.[^]*)$/; // before the zone of its time, the zone, after it
const BUTTON = /^(rerun|save|watch) [a-z2-7]{16}( |$)/; // sent by a button
let colour = () => {}; // of code, once loaded
import("./code.js").then((code) => {
  ({ colour } = code);
  for (const one of $("log").querySelectorAll("pre > code")) colour(one);
}, () => {});
let typeset; // formulas, once its library is loaded
const turns = new Map(); // turn → its parts; before the server named it, its event key → the same
let conversation = "";

export function clear(id) {
  conversation = id;
  turns.clear();
  card.clear();
  $("log").replaceChildren();
  $("stop").hidden = true;
}

/** Show all messages and answers so far. What was sent while they were loaded, and is not among
    them, is newer than they are. */
export function showAll(messages) {
  const early = [...turns.values()];
  for (const one of messages) {
    (one.role === "user" ? showMessage : showAnswer)(one);
    $("log").append(turns.get(one.turn).item);
  }
  const listed = new Set(messages.map((one) => one.turn));
  $("log").append(...early.filter((one) => !listed.has(one.turn)).map((one) => one.item));
}

export function isEmpty() {
  return turns.size === 0;
}

export function running() {
  return [...turns.values()].find((one) => one.running);
}

export function place(turn, at = Date.now() / 1000) {
  if (turns.has(turn)) return turns.get(turn);
  const time = new Date(at * 1000);
  const link = make("a", { class: "at", href: `#${conversation}/${turn}`, title: say("message_link") },
    make("time", { datetime: time.toISOString(), text: clock(time) }));
  const shown = {
    turn, running: false, clicked: false, text: "", doing: "",
    item: make("li", { id: `turn-${turn}` }), replaces: "",
    said: make("div", { class: "said", role: "group", "aria-label": say("you"), hidden: true }),
    answer: make("div", { class: "answer", role: "group", "aria-label": "Ponte", hidden: true }),
    body: make("div", { class: "body" }), extra: make("div", { class: "extra" }),
    sources: make("div", { class: "sources" }), progress: make("p", { class: "progress" }), tools: make("p", { class: "tools" }),
  };
  shown.said.append(make("h2", { class: "unseen", text: say("you") }), link);
  shown.answer.append(make("h2", { class: "unseen", text: "Ponte" }), shown.body, shown.extra, shown.sources, shown.progress, shown.tools);
  shown.item.append(shown.said, shown.answer);
  stick(() => $("log").append(shown.item));
  turns.set(turn, shown);
  $("welcome").hidden = true;
  return shown;
}

export function showMessage(message) {
  name(message.event_key, message.turn);
  const shown = place(message.turn, message.at);
  const button = BUTTON.exec(message.text)?.[1], clicked = message.clicked || ["save", "watch"].includes(button);
  Object.assign(shown, { text: message.text, files: message.files, clicked, button: button ?? message.unasked, replaces: message.replaces ?? "" });
  shown.key = message.event_key;
  delete shown.item.dataset.unsent;
  for (const old of shown.said.querySelectorAll(".words, .files, .tools")) old.remove();
  const edit = make("p", { class: "tools last" }, iconButton("edit", "edit", () => asking(shown, "edit")));
  shown.said.append(words(button ? say(button) : message.text), filesOf(message.files), ...(button ? [] : [edit]));
  shown.said.hidden = clicked || message.unasked;
  const at = shown.said.querySelector(".at");
  if (message.unasked && at) shown.answer.prepend(make("p", { class: "sender" }, "Ponte · ", at)); // as a reminder, which nobody wrote
  shown.item.classList.toggle("clicked", clicked);
  quiet(shown);
  if (message.state === "new" || message.state === "running") run(shown, true);
  if (clicked) return;
  for (const old of document.querySelectorAll(".choices")) old.remove();
  changed();
}

const FENCED = /^(`{3,}|~{3,})[ \t]*([\w+#.-]*)[^\n]*\n([^]*?)^\1[ \t]*$/gm;

/** What a person wrote, as they wrote it; what they fenced is shown as code. */
function words(text) {
  const pieces = [];
  let at = 0;
  for (const found of text.matchAll(FENCED)) {
    const code = make("code", { class: `language-${found[2]}`, text: found[3].replace(/\n$/, "") });
    colour(code);
    pieces.push(text.slice(at, found.index).replace(/\n$/, ""), framed(code));
    at = found.index + found[0].length + 1;
  }
  return make("div", { class: "words", dir: "auto" }, ...[...pieces, text.slice(at)].filter(Boolean));
}

function framed(code) {
  const pre = make("pre", { tabindex: "0", dir: "ltr" }, code);
  label(pre, code);
  return pre;
}

/** The language of a piece of code, and a button that copies it, on top of it. */
function label(pre, code) {
  pre.setAttribute("role", "group");
  pre.setAttribute("aria-label", say("code"));
  const language = /language-([\w+#.-]+)/.exec(code.className)?.[1] ?? "";
  pre.prepend(make("span", { class: "bar" }, make("span", { text: language }),
    copyButton("copy", "copy", (button) => copied(button.closest("pre").querySelector("code").textContent))));
}

/** The person's last words once more, as they are or to be changed first. */
function asking(shown, how) {
  dispatchEvent(new CustomEvent("asking", { detail: { how, turn: shown.turn, text: shown.text, files: shown.files } }));
}

export function lastAsked() {
  return [...turns.values()].filter((one) => !one.clicked && !one.button && !one.running && !one.item.dataset.unsent).at(-1);
}

export function isLast(turn) {
  return [...turns.values()].filter((one) => !one.clicked).at(-1)?.turn === turn;
}

/** Another turn is asked in its place. */
export function withdraw(turn) {
  turns.get(turn)?.item.remove();
  turns.delete(turn);
}

/** The server's name for what was shown under its event key. */
export function name(key, turn) {
  const early = turns.get(key), shown = turns.get(turn) ?? early;
  if (!early || key === turn) return;
  if (shown !== early) {
    shown.said.replaceWith(early.said);
    early.item.replaceWith(shown.item);
    shown.said = early.said;
    turns.delete(key);
  }
  rename(shown, turn);
}

function rename(shown, turn) {
  turns.delete(shown.turn);
  turns.set(turn, shown);
  shown.turn = turn;
  shown.item.id = `turn-${turn}`;
  shown.item.querySelector(".at").href = `#${conversation}/${turn}`;
}

/** A click whose answer stands on its card takes no room. */
function quiet(shown) {
  shown.item.classList.toggle("quiet", shown.said.hidden && shown.answer.hidden);
}

function run(shown, going) {
  shown.running = going;
  shown.answer.querySelector(":scope > .unsent")?.remove();
  shown.answer.hidden = shown.clicked;
  quiet(shown);
  shown.answer.setAttribute("aria-busy", String(going));
  const first = running();
  if (going) details().catch(() => {}); // its style sheets, before the answer has tables
  shown.progress.textContent = going ? say(first === shown ? "thinking" : "waiting") : "";
  $("stop").hidden = !first;
  shown.began = going ? shown.began || Date.now() : 0;
  count();
  if (!going && first && !first.body.hasChildNodes()) first.progress.textContent = say("thinking");
}

/** For how long it works, from the fifth second on. */
function count() {
  clearTimeout(counting);
  for (const { began, progress } of turns.values()) {
    const seconds = began ? Math.floor((Date.now() - began) / 1000) : 0;
    if (seconds >= 5) progress.dataset.seconds = seconds;
    else delete progress.dataset.seconds;
  }
  if (running()) counting = setTimeout(count, 1000);
}

export function showProgress({ turn, text }) {
  const shown = place(turn);
  shown.doing = text;
  stick(() => { shown.progress.textContent = text || say(shown.body.hasChildNodes() ? "writing" : "thinking"); });
}

export function showText({ turn, html }) {
  const shown = place(turn);
  stick(() => {
    shown.answer.hidden = false;
    quiet(shown);
    fill(shown, html);
    shown.progress.textContent = shown.doing || say("writing");
  });
  if (shown.body.querySelector(".table")) showSource(shown);
}

/** The message box cuts no line of a source, or its room. */
function showSource(shown) {
  queueMicrotask(() => showWhole(shown.sources)); // after `stick` has scrolled
}

export function showCard({ turn, ...data }) {
  if (turns.get(turn)?.running) return; // its answer brings it
  stick(() => card.place(data, place(turn).extra, conversation));
}

export function showAnswer(answer) {
  const shown = place(answer.turn, answer.at);
  run(shown, false);
  stick(() => {
    for (const one of shown.body.querySelectorAll(".above:not(.room)")) one.remove();
    fill(shown, answer.html);
    if (answer.response !== undefined) $("spoken").textContent = answer.html ? shown.body.textContent : answer.response;
    tables.dress(shown.body, shown.turn);
    const again = iconButton("again", answer.status === "failed" ? "again" : "ask_again", () => asking(shown, "again"));
    again.classList.add("last");
    if (answer.status === "failed") {
      again.replaceChildren(say("again"));
      again.className = "unsent last";
    }
    const copy = copyButton("copy", "copy_answer", () => copied(answer.text ?? answer.response));
    const info = iconButton("info", "usage", () => details().then((one) => one.showUsage(shown, info)), { "aria-expanded": "false" });
    shown.tools.replaceChildren(...(answer.html ? [copy] : []), ...(shown.clicked || shown.button ? [] : [again, info]),
      ...(shown.replaces ? [earlier(shown)] : []));
    if (answer.rerun) import("./saved.js").then((one) => one.offer(shown, conversation, () => asking(shown, "rerun")), () => {});
    if (answer.choices) import("./feedback.js").then((one) => one.choose(shown, conversation, answer.choices), () => {});
    if (answer.vote !== undefined) import("./feedback.js").then((one) => one.show(shown, answer.vote), () => {});
    if (answer.response !== undefined) {
      changed();
      if (turns.size === 1) awaitTitle();
      if (!shown.clicked) notices.onAnswer(conversation);
    }
    shown.progress.textContent = answer.html || answer.status === "done" ? "" : say(answer.status);
    shown.answer.dataset.status = answer.status;
    shown.extra.querySelector(":scope > .files")?.remove();
    shown.extra.prepend(filesOf(answer.files));
    for (const one of answer.cards) card.place(one, shown.extra, conversation);
    shown.answer.hidden = answer.quiet || (shown.clicked && settled(shown, answer));
    quiet(shown);
  });
  if (answer.response !== undefined) showSource(shown);
}

/** A click's answer belongs to its card; that a turn was stopped is told by the turn. */
function settled(shown, answer) {
  if (answer.aloud) return false;
  const [word, id] = shown.text.split(/[ .]/); // without the card's revision
  const told = ["stop", "save", "watch"].includes(word) || (!card.within(id, shown.extra) && card.tell(id, answer.text ?? answer.response));
  return told && !answer.cards.some((one) => card.within(one.id, shown.extra));
}

/** Say what went wrong with a turn. `button` does something about it. */
export function showTrouble({ turn, message }, button) {
  const shown = place(turn);
  stick(() => {
    run(shown, false);
    shown.answer.hidden = false;
    quiet(shown);
    shown.progress.textContent = message;
    if (button || !shown.clicked) shown.progress.after(button ?? againButton(() => asking(shown, "again")));
  });
}

/** For a message that the server has not taken. */
export function showUnsent(key, message, button) {
  const { turn, item } = find(key);
  item.dataset.unsent = "true";
  showTrouble({ turn, message }, button);
}

/** A message that waited is on its way. */
export function resume(key) {
  const shown = find(key);
  if (!shown?.item.dataset.unsent) return;
  delete shown.item.dataset.unsent;
  run(shown, true);
}

/** What is shown of the message with this event key. */
export function find(key) {
  return [...turns.values()].find((one) => one.key === key);
}

/** A button that shows the answer that stood here before this was asked again, and hides it. */
function earlier(shown) {
  const button = iconButton("past", "earlier", () => details().then((one) => one.toggleEarlier(shown, button, tables.dress)), { "aria-expanded": "false" });
  return button;
}

/** Draw a text. All that changes its size is done while it grows, so that nothing moves at its end. */
function fill(shown, html) {
  grow(shown.body, html, (content) => {
    shown.sources.replaceChildren(...takeSources(content));
    tables.prepare(content);
    for (const code of content.querySelectorAll("pre > code")) {
      colour(code);
      label(code.parentElement, code);
    }
    for (const code of content.querySelectorAll("code.suggestion")) code.replaceWith(chip(code.textContent));
    typeset?.(content);
  });
  if (typeset || !shown.body.querySelector(".math")) return;
  import("./math.js").then(async (math) => {
    await math.load();
    ({ typeset } = math);
    stick(() => typeset($("log")));
  }).catch(() => {}); // the formulas stay as they were written
}

/** A button that fills a suggested message into the box. */
function chip(text) {
  return make("button", { type: "button", class: "chip", dir: "auto", text, "data-fill": text });
}

/** Take the lines that name sources from the end of a text. Their zone is in their title. */
function takeSources(content) {
  const lines = [];
  for (let last = content.lastElementChild; last?.localName === "p"; last = content.lastElementChild) {
    const text = [...last.childNodes].findLast((one) => ZONE.test(one.data));
    if (!text || !last.textContent.startsWith(SOURCE)) break;
    last.className = "source";
    last.title = last.textContent;
    last.tabIndex = 0;
    const [, before, zone, after] = ZONE.exec(text.data);
    text.replaceWith(before, make("span", { class: "unseen", text: zone }), after);
    lines.unshift(last);
    last.remove();
  }
  return lines;
}
