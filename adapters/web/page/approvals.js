// The count of the requests that wait for this person's decision, in any conversation.

import { $ } from "./element.js";
import { icon } from "./icons.js";
import * as notices from "./notices.js";
import { say } from "./words.js";

let current = "";

/** A decision is stored in the conversation of its request; in this one if the person cannot open that. */
export function turnTo(conversation) {
  current = conversation;
}

/** Show how many there are: the event stream tells it when it begins (`isFirst`) and when that changes. */
export function count(number, isFirst = false) {
  $("approvals").hidden = number === 0 && !$("requests")?.open;
  $("approvals-count").textContent = number;
  notices.onRequests(number, isFirst);
  $("approvals").setAttribute("aria-label", say("approvals_count", { count: number }));
  if ($("requests")?.open) requests(({ list }) => list(current));
}

async function requests(act) {
  act(await import("./requests.js"));
}

export function start() {
  $("approvals").prepend(icon("approve"));
  $("approvals").addEventListener("click", () => requests(({ show }) => show(current)));
}
