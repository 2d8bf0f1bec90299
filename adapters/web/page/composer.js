// The message box: text, files by button, drop and paste, sending, and sending again.

import { began } from "./conversations.js";
import { $, isComposing, make, notice, randomKey, scrollPage, stick } from "./element.js";
import * as log from "./log.js";
import { post, request } from "./server.js";
import { locale, say } from "./words.js";

const MAX_FILE_BYTES = 20 * 1024 * 1024;
const MAX_UPLOAD_BYTES = 100 * 1024 * 1024; // of all files of a message
const MAX_FILES = 10;
const AGAIN = [500, 1000, 2000, 4000, 8000]; // milliseconds before a message is sent once more
const boxes = new Map(); // conversation → what waits in its box besides the text: the next three
let conversation = "";
let files = []; // those of the message that is edited have an address
let replaces = ""; // the turn that what is written is to stand for
let aside = { text: "", files: [] }; // what was in the box before that turn's text came into it
let early = false; // sent before it was known where to
const refused = new Map(); // event key → a message that was not sent, and why

const touched = matchMedia("(pointer: coarse)"); // a keyboard on glass: Enter is a new line there

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
    refused.clear();
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
  const said = { text: text.trim(), files: sent ?? [], conversation, key: randomKey(), replaces: old };
  if (old && sent) said.kept = sent.filter((file) => !isNew(file)).map((file) => file.url.split("/").at(-1)).join(" ");
  if (old) log.withdraw(old);
  if (old === replaces) replacing("");
  notice("");
  began(conversation, said.text || (said.files[0]?.name ?? ""));
  const shown = show(said);
  scrollPage();
  if (!touched.matches) $("text").focus({ preventScroll: true });
  send(said, shown);
}

/** Show a message in the log before the server has named its turn. */
function show(said) {
  const named = said.files.map(({ name, type, url }) => ({ name, type, url }));
  log.showMessage({ turn: said.key, event_key: said.key, text: said.text, files: named, clicked: false, state: "new" });
  return log.place(said.key);
}

/** The key makes it one turn, however often it is sent. */
async function send(said, shown, tries = 0) {
  const lost = await unreadable(said.files);
  if (lost.length) return unsent(said, shown, Object.assign(new Error(complaint(lost)), { status: 400 }));
  try {
    const { turn } = await request("/chat", body(said));
    log.name(said.key, turn);
  } catch (error) {
    const passing = error.status === 0 || error.status === 503;
    if (passing && tries < AGAIN.length) setTimeout(() => send(said, shown, tries + 1), AGAIN[tries]);
    else unsent(said, shown, error);
  }
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
  for (const [said, error] of refused.values()) {
    if (said.conversation === conversation) showUnsent(said, show(said), error);
  }
}

/** Ask the last question again, or put it into the box to be changed. */
function ask({ how, turn, text, files: attached }) {
  if (how === "again") submit(text, { replaces: turn });
  else edit(turn, text, attached);
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

function body({ text, files: all, conversation: where, key, replaces: old, kept }) {
  const sent = all.filter(isNew);
  const fields = { message: text, conversation: where, event_key: key, replaces: old, ...(kept !== undefined && { keep_files: kept }),
    ...($("model-choice").value && { model: $("model-choice").value }),
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

function unsent(said, shown, error) {
  if (said.conversation !== conversation) {
    const key = `draft ${said.conversation}`;
    localStorage.setItem(key, [said.text, localStorage.getItem(key)].filter(Boolean).join("\n\n"));
    const box = boxOf(said.conversation);
    boxes.set(said.conversation, { ...box, files: [...box.files, ...said.files.filter(isNew)] });
    notice(say("not_sent", { why: error.message }));
    return;
  }
  if (said.replaces) {
    log.withdraw(shown.turn);
    edit(said.replaces, said.text, said.files);
    dispatchEvent(new Event("reread")); // what it was to stand for is there still
    notice(say("not_sent", { why: error.message }));
    return;
  }
  refused.set(said.key, [said, error]);
  showUnsent(said, shown.item.isConnected ? shown : show(said), error); // the log may have been drawn again
}

function showUnsent(said, drawn, error) {
  log.showTrouble({ turn: drawn.turn, message: say("not_sent", { why: error.message }) });
  const again = [0, 401, 408, 429].includes(error.status) || error.status >= 500;
  const button = make("button", { type: "button", class: "unsent", text: say(again ? "again" : "edit"), on: { click: () => {
    button.remove();
    refused.delete(said.key);
    (again ? send : takeBack)(said, drawn);
    $("text").focus();
  } } });
  stick(() => drawn.said.append(button));
}

/** Put a message back into the box: as it is, it would be refused again. */
function takeBack(said, { turn }) {
  log.withdraw(turn);
  $("text").value = [said.text, $("text").value].filter(Boolean).join("\n\n");
  keepDraft();
  fit();
  attach(said.files);
}

export async function stop() {
  const turn = log.running()?.turn;
  if (!turn) return;
  await post(`/turns/${turn}/stop`, {}).catch((error) => notice(error.message));
  $("text").focus();
}

/** Add files to the message. Refuse here what the server would refuse after its upload. */
function attach(more) {
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

/** The models that this person may choose; the choice is for the next messages. */
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
  $("ask").addEventListener("submit", (event) => { event.preventDefault(); sendBox(); });
  text.addEventListener("input", () => { fit(); keepDraft(); });
  text.addEventListener("keydown", (event) => {
    if (isComposing(event)) return;
    if (event.key === "Escape" && replaces) giveUp();
    if (event.key === "ArrowUp" && !text.value && log.lastAsked()) {
      event.preventDefault();
      const { turn, text: said, files: attached } = log.lastAsked();
      edit(turn, said, attached);
    }
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
  $("unedit").addEventListener("click", giveUp);
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
