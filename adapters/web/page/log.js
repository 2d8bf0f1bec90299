// What was said: one item per turn, with the person's words, the answer as it grows, cards, files.

import * as card from "./card.js";
import { $, make, stick } from "./element.js";
import { filesOf } from "./files.js";
import { keep } from "./shelf.js";
import { locale, say } from "./words.js";

const turns = new Map(); // turn → its parts; before the server named it, its event key → the same
let conversation = "";

export function clear(id) {
  conversation = id;
  turns.clear();
  card.clear();
  $("log").replaceChildren();
  $("stop").hidden = true;
}

export function running() {
  return [...turns.values()].find((one) => one.running);
}

export function place(turn, at = Date.now() / 1000) {
  if (turns.has(turn)) return turns.get(turn);
  const time = new Date(at * 1000);
  const short = time.toLocaleTimeString(locale, { hour: "2-digit", minute: "2-digit" });
  const link = make("a", { class: "at", href: `#${conversation}/${turn}`, title: say("link") },
    make("time", { datetime: time.toISOString(), text: short }));
  const shown = {
    turn, running: false, clicked: false, text: "", doing: "",
    item: make("li", { id: `turn-${turn}` }),
    said: make("div", { class: "said", role: "group", "aria-label": say("you"), hidden: true }),
    answer: make("div", { class: "answer", role: "group", "aria-label": "Ponte", hidden: true }),
    body: make("div", { class: "body" }), extra: make("div", { class: "extra" }),
    progress: make("p", { class: "progress" }),
  };
  shown.said.append(link);
  shown.answer.append(shown.body, shown.progress, shown.extra);
  shown.item.append(shown.said, shown.answer);
  stick(() => $("log").append(shown.item));
  turns.set(turn, shown);
  $("welcome").hidden = true;
  return shown;
}

export function showMessage(message) {
  name(message.event_key, message.turn);
  const shown = place(message.turn, message.at);
  Object.assign(shown, { text: message.text, clicked: message.clicked });
  for (const old of shown.said.querySelectorAll(".words, .files, .unsent")) old.remove();
  shown.said.append(make("p", { class: "words", dir: "auto", text: message.text }), filesOf(message.files));
  shown.said.hidden = message.clicked;
  if (message.state === "new" || message.state === "running") run(shown, true);
  if (!message.clicked) keep(conversation, message.text.trim().slice(0, 60) || message.files[0]?.name);
}

/** The server's name for what was shown under its event key. */
export function name(key, turn) {
  const early = turns.get(key);
  if (early && !turns.has(turn)) rename(early, turn);
}

function rename(shown, turn) {
  turns.delete(shown.turn);
  turns.set(turn, shown);
  shown.turn = turn;
  shown.item.id = `turn-${turn}`;
  shown.item.querySelector(".at").href = `#${conversation}/${turn}`;
}

function run(shown, going) {
  shown.running = going;
  shown.answer.hidden = shown.clicked;
  shown.answer.setAttribute("aria-busy", String(going));
  const first = running();
  shown.progress.textContent = going ? say(first === shown ? "thinking" : "waiting") : "";
  $("stop").hidden = !first;
  if (!going && first && !first.body.hasChildNodes()) first.progress.textContent = say("thinking");
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
    shown.body.innerHTML = html; // cleaned by the server; this page's policy runs no script in it
    shown.progress.textContent = shown.doing || say("writing");
  });
}

export function showCard({ turn, ...data }) {
  stick(() => card.place(data, place(turn).extra, conversation));
}

export function showAnswer(answer) {
  const shown = place(answer.turn, answer.at);
  run(shown, false);
  stick(() => {
    shown.body.innerHTML = answer.html;
    if (answer.response !== undefined) $("spoken").textContent = shown.body.textContent;
    decorate(shown.body);
    shown.progress.textContent = answer.html || answer.status === "done" ? "" : say(answer.status);
    shown.answer.dataset.status = answer.status;
    shown.extra.querySelector(":scope > .files")?.remove();
    shown.extra.prepend(filesOf(answer.files));
    for (const one of answer.cards) card.place(one, shown.extra, conversation);
    shown.answer.hidden = shown.clicked && settled(shown, answer);
  });
}

/** A click's answer belongs to its card; that a turn was stopped is told by the turn. */
function settled(shown, answer) {
  if (answer.aloud) return false;
  const [word, id] = shown.text.split(" ");
  const told = word === "stop" || (!card.within(id, shown.extra) && card.tell(id, shown.body.textContent));
  return told && !answer.cards.some((one) => card.within(one.id, shown.extra));
}

export function showTrouble({ turn, message }) {
  const shown = place(turn);
  run(shown, false);
  shown.answer.hidden = false;
  shown.progress.textContent = message;
}

function decorate(body) {
  for (const table of body.querySelectorAll("div.table")) {
    table.setAttribute("role", "region");
    table.setAttribute("aria-label", say("table"));
  }
  for (const pre of body.querySelectorAll("pre")) {
    pre.setAttribute("role", "region");
    pre.setAttribute("aria-label", say("code"));
    const button = make("button", { type: "button", class: "copy", text: say("copy"),
      on: { click: () => copy(button, pre) } });
    const frame = make("div", { class: "code" });
    pre.replaceWith(frame);
    frame.append(button, pre);
  }
}

async function copy(button, pre) {
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(pre.textContent);
  } else { // plain http beyond this machine has no clipboard object
    getSelection().selectAllChildren(pre);
    document.execCommand("copy");
  }
  button.textContent = say("copied");
  setTimeout(() => { button.textContent = say("copy"); }, 2000);
}
