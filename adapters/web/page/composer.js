// The message box: text, files, sending, and sending again.

import { began } from "./conversations.js";
import { $, againButton, isComposing, make, notice, randomKey, scrollPage } from "./element.js";
import { icon } from "./icons.js";
import * as log from "./log.js";
import { post, request } from "./server.js";
import { locale, say } from "./words.js";

const MAX_FILE_BYTES = 20 * 1024 * 1024;
const MAX_UPLOAD_BYTES = 100 * 1024 * 1024; // of all files of a message
const MAX_FILES = 10;
const AGAIN = [500, 1000, 2000, 4000, 8000]; // milliseconds before a message is sent once more, the last from then on
const boxes = new Map(); // conversation → what waits in its box besides the text: the next three
let conversation = "";
let files = []; // those of the message that is edited have an address
let replaces = ""; // the turn that what is written is to stand for
let aside = { text: "", files: [] }; // what was in the box before that turn's text came into it
const PASSING = [0, 502, 503, 504]; // statuses of a server that is away
let early = false; // sent before it was known where to
let stored; // the module of the messages that outlive the page
const waiting = new Map(); // event key → a message that the server has not taken; with `why` if it refused it
const sending = new Map(); // conversation → the timer of its next try; 0 while a message is on its way

const touched = matchMedia("(pointer: coarse)"); // a keyboard on glass: Enter is a new line there

/** Do this with the stored messages. What is asked for first is done first. */
function queue(act) {
  stored ??= import("./queue.js").catch(() => { stored = undefined; });
  return stored.then((all) => all && act(all));
}

/** What waits in the box stays with its conversation, or comes into the first one that is opened.
    Without a conversation, nothing is left of the person who was signed in before. */
export function turnTo(id) {
  if (id !== conversation) {
    const typed = conversation ? "" : $("text").value;
    if (conversation) {
      boxes.set(conversation, { files, replaces, aside });
      ({ files, replaces, aside } = boxOf(id));
    }
    conversation = id;
    $("text").value = typed || (localStorage.getItem(draft()) ?? "");
    $("editing").hidden = !replaces;
    showFiles();
  }
  if (!id) {
    waiting.clear();
    queue((all) => all.clear());
    boxes.clear();
    files = [];
    showFiles();
  }
  keepDraft();
  fit();
  if (early && conversation) {
    early = false;
    sendBox();
  }
}

function boxOf(id) {
  return boxes.get(id) ?? { files: [], replaces: "", aside: { text: "", files: [] } };
}

/** What is written and not sent yet outlives the page, for each conversation. */
function draft() {
  return `draft ${conversation}`;
}

function keepDraft() {
  if ($("text").value.trim()) localStorage.setItem(draft(), $("text").value);
  else localStorage.removeItem(draft());
}

/** Send what is in the box. */
function sendBox() {
  if (!conversation) {
    early = true;
    return;
  }
  const box = { text: $("text").value, replaces, files };
  if (!box.text.trim() && files.length === 0) return;
  $("text").value = replaces ? aside.text : "";
  takeFiles();
  replacing("");
  keepDraft();
  fit();
  submit(box.text, box);
}

/** Return the new files of the box, and remove them from its list. */
export function takeFiles() {
  const taken = files.filter(isNew);
  files = files.filter((file) => !isNew(file));
  showFiles();
  return taken;
}

const isNew = (file) => file instanceof File;

/** Send a message. What is written in the box stays there. Without `files`, a message that replaces
    another one has its files. */
export function submit(text, { files: sent, replaces: old = "" } = {}) {
  const said = { text: text.trim(), files: sent ?? [], conversation, key: randomKey(), replaces: old, at: Date.now(),
    person: localStorage.getItem("person"), model: $("model-choice").value };
  if (old && sent) said.kept = sent.filter((file) => !isNew(file)).map((file) => file.url.split("/").at(-1)).join(" ");
  if (old) log.withdraw(old);
  if (old === replaces) replacing("");
  notice("");
  began(conversation, said.text || (said.files[0]?.name ?? ""));
  show(said);
  scrollPage();
  if (!touched.matches) $("text").focus({ preventScroll: true });
  waiting.set(said.key, said);
  queue((all) => all.put(said));
  flush(conversation);
}

