// The form in a card that asks why it is denied.

import { onEscape } from "./change.js";
import { make } from "./element.js";
import { say } from "./words.js";

/** Ask for the reason, which may be empty, and call `deny` with it. `action`: the button that asks. */
export function open(action, copy, deny) {
  if (copy.querySelector("form")) return;
  const close = () => {
    const home = form.closest(".card");
    form.remove();
    home.querySelector(`[data-action="${action}"]`).focus();
  };
  const send = (event) => {
    event.preventDefault();
    form.remove();
    deny(why.value.trim());
  };
  const why = make("textarea", { rows: 2, dir: "auto", maxlength: 500 });
  const form = make("form", { class: "reason", "data-action": action, on: { submit: send, keydown: onEscape(close) } },
    make("label", {}, make("span", { text: say("reason_label") }), why),
    make("div", { class: "actions" }, make("button", { type: "submit", text: say("deny") }),
      make("button", { type: "button", text: say("cancel"), on: { click: close } })));
  copy.querySelector(".note").before(form);
  why.focus();
}
