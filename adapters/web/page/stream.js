// One event stream for the conversation that is open. It goes on from its cursor after a lost
// connection, also after a restart of the server, so every answer is shown once.

import * as approvals from "./approvals.js";
import { notice, reconnected } from "./element.js";
import * as log from "./log.js";
import * as notices from "./notices.js";
import { request } from "./server.js";
import { say } from "./words.js";

const HIDDEN_FOR = 30000; // milliseconds until a hidden tab gives back its connection: a browser
const AGAIN = 1500; //        opens six to one site (HTTP/1.1), for all tabs together

let source = null;
let address = "";
let cursor = "";
let waiting = 0;

export function follow(conversation, from, reset) {
  leave();
  address = `/conversations/${conversation}/events?html=1`;
  cursor = from;
  connect(reset);
}

export function leave() {
  clearTimeout(waiting);
  source?.close();
  source = null;
  address = "";
}

function connect(reset) {
  const mine = new EventSource(`${address}&after=${encodeURIComponent(cursor)}`);
  source = mine;
  const handlers = {
    message: log.showMessage, progress: log.showProgress, delta: log.showText, card: log.showCard,
    done: log.showAnswer, requests: ({ count }) => approvals.count(count), error: log.showTrouble, ready: begin, reset,
  };
  for (const [name, handle] of Object.entries(handlers)) {
    mine.addEventListener(name, (event) => {
      if (mine !== source) return;
      if (event.lastEventId) cursor = event.lastEventId;
      if (event.data) handle(JSON.parse(event.data));
      else lost(mine, reset);
    });
  }
}

/** A new stream sends the number of waiting requests only if there are some. */
function begin() {
  reconnected();
  approvals.count(0, true);
}

/** The browser tries again by itself, unless the server answered and refused. */
function lost(mine, reset) {
  notice(say("offline"), true);
  if (mine.readyState !== EventSource.CLOSED) return;
  waiting = setTimeout(async () => {
    try {
      await request("/me");
      if (mine === source) connect(reset);
    } catch (error) {
      if (error.status !== 401 && mine === source) lost(mine, reset);
    }
  }, AGAIN);
}

export function start(reset) {
  document.addEventListener("visibilitychange", () => {
    clearTimeout(waiting);
    if (!address) return;
    if (!document.hidden && !source) connect(reset);
    if (document.hidden && source && !log.running() && !notices.wanted()) {
      waiting = setTimeout(() => { source?.close(); source = null; }, HIDDEN_FOR);
    }
  });
}
