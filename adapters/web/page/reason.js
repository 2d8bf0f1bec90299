// The dialog for the reason of a denial.

import { decide } from "./card.js";
import { draw, form } from "./dialogs.js";
import { $, make } from "./element.js";
import { say } from "./words.js";

let deny;

const dialog = draw("reason", say("reason_title"), form(() => { dialog.close(); deny(); }, "send",
  make("label", { for: "why", text: say("reason_label") }),
  make("textarea", { id: "why", rows: 3, dir: "auto", required: true, maxlength: 500 })));

/** Ask for the reason, and deny the request with it. */
export function open(id, conversation, button) {
  deny = () => decide(id, "deny", conversation, button, { reason: $("why").value });
  $("why").value = "";
  dialog.showModal();
}
