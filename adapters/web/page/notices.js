// A notification when an answer or a request waits and nobody sees the page. It has no words of the
// conversation, because others may see the screen.

import { say } from "./words.js";

let worker = null;
let waiting = 0; // requests that were counted last

/** Whether the person wants notifications, in this browser. */
export function wanted() {
  return Boolean(worker) && globalThis.Notification?.permission === "granted" && localStorage.getItem("notify") === "on";
}

export function onAnswer(conversation) {
  notify("notice_answer", `answer-${conversation}`, `/#${conversation}`);
}

/** `isFirst`: a new stream tells how many wait. It may not have counted them yet. */
export function onRequests(count, isFirst) {
  if (count > waiting && !isFirst) notify("notice_request", "request", `/${location.hash}`);
  if (count || !isFirst) waiting = count;
}

function notify(word, tag, address) {
  if (!document.hidden || !wanted()) return;
  worker.showNotification("Ponte", { body: say(word), tag, data: address, icon: "/page/ponte.svg" }).catch(() => {});
}

/** Whether this browser can show notifications, and the person has not forbidden them. */
export function isAvailable() {
  return Boolean(worker && globalThis.Notification) && Notification.permission !== "denied";
}

export async function toggle() {
  if (wanted()) localStorage.removeItem("notify");
  else if (await Notification.requestPermission() === "granted") localStorage.setItem("notify", "on");
}

/** Browsers have service workers on https and on this machine only. */
export async function start() {
  navigator.serviceWorker?.addEventListener("message", ({ data }) => {
    if (data?.go) location.hash = data.go;
  });
  try {
    worker = await navigator.serviceWorker?.register("/page/worker.js", { scope: "/" });
  } catch {
    worker = null; // a browser without it has no notifications
  }
}
