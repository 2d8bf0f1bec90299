// The one event stream of all tabs, in a shared worker. A browser opens six connections to a site
// (HTTP/1.1), for all its tabs and windows together.

const AGAIN = 1500; // milliseconds before a lost connection is opened again
const LOST = 45000; // milliseconds without a byte: the server sends one every 15 seconds
const GONE = 200000; // milliseconds without a message of a tab: a hidden one sends one every minute
const tabs = new Map(); // port → its tab's key, conversation and cursor, and when it sent them
let controller = new AbortController();
let lastByteAt = 0;
let timer = 0;

/** Each tab sends what it follows, and repeats it. It takes the answer as a sign that this worker runs. */
globalThis.onconnect = ({ ports: [port] }) => {
  port.onmessage = ({ data }) => {
    port.postMessage({});
    const now = Date.now();
    const isKnown = tabs.get(port)?.key === data.key;
    if (!data.conversation) tabs.delete(port);
    else if (isKnown) tabs.get(port).at = now;
    else tabs.set(port, { ...data, at: now });
    for (const [other, { at }] of tabs) if (now - at > GONE) tabs.delete(other);
    // Until another tab comes, the stream includes tabs that have left. Their events are dropped.
    if (tabs.size === 0) disconnect();
    else if (data.conversation && (!isKnown || now - lastByteAt > LOST)) schedule(0);
  };
};

function disconnect() {
  clearTimeout(timer);
  controller.abort();
}

function schedule(milliseconds) {
  clearTimeout(timer);
  timer = setTimeout(connect, milliseconds);
}

/** Follow the conversations of all tabs, each from its cursor. */
async function connect() {
  disconnect();
  controller = new AbortController();
  const { signal } = controller;
  const followers = [...tabs];
  const query = new URLSearchParams({ html: 1 });
  for (const [, { conversation, cursor }] of followers) query.append("follow", `${conversation}:${cursor}`);
  lastByteAt = Date.now();
  let status = 0;
  try {
    const answer = await fetch(`/events?${query}`, { signal });
    status = answer.status;
    if (answer.ok) await read(answer.body, followers);
  } catch {
    // There was no connection, or it broke.
  }
  if (signal.aborted) return;
  for (const [port, { key }] of tabs) port.postMessage({ key, event: status === 401 ? "refused" : "lost", data: JSON.stringify({ status }) });
  if (status === 401) tabs.clear();
  else schedule(AGAIN);
}

async function read(body, followers) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
    lastByteAt = Date.now();
    const frames = (rest + piece.value).split("\n\n");
    rest = frames.pop();
    for (const frame of frames) forward(frame, followers);
  }
}

function forward(frame, followers) {
  const { event = "", id, data } = Object.fromEntries(frame.split("\n").map((line) => line.split(/: (.*)/s)));
  const [number, name] = event.split(".");
  if (!name) return; // a keep-alive
  const [port, tab] = followers[number];
  tab.cursor = id ?? tab.cursor;
  if (tabs.get(port) === tab) port.postMessage({ key: tab.key, event: name, cursor: tab.cursor, data });
}
