// The forms in a card: of a change, which sends only the values that differ from those shown, and of a denial's reason.

import { isComposing, loadStyle, make } from "./element.js";
import { request } from "./server.js";
import { say } from "./words.js";

const TYPES = { date: "date", moment: "datetime-local", checkbox: "checkbox" };

await loadStyle("change.css");

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
      markInvalid(inputs, changed, form.nextElementSibling?.textContent ?? "");
      (form.querySelector("[data-error]") ?? form.nextElementSibling)?.scrollIntoView({ block: "nearest" });
      return;
    }
    const isOpen = form.isConnected;
    form.remove();
    if (isOpen && !isDone) open(id, conversation, frame, card, changed); // someone else changed it first
  };
  const form = make("form", { "aria-label": `${say("change")}: ${title}`, "data-action": "change", on: { submit: save, keydown: onEscape(close) } },
    ...layOut(fields, inputs.map(([, input]) => input)),
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

/** Ask for the reason, which may be empty, and call `deny` with it. `action`: the button that asks. */
export function askReason(action, copy, deny) {
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

/** The labelled inputs of one row; those of several are cells of a table. */
function layOut(fields, inputs) {
  const isOneRow = fields.every(({ key, label }) => key === label);
  if (!isOneRow) return [tableOf(fields, inputs)];
  return fields.map(({ label }, at) => {
    const name = make("span", { dir: "auto", text: label }), isBox = inputs[at].type === "checkbox";
    return make("label", { class: isBox && "check" }, ...(isBox ? [inputs[at], name] : [name, inputs[at]]));
  });
}

/** A row for each row of the card, below one whose values go into all of them. */
function tableOf(fields, inputs) {
  const labels = [...new Set(fields.map(({ label }) => label))];
  const rows = new Map([["", { name: say("all_rows"), cells: new Map() }]]);
  fields.forEach(({ key, label, row }, at) => {
    const [number] = /^\d+/.exec(key), name = row || `${say("row")} ${number}`;
    if (!rows.has(number)) rows.set(number, { name, cells: new Map() });
    rows.get(number).cells.set(label, inputs[at]);
    inputs[at].setAttribute("aria-label", `${label}, ${name}`);
  });
  for (const label of labels) {
    const column = inputs.filter((_, at) => fields[at].label === label);
    rows.get("").cells.set(label, inputForAll(fields.find((field) => field.label === label), column));
  }
  const heading = (scope, role, text) => make("th", { scope, role, dir: "auto", text });
  const line = ({ name, cells }) => make("tr", { role: "row" }, heading("row", "rowheader", name),
    ...labels.map((label) => make("td", { role: "cell", "data-head": `${say("field", { name: label })} ` }, cells.get(label) ?? "–")));
  return make("div", { class: "table", tabindex: "0", role: "group", "aria-label": say("table") }, make("table", { role: "table" },
    make("thead", { role: "rowgroup" }, make("tr", { role: "row" }, ...[say("row"), ...labels].map((text) => heading("col", "columnheader", text)))),
    make("tbody", { role: "rowgroup" }, ...[...rows.values()].map(line))));
}

/** An input that writes into those of its column. A box is mixed where they differ. */
function inputForAll(field, column) {
  const values = new Set(column.map(read)), value = values.size === 1 ? [...values][0] : "";
  const input = inputOf({ ...field, value });
  input.setAttribute("aria-label", `${field.label}, ${say("all_rows")}`);
  input.indeterminate = values.size > 1;
  input.addEventListener("input", () => { for (const one of column) write(one, read(input)); });
  return input;
}

/** Mark the inputs that an error names, or the only one that was changed. The first cell of a table shows the error. */
function markInvalid(inputs, changed, message) {
  for (const [key, input] of inputs) {
    const label = key.replace(/^\d+\./, "");
    const isMeant = key in changed && (message.includes(label) || Object.keys(changed).length === 1);
    if (isMeant) input.setAttribute("aria-invalid", "true");
    else input.removeAttribute("aria-invalid");
    delete input.closest("td")?.dataset.error;
  }
  const cell = inputs.find(([, input]) => input.ariaInvalid)?.[1].closest("td");
  if (cell) cell.dataset.error = message;
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