/** Show a message in the log before the server has named its turn. */
function show(said) {
  const named = said.files.map(({ name, type, url }) => ({ name, type, url }));
  log.showMessage({ turn: said.key, event_key: said.key, text: said.text, files: named, clicked: false, state: "new" });
}

/** Send what waits in a conversation, one message after the other. */
async function flush(id, tries = 0) {
  if (sending.get(id) === 0) return;
  clearTimeout(sending.get(id));
  const person = localStorage.getItem("person"); // another tab may have signed in somebody else
  const next = [...waiting.values()].find((one) => one.conversation === id && !one.why && [null, person].includes(one.person));
  if (!next) return;
  sending.set(id, 0);
  const isTaken = await send(next);
  sending.delete(id);
  if (isTaken) return flush(id);
  sending.set(id, setTimeout(() => flush(id, tries + 1), AGAIN[Math.min(tries, AGAIN.length - 1)]));
}

function flushAll() {
  for (const id of new Set([...waiting.values()].map((one) => one.conversation))) flush(id);
}

/** Send a message. Return false if it has to wait. The key makes it one turn, however often it is sent. */
async function send(said) {
  const lost = await unreadable(said.files);
  try {
    if (lost.length) throw Object.assign(new Error(complaint(lost)), { status: 400 });
    const { turn } = await request("/chat", body(said));
    settle(said);
    log.name(said.key, turn);
  } catch (error) {
    if (PASSING.includes(error.status)) {
      said.trouble = error.message;
      showWaiting(said);
      return false;
    }
    unsent(said, error);
  }
  return true;
}

/** It is at the server, or in the box again. */
function settle(said) {
  waiting.delete(said.key);
  queue((all) => all.drop(said.key));
  log.resume(said.key);
}

/** Say of a message of the open conversation that it waits. */
function showWaiting(said) {
  if (said.conversation !== conversation || !waiting.has(said.key)) return;
  if (!log.find(said.key)) show(said);
  log.showUnsent(said.key, say("will_be_sent", { why: said.trouble }), againButton(() => { log.resume(said.key); flush(said.conversation); }));
}

/** Take up what waited when the page was left, if this person wrote it. */
export async function restore(person) {
  for (const said of await queue((all) => all.list()) ?? []) {
    if (said.person !== person) queue((all) => all.drop(said.key));
    else if (!waiting.has(said.key)) waiting.set(said.key, said);
  }
  onDrawn();
  flushAll();
}

/** Nothing of this person stays in the browser. */
export function forget() {
  waiting.clear();
  return queue((all) => all.clear());
}

/** The files that the browser cannot read: it would only say that there was no connection. */
async function unreadable(all) {
  const reads = await Promise.allSettled(all.map((file) => isNew(file) && file.slice(0, 1).arrayBuffer()));
  return all.filter((_, number) => reads[number].status === "rejected");
}

function complaint(lost) {
  return say("unreadable", { names: lost.map(({ name }) => name).join(", ") });
}

/** Say what is written in place of that turn; "" is none. */
function replacing(turn) {
  if (replaces && !turn) {
    files = [...aside.files, ...files.filter(isNew)];
    showFiles();
  }
  replaces = turn;
  $("editing").hidden = !turn;
}

/** The log was drawn again. What is written is a message of its own if another one has come after the
    one to be changed, and messages that were not sent are shown again. */
export function onDrawn() {
  if (!log.isLast(replaces)) replacing("");
  for (const said of [...waiting.values()].filter((one) => one.conversation === conversation)) {
    const known = log.find(said.key);
    if (known && known.turn !== said.key) settle(said);
    else if (said.why) showRefused(said);
    else if (said.trouble) showWaiting(said);
    else if (!known) show(said);
    if (said.replaces && waiting.has(said.key)) log.withdraw(said.replaces);
  }
}

