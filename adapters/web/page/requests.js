// The cards of the requests that wait for this person's decision, once they are asked for.

import * as card from "./card.js";
import { closing, draw } from "./dialogs.js";
import { $, againButton, make } from "./element.js";
import { request } from "./server.js";
import { say } from "./words.js";

const TOGETHER = 10; // requests that one press approves
const PLATFORMS = { slack: "Slack", discord: "Discord" };

const dialog = draw("requests", say("approvals_title"), closing(), make("p", { id: "requests-none", role: "status", hidden: true }),
  make("ul", { id: "requests-list" }), make("p", { id: "requests-more", class: "hint" }), make("p", { id: "requests-together", class: "actions" }));
dialog.addEventListener("close", () => {
  $("requests-list").replaceChildren();
  $("approvals").hidden = $("approvals-count").textContent === "0";
});

/** Show the requests as they are now. Decisions are stored in `current`, the open conversation, where
    the person cannot open that of a request. */
export async function list(current) {
  try {
    const { approvals, more } = await request("/approvals");
    const home = $("requests-list");
    for (const one of approvals) {
      if (!home.querySelector(`[data-card="${one.id}"]`)) home.append(item(one, current));
    }
    // What was decided stays in sight until the list is closed.
    const open = home.querySelectorAll(".card[data-state=open]");
    const waiting = new Set(approvals.map(({ id }) => id));
    for (const old of open) {
      if (waiting.has(old.dataset.card)) continue;
      const hadFocus = old.contains(document.activeElement);
      old.closest("li").remove();
      if (hadFocus) dialog.querySelector("form button").focus();
    }
    $("requests-none").hidden = home.children.length > 0;
    $("requests-more").textContent = more ? say("approvals_more", { count: more }) : "";
    offerTables(approvals, current);
  } catch (error) {
    $("requests-none").replaceChildren(error.message, " ", againButton(() => list(current)));
    $("requests-none").hidden = false;
  }
}

/** One button for each table with several requests. It approves exactly the versions that are drawn here. */
function offerTables(approvals, current) {
  const byTable = new Map();
  for (const one of approvals.filter(({ actions }) => actions.includes("approve"))) {
    byTable.set(one.table, [...(byTable.get(one.table) ?? []), one]);
  }
  const several = [...byTable].filter(([, cards]) => cards.length > 1 && cards.length <= TOGETHER);
  $("requests-together").replaceChildren(...several.map(([table, cards]) =>
    make("button", { type: "button", class: "approve", text: say("approve_table", { count: cards.length, table }),
      on: { click: ({ currentTarget }) => card.decide(cards[0].id, "approve", cards[0].conversation ?? current, currentTarget,
        { others: cards.slice(1).map(({ id }) => card.versionShown(id)) }) } })));
}

function item(one, current) {
  const made = make("li");
  $("requests-list").append(made);
  card.place(one, made, one.conversation ?? current);
  const from = PLATFORMS[one.platform];
  if (from) made.prepend(make("p", { class: "hint", text: say("approvals_from", { platform: from }) }));
  if (one.conversation) {
    made.append(make("a", { href: `#${one.conversation}`, text: say("approvals_open"),
      on: { click: () => dialog.close() } }));
  }
  return made;
}

export function show(current) {
  $("requests-list").replaceChildren();
  $("requests-together").replaceChildren();
  $("requests-more").textContent = "";
  $("requests-none").textContent = say("approvals_none");
  $("requests-none").hidden = true;
  dialog.showModal();
  list(current);
}
