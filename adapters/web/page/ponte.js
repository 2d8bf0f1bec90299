// The page of Ponte: opens conversations, and everything around what was said.

import * as approvals from "./approvals.js";
import * as composer from "./composer.js";
import * as conversations from "./conversations.js";
import { $, beginning, isComposing, notice, randomKey, reconnected, scrollPage, setOffline } from "./element.js";
import { icon } from "./icons.js";
import * as log from "./log.js";
import * as notices from "./notices.js";
import { post, request } from "./server.js";
import * as session from "./session.js";
import * as stream from "./stream.js";
import * as firstScreen from "./welcome.js";
import { say, translate } from "./words.js";

const AGAIN = 1500; // milliseconds before a conversation that could not be read is read again
let current = "";
let commands = [], saved = []; // names
let person = {}; // what the server says of who is signed in
let opened = ""; // the conversation that is drawn

async function linked() {
  const [id, turn] = location.hash.slice(1).split("/");
  if (/^[A-Za-z0-9_-]{1,64}$/.test(id)) return [id, turn];
  return [await conversations.newest().catch(() => undefined) ?? "main", turn];
}

/** The address that opens Ponte carries its token behind the #: taken once, and not kept there. */
async function admitted() {
  if (!location.hash.startsWith("#token=")) return false;
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  history.replaceState(null, "", location.pathname);
  return signedIn(token);
}

/** Who that is, and what they had typed and not sent: nobody else is to find it. */
async function introduce() {
  person = await request("/me");
  const { person: key, name, models, notices: waiting } = person;
  if ((localStorage.getItem("person") ?? "web:owner") !== key) {
    localStorage.clear();
    composer.turnTo("");
  }
  localStorage.setItem("person", key);
  composer.restore(key);
  $("who").textContent = name;
  $("initial").textContent = [...name][0]?.toLocaleUpperCase() ?? "";
  $("me").title = say("signed_in", { name });
  $("me").hidden = false;
  composer.offerModels(models);
  if (person.voice) import("./record.js").then((one) => one.start());
  $("person-notices").replaceChildren();
  if (waiting.length) import("./details.js").then((one) => one.showNotices(waiting));
}

/** Whether this token opened a session; if not, the dialog says why once it is needed. */
async function signedIn(typed) {
  const [, fragment] = typed.split("#token="); // of a whole link
  const token = fragment ? decodeURIComponent(fragment) : typed;
  try {
    await post("/login", { token });
    await (await import("./sign-in.js")).hide();
    return true;
  } catch (error) {
    $("trouble").textContent = error.message;
    return false;
  }
}

/** At once: what is typed next belongs to it, and the browser tells of the new address only later. */
function go(id, isNew = false) {
  location.hash = id;
  read(id, isNew);
}

async function open() {
  menu(false);
  const entered = await admitted();
  if (!(await session.ask()).signed_in) return (await import("./sign-in.js")).show(true);
  if (entered || !current) await introduce().catch(() => {});
  const [id, turn] = await linked();
  if (entered || id !== current) await read(id, !location.hash && !localStorage.getItem("person"));
  if ($("trouble").textContent) notice($("trouble").textContent); // another sign-in failed
  const shown = turn && document.getElementById(`turn-${turn}`);
  if (shown) {
    shown.scrollIntoView();
    shown.querySelector(".at").focus();
  }
}

/** Everything so far, then the stream from there on. */
async function read(id, isNew = false) {
  const isOther = id !== opened;
  const focused = document.activeElement;
  current = id;
  if (isOther) notice("");
  stream.leave();
  log.clear(id);
  $("loading").hidden = isNew;
  $("welcome").hidden = !isNew; // at once, so that the box does not move later
  composer.turnTo(id);
  approvals.turnTo(id);
  conversations.show(id);
  conversations.changed();
  try {
    const body = await request(`/conversations/${id}?html=1`);
    if (current !== id) return;
    $("loading").hidden = true;
    log.showAll(body.messages);
    composer.onDrawn();
    if (!person.person) introduce().catch(() => {});
    opened = id;
    if (isOther) scrollPage(beginning());
    reconnected();
    highlight();
    stream.follow(id, body.cursor);
    await readCommands();
    await welcome(id);
    if (isOther && log.isEmpty()) scrollPage(0);
  } catch (error) {
    $("loading").hidden = true;
    notice(error.status ? error.message : say("offline"), true, () => read(id));
    if (error.status === 0 || error.status >= 500) setTimeout(() => current === id && read(id), AGAIN);
  }
  const now = document.activeElement; // who went elsewhere stays there
  const free = now === document.body || (isOther && now === focused && !now.closest("input, select, dialog"));
  if (free && matchMedia("(hover: hover)").matches) $("text").focus();
}

async function readCommands() {
  const id = current;
  const found = await request(`/quick-commands?conversation=${id}`);
  if (current !== id) return;
  ({ commands, saved } = found);
  $("quick").hidden = commands.length + saved.length === 0;
}

/** Questions may have been saved or deleted since. */
async function openCommands() {
  await readCommands().catch(() => {});
  if (!$("quick").hidden) (await import("./quick.js")).open(commands, commands[0]?.slug, saved);
}

/** Say what can be asked. The first message hides it. */
async function welcome(id) {
  if (!log.isEmpty()) return;
  const found = await request("/welcome");
  if (current === id && log.isEmpty()) firstScreen.show(found, commands);
}