/** Ask the last question again, read its tables again, or put it into the box to be changed. */
function ask({ how, turn, text, files: attached }) {
  if (how === "again") submit(text, { replaces: turn });
  else if (how === "rerun") submit(`rerun ${turn}`);
  else edit(turn, text, attached);
}

/** Add a suggested message to what is written. */
function fillIn(message) {
  $("text").value = [$("text").value.trim(), message].filter(Boolean).join("\n");
  keepDraft();
  fit();
  $("text").focus();
}

function edit(turn, text, attached) {
  if (!replaces) aside = { text: $("text").value, files };
  replacing(turn);
  $("text").value = text;
  keepDraft();
  fit();
  files = [];
  attach(attached);
}

function giveUp() {
  files = [];
  replacing("");
  $("text").value = aside.text;
  keepDraft();
  fit();
  $("text").focus();
}

function body({ text, files: all, conversation: where, key, replaces: old, kept, model }) {
  const sent = all.filter(isNew);
  const fields = { message: text, conversation: where, event_key: key, replaces: old, ...(kept !== undefined && { keep_files: kept }),
    ...(model && { model }),
    time_zone: Intl.DateTimeFormat().resolvedOptions().timeZone ?? "" };
  const headers = { Prefer: "respond-async" };
  if (sent.length === 0) {
    headers["Content-Type"] = "application/json";
    return { method: "POST", headers, body: JSON.stringify(fields) };
  }
  const form = new FormData();
  for (const [name, value] of Object.entries(fields)) form.append(name, value);
  for (const file of sent) form.append("file", file, file.name);
  return { method: "POST", headers, body: form };
}

function unsent(said, error) {
  if (said.conversation !== conversation) {
    settle(said);
    const key = `draft ${said.conversation}`;
    localStorage.setItem(key, [said.text, localStorage.getItem(key)].filter(Boolean).join("\n\n"));
    const box = boxOf(said.conversation);
    boxes.set(said.conversation, { ...box, files: [...box.files, ...said.files.filter(isNew)] });
    notice(say("not_sent", { why: error.message }));
    return;
  }
  if (said.replaces) {
    settle(said);
    const shown = log.find(said.key);
    if (shown) log.withdraw(shown.turn);
    edit(said.replaces, said.text, said.files);
    dispatchEvent(new Event("reread")); // what it was to stand for is there still
    notice(say("not_sent", { why: error.message }));
    return;
  }
  said.why = { message: error.message, status: error.status };
  queue((all) => all.put(said));
  showRefused(said);
}

function showRefused(said) {
  if (!log.find(said.key)) show(said); // the log may have been drawn again
  const { message, status } = said.why;
  const again = [401, 408, 429].includes(status) || status >= 500;
  const button = make("button", { type: "button", class: "unsent", text: say(again ? "again" : "edit"), on: { click: () => {
    if (again) sendAgain(said);
    else takeBack(said);
    $("text").focus();
  } } });
  log.showUnsent(said.key, say("not_sent", { why: message }), button);
}

function sendAgain(said) {
  delete said.why;
  log.resume(said.key);
  flush(said.conversation);
}

/** Put a message back into the box: as it is, it would be refused again. */
function takeBack(said) {
  log.withdraw(log.find(said.key).turn);
  settle(said);
  $("text").value = [said.text, $("text").value].filter(Boolean).join("\n\n");
  keepDraft();
  fit();
  attach(said.files);
}

export async function stop() {
  const turn = log.running()?.turn;
  if (!turn) return;
  await post(`/turns/${turn}/stop`, {}).catch((error) => notice(error.message, false, stop));
  $("text").focus();
}

/** Add files to the message. Refuse here what the server would refuse. */
export function attach(more) {
  const size = (bytes) => `${(bytes / 1024 ** 2).toLocaleString(locale, { maximumFractionDigits: 0 })} MB`;
  const refusals = [];
  const left = [];
  let total = files.reduce((sum, file) => sum + file.size, 0);
  for (const file of more) {
    if (file.size > MAX_FILE_BYTES) {
      refusals.push(say("too_large", { name: file.name, size: size(file.size), limit: size(MAX_FILE_BYTES) }));
    } else if (files.length === MAX_FILES || total + file.size > MAX_UPLOAD_BYTES) {
      left.push(file.name);
    } else {
      files = [...files, file];
      total += file.size;
    }
  }
  if (left.length) {
    refusals.push(say("too_many_files", { count: MAX_FILES, limit: size(MAX_UPLOAD_BYTES), names: left.join(", ") }));
  }
  showFiles();
  $("refused").textContent = refusals.join(" ");
  $("text").focus();
  dropUnreadable(files);
}

