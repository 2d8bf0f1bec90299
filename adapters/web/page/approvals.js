// The requests that wait for this person's decision, in any conversation: a count, and their cards.

import * as card from "./card.js";
import { $, make } from "./element.js";
import { icon } from "./icons.js";
import * as notices from "./notices.js";
import { request } from "./server.js";
import { say } from "./words.js";

let current = "";

/** A decision is stored in the conversation of its request; in this one if the person cannot open that. */
export function turnTo(conversation) {
  current = conversation;
}

/** Show how many there are: the event stream tells it when that changes. A new stream begins with
    none (`isNew`). */
export function count(number, isNew = false) {
  $("approvals").hidden = number === 0 && !$("requests").open;
  $("approvals-count").textContent = number;
  if (!isNew) notices.onRequests(number);
  $("approvals").setAttribute("aria-label", say("approvals_count", { count: number }));
  if ($("requests").open) list();
}

async function list() {
  try {
    const { approvals } = await request("/approvals");
    const home = $("requests-list");
    for (const one of approvals) {
      if (!home.querySelector(`[data-card="${one.id}"]`)) home.append(item(one));
    }
    // What was decided stays in sight until the list is closed.
    const open = home.querySelectorAll(".card[data-state=open]");
    const waiting = new Set(approvals.map(({ id }) => id));
    for (const old of open) {
      if (waiting.has(old.dataset.card)) continue;
      const hadFocus = old.contains(document.activeElement);
      old.closest("li").remove();
      if (hadFocus) $("requests").querySelector("form button").focus();
    }
    $("requests-none").hidden = home.children.length > 0;
  } catch (error) {
    $("requests-none").textContent = error.message;
    $("requests-none").hidden = false;
  }
}

function item(one) {
  const made = make("li");
  $("requests-list").append(made);
  card.place(one, made, one.conversation ?? current);
  if (one.conversation) {
    made.append(make("a", { href: `#${one.conversation}`, text: say("approvals_open"),
      on: { click: () => $("requests").close() } }));
  }
  return made;
}

function show() {
  $("requests-list").replaceChildren();
  $("requests-none").textContent = say("approvals_none");
  $("requests-none").hidden = true;
  $("requests").showModal();
  list();
}

export function start() {
  $("approvals").prepend(icon("approve"));
  $("approvals").addEventListener("click", show);
  $("requests").addEventListener("close", () => {
    $("requests-list").replaceChildren();
    $("approvals").hidden = $("approvals-count").textContent === "0";
  });
}
