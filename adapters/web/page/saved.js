// *Run again*, *Save…* and *Alert…* at an answer of rows or figures, and the saved questions in a dialog.

import "./details.js"; // its style sheets
import { $, isComposing, make, notice, randomKey, scrollPage, stick } from "./element.js";
import { iconButton } from "./icons.js";
import { post, request } from "./server.js";
import { say } from "./words.js";

/** Offer them in the row above the first table, on a phone behind one button; without a table among
    the buttons of the answer. `rerun` runs the question again: the newest result has the buttons. */
export function offer(shown, conversation, rerun) {
  const [, former] = /^rerun (\w+)$/.exec(shown.text) ?? [];
  for (const item of [shown.item, document.getElementById(`turn-${former}`)]) item?.querySelectorAll(".rerun").forEach((one) => one.remove());
  const button = (name, click) => make("button", { type: "button", class: "quiet-button rerun", text: say(name), on: { click } });
  const opening = ({ currentTarget }, name) => ask(shown, conversation, currentTarget, name);
  const all = [button("rerun", rerun), button("keep", (event) => opening(event, "saving")), button("watch", (event) => opening(event, "alert"))];
  const row = shown.body.querySelector(".above:has(+ div.table)");
  if (!row) return shown.tools.prepend(...all);
  const entries = all.map((one) => ({ text: one.textContent, act: () => one.click() }));
  const more = iconButton("more", "more_here", async () => (await import("./menu.js")).toggleMenu(more, entries),
    { class: "quiet-button rerun on-phone", "aria-haspopup": "menu", "aria-expanded": "false" });
  row.classList.add("reruns");
  row.append(...all, more);
}

/** Open the form `name` of an answer: "saving" or "alert". */
async function ask(shown, conversation, button, name) {
  try {
    const { fields } = await request(`/turns/${shown.turn}/saving${name === "alert" ? "?alert=true" : ""}`);
    const open = shown.answer.querySelector("form.saving");
    if (open?.dataset.form === name) return open.elements[0].focus();
    open?.remove();
    draw(shown, conversation, button, fields, name);
  } catch (error) {
    notice(error.message);
  }
}

function draw(shown, conversation, button, fields, name) {
  const inputs = new Map(fields.map((field) => [field.key, input(field)])), first = inputs.values().next().value;
  const close = () => {
    form.remove();
    (button.checkVisibility() ? button : shown.answer.querySelector(".on-phone") ?? button).focus();
  };
  const read = (key) => inputs.get(key)?.type === "checkbox" ? (inputs.get(key).checked ? "true" : "") : inputs.get(key)?.value ?? "";
  const command = () => name === "saving" ? `save ${shown.turn} /${read("move")} ${read("title")}`
    : `watch ${shown.turn} ${["value", "comparison", "every", "now", "limit", "title"].map(read).join("|")}`;
  const wrong = make("p", { class: "bad", role: "alert" });
  const submit = async (event) => {
    event.preventDefault();
    send.disabled = true; // Enter sends nothing, either
    try {
      const body = await post("/chat", { message: command(), conversation, event_key: randomKey() });
      if (body.status === "failed") throw new Error(body.response);
      if (name === "saving") form.replaceWith(make("p", { class: "feedback", role: "status" }, ...markCode(body.response)));
      else form.remove(); // the card comes as a message, to which the page goes
      $("quick").hidden = false;
      button.focus({ preventScroll: name === "alert" });
      if (name === "alert") scrollPage();
    } catch (error) {
      send.disabled = false;
      wrong.replaceChildren(...markCode(error.message));
      const bad = inputs.get("limit") ?? first;
      bad.setAttribute("aria-invalid", "true");
      bad.focus();
    }
  };
  const send = make("button", { type: "submit", text: say(name === "saving" ? "save" : "send") });
  const onKey = (event) => event.key === "Escape" && !isComposing(event) && close();
  const labels = fields.map(({ key, type, label, hint }) => type === "checkbox"
    ? make("label", { class: "share" }, inputs.get(key), label)
    : make("label", { "data-key": key }, label, inputs.get(key), ...(hint ? [make("span", { class: "hint", dir: "auto", text: hint })] : [])));
  // A row that appears has no limit.
  const change = () => labels.filter((one) => ["comparison", "limit"].includes(one.dataset.key)).forEach((one) => {
    one.hidden = first.value === "new";
    inputs.get(one.dataset.key).required = !one.hidden;
  });
  const form = make("form", { class: "feedback saving", "data-form": name, on: { submit, change, keydown: onKey } }, ...labels,
    wrong, send, make("button", { type: "button", text: say("cancel"), on: { click: close } }));
  change();
  stick(() => shown.tools.before(form));
  first.select?.();
  first.focus({ preventScroll: true });
  form.scrollIntoView({ block: "nearest" });
}

function input({ type, value, options, required }) {
  if (type === "checkbox") return make("input", { type, checked: value === "true" });
  if (type !== "select") return make("input", { value, required, maxlength: 60, dir: "auto" });
  return make("select", { dir: "auto" }, ...Object.entries(options).map(([option, text]) => make("option", { value: option, text, selected: option === value })));
}

function markCode(text) {
  return text.split("`").map((part, at) => at % 2 ? make("code", { text: part }) : part);
}

/** A button for each name that puts `show NAME` into the box. */
export function list(names, done) {
  const messages = new Map(names.map((name) => [name, `show ${name}`]));
  return [...messages].map(([name, message]) =>
    make("button", { type: "button", class: "chip", dir: "auto", text: name, "data-fill": message, on: { click: done } }));
}
