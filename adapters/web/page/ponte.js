// The page of Ponte: opens conversations, and everything around what was said.

import * as composer from "./composer.js";
import { $, make, notice, randomKey } from "./element.js";
import * as log from "./log.js";
import * as quick from "./quick.js";
import { post, request } from "./server.js";
import * as shelf from "./shelf.js";
import * as stream from "./stream.js";
import { say, translate } from "./words.js";

const AGAIN = 1500; // milliseconds before a conversation that could not be read is read again
let current = "";

function linked() {
  const [id, turn] = location.hash.slice(1).split("/");
  return [/^[A-Za-z0-9_-]{1,64}$/.test(id) ? id : shelf.kept()[0]?.id ?? "main", turn];
}

/** The address that opens Ponte carries its token behind the #: taken once, and not kept there. */
async function admitted() {
  if (!location.hash.startsWith("#token=")) return false;
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  history.replaceState(null, "", location.pathname);
  return signedIn(token);
}

/** Whether this token opened a session; if not, the dialog says why once it is needed. */
async function signedIn(token) {
  try {
    await post("/login", { token });
    if ($("signin").open) $("signin").close();
    $("trouble").textContent = "";
    return true;
  } catch (error) {
    $("trouble").textContent = error.message;
    return false;
  }
}

function go(id) {
  location.hash = id;
}

async function open() {
  const entered = await admitted();
  const [id, turn] = linked();
  if (entered || id !== current) await read(id);
  const shown = turn && document.getElementById(`turn-${turn}`);
  if (shown) {
    shown.scrollIntoView();
    shown.querySelector(".at").focus();
  }
}

/** Everything so far, then the stream from there on. */
async function read(id) {
  current = id;
  stream.leave();
  log.clear(id);
  composer.turnTo(id);
  shelf.show(id);
  $("search").value = "";
  menu(false);
  try {
    const body = await request(`/conversations/${id}?html=1`);
    if (current !== id) return;
    for (const one of body.messages) (one.role === "user" ? log.showMessage : log.showAnswer)(one);
    notice("");
    stream.follow(id, body.cursor, () => read(id));
    await quick.turnTo(id);
    await welcome(body.messages.length === 0);
  } catch (error) {
    notice(error.status ? error.message : say("offline"));
    if (error.status === 0 || error.status >= 500) setTimeout(() => current === id && read(id), AGAIN);
  }
  if (matchMedia("(hover: hover)").matches) $("text").focus();
}

async function welcome(empty) {
  $("welcome").hidden = !empty;
  if (!empty) return;
  const { parts } = await request("/status");
  $("parts").replaceChildren(...parts.map(({ name, state, words }) => make("li", { "data-state": state },
    make("strong", { text: name }), ` · ${say(state)}`, words && " · ", make("bdi", { text: words }))));
  const on = (name) => parts.some((part) => part.name === name && part.state === "on");
  $("model").hidden = !parts.some((part) => part.name === "model" && part.words.includes("OPENAI_API_KEY"));
  const tries = [on("nocodb") && "list tables", on("code") && "run python print(2**100)",
    "what can you do?", "help", "status"].filter(Boolean).slice(0, 3);
  $("tries").replaceChildren(...tries.map((text) => make("li", {},
    make("button", { type: "button", text, on: { click: () => composer.submit(text) } }))));
}

function menu(shown) {
  document.body.classList.toggle("menu", shown);
  $("menu").setAttribute("aria-expanded", String(shown));
}

function search() {
  const wanted = $("search").value.trim().toLocaleLowerCase();
  let count = 0;
  for (const item of $("log").children) {
    const found = item.textContent.toLocaleLowerCase().includes(wanted);
    item.hidden = !found;
    count += found;
  }
  notice(wanted && say("found", { count }));
}

async function forget() {
  const forgotten = current;
  stream.leave();
  try {
    await post("/chat", { message: "forget", conversation: forgotten });
    shelf.drop(forgotten);
    go(randomKey());
    $("spoken").textContent = say("forgotten");
  } catch (error) {
    await read(forgotten);
    notice(error.message);
  }
}

async function enter(event) {
  event.preventDefault();
  if (!await signedIn($("token").value.trim())) return;
  $("token").value = "";
  await read(current);
}

function start() {
  translate();
  composer.start();
  quick.start();
  stream.start(() => read(current));
  addEventListener("hashchange", open);
  $("new").addEventListener("click", () => go(randomKey()));
  $("menu").addEventListener("click", () => menu(!document.body.classList.contains("menu")));
  $("search").addEventListener("input", search);
  $("forget").addEventListener("click", () => $("sure").showModal());
  $("sure").addEventListener("close", () => $("sure").returnValue === "forget" && forget());
  $("signin").addEventListener("cancel", (event) => event.preventDefault());
  $("signin").querySelector("form").addEventListener("submit", enter);
  addEventListener("keydown", (event) => {
    if (event.key === "Escape") menu(false);
  });
  open();
}

start();
