// The form in a card that changes its proposal. It sends only the values that differ from those shown.

import { isComposing, make } from "./element.js";
import { request } from "./server.js";
import { say } from "./words.js";

const TYPES = { date: "date", moment: "datetime-local", checkbox: "checkbox" };

await new Promise((resolve) => {
  const href = new URL("change.css", import.meta.url);
  document.head.append(make("link", { rel: "stylesheet", href, on: { load: resolve, error: resolve } }));
});

/** Open the form in the card's copy in `frame`, with what was typed before over the stored values. `card` has the
    functions of card.js. */
export async function open(id, conversation, frame, card, typed = {}) {
  let form;
  try {
    form = await request(`/cards/${id}/form?conversation=${conversation}`);
  } catch (error) {
    card.tell(id, error.message);
    return;
  }
  const copy = frame.querySelector(`[data-card="${id}"]`);
  if (copy && !copy.querySelector("form")) draw(form, copy, conversation, frame, card, typed);
}

function draw({ id, revision, title, fields }, copy, conversation, frame, card, typed) {
  const inputs = fields.map((field) => [field.key, inputOf(field)]);
  const shown = inputs.map(([, input]) => read(input));
  for (const [key, input] of inputs) if (key in typed) write(input, typed[key]);
  const values = () => Object.fromEntries(inputs.map(([key, input]) => [key, read(input)])
    .filter(([, value], at) => value !== shown[at]));
  const close = () => {
    const home = form.closest(".card");
    form.remove();
    home.querySelector('[data-action="change"]').focus();
  };
  const save = async (event) => {
    event.preventDefault();
    const changed = values();
    if (Object.keys(changed).length === 0) {
      close();
      return;
    }
    const focused = form.contains(document.activeElement) ? document.activeElement : event.submitter;
    const isDone = await card.decide(id, "change", conversation, focused, { revision, values: changed });
    if (isDone === undefined) { // refused: what was typed stays
      form.nextElementSibling?.scrollIntoView({ block: "nearest" });
      return;
    }
    const isOpen = form.isConnected;
    form.remove();
    if (isOpen && !isDone) open(id, conversation, frame, card, changed); // someone else changed it first
  };
  const form = make("form", { "aria-label": `${say("change")}: ${title}`, "data-action": "change", on: { submit: save, keydown: onEscape(close) } },
    ...groups(fields, inputs.map(([, input]) => input)),
    make("div", { class: "actions" }, make("button", { type: "submit", text: say("save") }),
      make("button", { type: "button", text: say("cancel"), on: { click: close } })));
  copy.querySelector(".note").before(form);
  inputs[0][1].focus();
}

/** A handler of keys that closes a form in a card, and not the dialog around it. */
export function onEscape(close) {
  return (event) => {
    if (event.key !== "Escape" || isComposing(event)) return;
    event.preventDefault();
    event.stopPropagation();
    close();
  };
}

/** The labelled inputs; those of one row of several are a group with its name, or its number. */
function groups(fields, inputs) {
  const rows = new Map();
  fields.forEach(({ key, label, row }, at) => {
    const number = key === label ? "" : /^(\d+)\./.exec(key)?.[1] ?? "";
    if (!rows.has(number)) rows.set(number, number ? [make("legend", { dir: "auto", text: row || `${say("row")} ${number}` })] : []);
    const name = make("span", { dir: "auto", text: label });
    const isBox = inputs[at].type === "checkbox";
    rows.get(number).push(make("label", { class: isBox && "check" }, ...(isBox ? [inputs[at], name] : [name, inputs[at]])));
  });
  return [...rows].flatMap(([number, parts]) => (number ? [make("fieldset", {}, ...parts)] : parts));
}

function inputOf({ type, value, options }) {
  if (type === "select") {
    const all = ["", ...(options.includes(value) || !value ? [] : [value]), ...options];
    const made = make("select", {}, ...all.map((one) => make("option", { value: one, text: one || "–" })));
    made.value = value;
    return made;
  }
  const made = type === "lines" ? make("textarea", { rows: "3", dir: "auto" })
    : make("input", { type: TYPES[type] ?? "text", step: "any", dir: type === "text" && "auto" });
  write(made, value);
  if (value && !read(made)) made.type = "text"; // a date that browsers do not read
  write(made, value);
  return made;
}

function read(input) {
  return input.type === "checkbox" ? String(input.checked) : input.value;
}

function write(input, value) {
  if (input.type === "checkbox") input.checked = value === "true";
  else input.value = value;
}
