// The dialog for the reason of a denial.

import { draw, form } from "./dialogs.js";
import { $, make } from "./element.js";
import { say } from "./words.js";

let deny;

const dialog = draw("reason", say("reason_title"), form(() => { dialog.close(); deny($("why").value); }, "send",
  make("label", { for: "why", text: say("reason_label") }),
  make("textarea", { id: "why", rows: 3, dir: "auto", required: true, maxlength: 500 })));

/** Ask for the reason, and call `whenGiven` with it. */
export function open(whenGiven) {
  deny = whenGiven;
  $("why").value = "";
  dialog.showModal();
}