/** Take away what cannot be read, such as a folder, and say so. */
async function dropUnreadable(all) {
  const lost = await unreadable(all);
  if (!lost.length || files !== all) return;
  files = files.filter((file) => !lost.includes(file));
  const refusals = [$("refused").textContent, complaint(lost)];
  showFiles();
  $("refused").textContent = refusals.join(" ").trim();
}

/** Whether text was copied: cells of a spreadsheet come with a picture of themselves, and files with
    their names as text. */
function hasText(data) {
  const text = data.getData("text/plain").trim();
  return text && (data.types.includes("text/html") || ![...data.files].every(({ name }) => text.includes(name)));
}

function showFiles() {
  $("refused").textContent = "";
  $("attached").replaceChildren(...files.map((file) => make("li", {}, make("bdi", { text: file.name }),
    make("button", { type: "button", text: "×", "aria-label": say("remove", { name: file.name }),
      on: { click: () => { files = files.filter((one) => one !== file); showFiles(); $("text").focus(); } } }))));
}

function fit() {
  $("text").style.height = "auto";
  $("text").style.height = `${$("text").scrollHeight + 2}px`;
}

/** The models that this person may choose for the next messages. */
export function offerModels(names) {
  const choice = $("model-choice");
  const kept = localStorage.getItem("model") ?? "";
  choice.replaceChildren(...["", ...names].map((name) => make("option", { value: name, text: name || say("model_default") })));
  choice.value = names.includes(kept) ? kept : "";
  choice.hidden = names.length === 0;
}

export function start() {
  const text = $("text");
  $("model-choice").addEventListener("change", (event) => localStorage.setItem("model", event.target.value));
  for (const name of ["send", "stop"]) $(name).append(icon(name));
  $("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    sendBox();
    if (!touched.matches) text.focus(); // the button may be hidden now
  });
  text.addEventListener("input", () => { fit(); keepDraft(); });
  text.addEventListener("keydown", (event) => {
    if (isComposing(event)) return;
    if (event.key === "Escape" && replaces) giveUp();
    if (event.key === "ArrowUp" && !text.value && log.lastAsked()) {
      event.preventDefault();
      const { turn, text: said, files: attached } = log.lastAsked();
      edit(turn, said, attached);
    }
    if (event.key === "/" && !text.value && !$("quick").hidden) $("quick").click(); // the sign stays if no command is chosen
    if (event.key !== "Enter" || event.shiftKey || touched.matches) return;
    event.preventDefault();
    sendBox();
  });
  text.addEventListener("paste", (event) => {
    const { files: pasted } = event.clipboardData;
    if (pasted.length === 0 || hasText(event.clipboardData)) return;
    event.preventDefault();
    attach(pasted);
  });
  $("attach").addEventListener("click", () => $("files").click());
  $("files").addEventListener("change", () => { attach($("files").files); $("files").value = ""; });
  $("stop").addEventListener("click", stop);
  addEventListener("reconnected", flushAll);
  $("unedit").addEventListener("click", giveUp);
  addEventListener("click", ({ target }) => target.dataset.fill && fillIn(target.dataset.fill));
  addEventListener("asking", (event) => ask(event.detail));
  const dragging = (on) => (event) => {
    if (!event.dataTransfer.types.includes("Files")) return;
    event.preventDefault();
    document.body.classList.toggle("dropping", on);
  };
  addEventListener("dragover", dragging(true));
  addEventListener("dragleave", dragging(false));
  addEventListener("drop", (event) => { dragging(false)(event); attach(event.dataTransfer.files); });
}