/** Open or close the list of conversations on a phone. The focus stays where it can be seen. */
function menu(shown) {
  if (!shown && $("side").contains(document.activeElement) && $("menu").checkVisibility()) $("menu").focus();
  document.body.classList.toggle("menu", shown);
  $("menu").setAttribute("aria-expanded", String(shown));
}

/** An arrow opens the menu of a button, as Enter does. */
function openWithArrow(event) {
  if (!["ArrowDown", "ArrowUp"].includes(event.key)) return;
  event.preventDefault();
  event.currentTarget.click();
}

/** On a phone, a tap beside the list of conversations closes it, and does nothing else. */
function leaveMenu(event) {
  const isOpen = document.body.classList.contains("menu") && $("menu").checkVisibility();
  if (!isOpen || event.detail === 0 || event.target.closest("#side, #menu, dialog, [role=menu]")) return;
  event.preventDefault();
  event.stopPropagation();
  menu(false);
}

/** Mark the words of a search in the conversation that is open, where the browser can. */
async function highlight() {
  const words = conversations.searched();
  if (words) (await import("./highlight.js")).mark(words);
  else globalThis.CSS?.highlights?.delete("searched");
}

/** The open conversation stays as it is; the list is all conversations again. */
function leaveSearch() {
  $("search").value = "";
  conversations.changed();
  menu(false);
  $("text").focus();
}

async function forget(forgetting) {
  if (forgetting === current) stream.leave();
  try {
    await conversations.forget(forgetting);
    if (forgetting === current) go(randomKey(), true);
    else $("text").focus();
    $("spoken").textContent = say("forgotten");
  } catch (error) {
    if (forgetting === current) await read(current);
    notice(error.message);
  }
}

/** Pictures open large, over the page. */
async function enlarge(event) {
  const picture = event.target.closest(".files img, .body img");
  if (!picture || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  (await import("./details.js")).enlarge(picture);
}

async function showShortcuts() {
  (await import("./shortcuts.js")).open();
}

/** Keys that act where nothing is being written. */
function pressed(event) {
  if (isComposing(event)) return;
  if (event.key === "Escape" && !event.target.closest?.("dialog")) menu(false);
  const elsewhere = event.target.closest?.("input, textarea, select, dialog, .card, [role=menu]");
  if (elsewhere || event.ctrlKey || event.metaKey || event.altKey || localStorage.getItem("shortcuts") === "off") return;
  const commands = () => { $("text").focus(); if (!$("quick").hidden) $("quick").click(); };
  const act = { "?": showShortcuts, "/": commands, s: () => { menu(true); $("search").focus(); }, n: () => go(randomKey(), true),
    w: () => $("text").focus() }[event.key];
  if (!act) return;
  event.preventDefault();
  act();
}

async function enter({ detail: token }) {
  if (!await signedIn(token)) return;
  if (!current) return open();
  await introduce().catch(() => {});
  await read(current);
}

/** Say at once that there is no network, unless Ponte answers without one. */
async function checkNetwork() {
  setOffline(true);
  if (await request("/me").then(() => true, (error) => error.status !== 0)) {
    setOffline(false);
    reconnected();
  }
}

function start() {
  session.returnToPlace();
  translate();
  composer.start();
  approvals.start();
  $("quick").addEventListener("click", openCommands);
  stream.start(() => read(current));
  addEventListener("hashchange", open);
  addEventListener("offline", checkNetwork);
  addEventListener("online", () => { setOffline(false); stream.reconnect(); });
  addEventListener("unhandledrejection", (event) => { // a part of the page could not be loaded
    if (!/module/i.test(event.reason?.message)) return;
    event.preventDefault();
    notice(say("no_connection"), false, () => location.reload());
  });
  if (!navigator.onLine) checkNetwork();
  addEventListener("reread", () => read(current));
  $("new").addEventListener("click", () => { $("search").value = ""; go(randomKey(), true); });
  $("me").addEventListener("click", async () => (await import("./person.js")).open(person, {
    rename: async () => (await import("./naming.js")).open(person.name, introduce) }));
  for (const one of [$("me"), $("options")]) one.addEventListener("keydown", openWithArrow);
  $("menu").addEventListener("click", () => menu(!document.body.classList.contains("menu")));
  $("search").addEventListener("input", conversations.changed);
  $("search").addEventListener("keydown", (event) => event.key === "Escape" && !isComposing(event) && leaveSearch());
  addEventListener("searched", highlight);
  $("options").addEventListener("click", conversations.chooseCurrent);
  addEventListener("forgetting", (event) => forget(event.detail));
  addEventListener("click", leaveMenu, true);
  addEventListener("click", enlarge);
  $("newest").addEventListener("click", () => { scrollPage(); $("log").lastElementChild?.querySelector(".at").focus({ preventScroll: true }); });
  const offerNewest = () => {
    $("newest").hidden = scrollY + innerHeight > document.documentElement.scrollHeight - innerHeight / 2;
  };
  addEventListener("scroll", offerNewest, { passive: true });
  new ResizeObserver(offerNewest).observe(document.body);
  $("newest").append(icon("down"));
  $("shortcuts").addEventListener("click", showShortcuts);
  addEventListener("entering", enter); // by a link, in the dialog of signing in
  addEventListener("keydown", pressed);
  open();
  if (document.readyState === "complete") notices.start();
  else addEventListener("load", notices.start);
}

start();
