// *Run again* and *Save…* at an answer of rows or figures, and the saved questions in a dialog.

import "./details.js"; // its style sheets
import { isComposing, make, notice, randomKey, stick } from "./element.js";
import { iconButton } from "./icons.js";
import { post, request } from "./server.js";
import { say } from "./words.js";

/** Offer both in the row above the first table, on a phone behind one button; without a table among
    the buttons of the answer. `rerun` runs the question again: the newest result has the buttons. */
export function offer(shown, conversation, rerun) {
  const [, former] = /^rerun (\w+)$/.exec(shown.text) ?? [];
  for (const item of [shown.item, document.getElementById(`turn-${former}`)]) item?.querySelectorAll(".rerun").forEach((one) => one.remove());
  const again = make("button", { type: "button", class: "quiet-button rerun", text: say("rerun"), on: { click: rerun } });
  const save = make("button", { type: "button", class: "quiet-button rerun", text: say("keep"), on: { click: () => ask(shown, conversation, save) } });
  const row = shown.body.querySelector(".above:has(+ div.table)");
  if (!row) return shown.tools.prepend(again, save);
  const both = [again, save].map((one) => ({ text: one.textContent, act: () => one.click() }));
  const more = iconButton("more", "more_here", async () => (await import("./menu.js")).toggleMenu(more, both),
    { class: "quiet-button rerun on-phone", "aria-haspopup": "menu", "aria-expanded": "false" });
  row.classList.add("reruns");
  row.append(again, save, more);
}

/** Open the form with the name of the question. What it reads stands below. */
async function ask(shown, conversation, button) {
  if (shown.answer.querySelector("form.saving")) return;
  try {
    const { fields } = await request(`/turns/${shown.turn}/saving`);
    draw(shown, conversation, button, fields);
  } catch (error) {
    notice(error.message);
  }
}

function draw(shown, conversation, button, fields) {
  const inputs = new Map(fields.map(({ key, value }) => [key, key === "title" ? make("input", { value, required: true, maxlength: 60, dir: "auto" })
    : make("input", { type: "checkbox", checked: value === "true" })]));
  const close = () => {
    form.remove();
    (button.checkVisibility() ? button : shown.answer.querySelector(".on-phone") ?? button).focus();
  };
  const wrong = make("p", { class: "bad", role: "alert" }), name = inputs.get("title");
  const submit = async (event) => {
    event.preventDefault();
    const moves = inputs.get("move")?.checked ? "true" : "";
    try {
      const body = await post("/chat", { message: `save ${shown.turn} /${moves} ${name.value}`, conversation, event_key: randomKey() });
      if (body.status === "failed") throw new Error(body.response);
      const words = body.response.split("`").map((part, at) => at % 2 ? make("code", { text: part }) : part);
      form.replaceWith(make("p", { class: "feedback", role: "status" }, ...words));
      button.focus();
      dispatchEvent(new Event("saved"));
    } catch (error) {
      wrong.textContent = error.message;
      name.setAttribute("aria-invalid", "true");
      name.focus();
    }
  };
  const onKey = (event) => event.key === "Escape" && !isComposing(event) && close();
  const form = make("form", { class: "feedback saving", on: { submit, keydown: onKey } },
    ...fields.map(({ key, label, hint }) => key === "title"
      ? make("label", {}, label, inputs.get(key), make("span", { class: "hint", dir: "auto", text: hint }))
      : make("label", { class: "share" }, inputs.get(key), label)),
    wrong, make("button", { type: "submit", text: say("save") }), make("button", { type: "button", text: say("cancel"), on: { click: close } }));
  stick(() => shown.tools.before(form));
  name.select();
  name.focus();
}

/** A button for each name that puts `show NAME` into the box. */
export function list(names, done) {
  const messages = new Map(names.map((name) => [name, `show ${name}`]));
  return [...messages].map(([name, message]) =>
    make("button", { type: "button", class: "chip", dir: "auto", text: name, "data-fill": message, on: { click: done } }));
}
