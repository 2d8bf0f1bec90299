// The dialog for the reason of a denial.

import { decide } from "./card.js";
import { $, make } from "./element.js";
import { say } from "./words.js";

function draw() {
  const dialog = make("dialog", { id: "reason", "aria-labelledby": "reason-title" }, make("form", {},
    make("h2", { id: "reason-title", text: say("reason_title") }),
    make("label", { for: "why", text: say("reason_label") }),
    make("textarea", { id: "why", rows: 3, dir: "auto", required: true, maxlength: 500 }),
    make("button", { type: "button", text: say("cancel"), on: { click: () => dialog.close() } }),
    make("button", { type: "submit", text: say("send") })));
  document.body.append(dialog);
}

/** Ask for the reason, and deny the request with it. */
export function open(id, conversation, button) {
  if (!$("reason")) draw();
  $("reason").querySelector("form").onsubmit = (event) => {
    event.preventDefault();
    $("reason").close();
    decide(id, "deny", conversation, button, { reason: $("why").value });
  };
  $("why").value = "";
  $("reason").showModal();
}
