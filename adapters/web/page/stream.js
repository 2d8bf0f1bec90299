// The events of the conversation that is open. They go on from its cursor after a lost connection,
// also after a restart of the server, so every answer is shown once.

import * as approvals from "./approvals.js";
import { notice, reconnected } from "./element.js";
import * as log from "./log.js";
import * as notices from "./notices.js";
import { request } from "./server.js";
import { say } from "./words.js";

const HIDDEN_FOR = 30000; // milliseconds until a hidden tab that awaits nothing stops following
const REPEAT = 2000; // milliseconds until the connection is told again what to follow
const handlers = {
  message: log.showMessage, progress: log.showProgress, delta: log.showText, card: log.showCard,
  done: log.showAnswer, requests: ({ count }) => approvals.count(count), error: log.showTrouble, ready,
  lost: ({ status }) => notice(status >= 500 ? say("server_away", { status }) : say("offline"), true, reconnect), refused,
};
let port = null; // to connection.js
let isShared = true; // whether all tabs use that connection
let isKeeper = false; // of tabs with a connection each, the one that keeps it while it is hidden
let isSilent = false;
let shownAt = Date.now();
let followed = { key: 0, conversation: "", cursor: "" };

export function follow(conversation, cursor) {
  followed = { key: followed.key + 1, conversation, cursor };
  send();
}

export function leave() {
  follow("", "");
}

/** Open the stream at once, and not only when its connection tries again. */
export function reconnect() {
  follow(followed.conversation, followed.cursor);
}

/** A new stream begins with the last count of requests. */
function ready({ requests }) {
  reconnected();
  approvals.count(requests, true);
}

/** Nobody is signed in: the answer opens the dialog. */
function refused() {
  followed.conversation = "";
  request("/me").catch(() => {});
}

/** Reach the connection of all tabs. Without shared workers, as in Chrome on Android, this tab has its own. */
function open() {
  port?.postMessage({});
  try {
    const worker = new SharedWorker(new URL("connection.js", import.meta.url));
    worker.onerror = openOwn;
    listen(worker.port);
  } catch {
    openOwn();
  }
}

async function openOwn() {
  const { port1, port2 } = new MessageChannel();
  isShared = false;
  listen(port1);
  await import("./connection.js");
  globalThis.onconnect({ ports: [port2] });
}

function listen(to) {
  port = to;
  port.onmessage = ({ data: { key, event, cursor, data } }) => {
    isSilent = false;
    if (key !== followed.key) return;
    followed.cursor = cursor ?? followed.cursor;
    handlers[event]?.(JSON.parse(data ?? null));
  };
  send();
}

/** Send what is followed, or nothing while the tab is hidden and may rest. */
function send() {
  if (!document.hidden) shownAt = Date.now();
  const awaits = log.running() || notices.wanted();
  const mayFollow = isShared ? awaits || Date.now() - shownAt < HIDDEN_FOR : awaits && isKeeper;
  port.postMessage(!document.hidden || mayFollow ? followed : {});
}

/** The worker may have crashed. A new one goes on from the cursor. */
function repeat() {
  if (isSilent) open();
  isSilent = true;
  send();
}

/** Tabs with a connection each could use up the browser's six. Of the hidden ones, the last keeps its own. */
function turn() {
  if (!document.hidden || isShared || isKeeper || !navigator.locks) return send();
  const hold = () => { isKeeper = true; send(); return new Promise(() => {}); };
  return navigator.locks.request("hidden", { steal: true }, hold).catch(() => { isKeeper = false; send(); });
}

export function start(reset) {
  handlers.reset = reset;
  open();
  setInterval(repeat, REPEAT);
  document.addEventListener("visibilitychange", turn);
  addEventListener("pagehide", () => port.postMessage({}));
}
