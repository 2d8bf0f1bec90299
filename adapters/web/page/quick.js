// Quick commands: a form made from the registry. What is filled in goes out as the words that a
// person would type, so that it is stored, shown and repeated like any message.

import { submit, takeFiles } from "./composer.js";
import { draw, form } from "./dialogs.js";
import { $, make } from "./element.js";
import { say } from "./words.js";

const NAME = /^[\p{L}_][\p{L}\p{N}_.-]*$/u;
let commands;

function choose() {
  const command = chosen();
  const inputs = command.inputs.length > 0 ? command.inputs
    : [{ name: "", type: "text", required: false, choices: [] }];
  $("quick-about").textContent = command.description;
  $("quick-inputs").replaceChildren(...inputs.flatMap((input, number) => {
    const id = `quick-${number}`;
    const field = fieldOf(input, { id, name: input.name, required: input.required, dir: "auto" });
    const label = input.name || say("quick_text");
    return [make("label", { for: id, text: input.required ? say("quick_required", { name: label }) : label }), field];
  }));
}

function fieldOf({ type, required, choices }, marks) {
  if (type === "number") return make("input", { inputmode: "decimal", ...marks });
  if (type === "text") return make("textarea", { rows: "2", ...marks });
  const pairs = type === "boolean" ? [["true", say("yes")], ["false", say("no")]] : choices.map((one) => [one, one]);
  return make("select", marks, ...(required ? [] : [make("option", { value: "", text: "–" })]),
    ...pairs.map(([value, text]) => make("option", { value, text })));
}

function chosen() {
  return commands.find((one) => one.slug === $("quick-slug").value);
}

function run() {
  dialog.close();
  const { slug, inputs } = chosen();
  const fields = [...$("quick-inputs").querySelectorAll("textarea, input, select")];
  const given = fields.map((field) => [field.name, field.value]).filter(([, value]) => value.trim());
  if ($("text").value === "/") $("text").value = ""; // it opened this form
  submit(`quick-command ${slug} ${inputs.length > 0 ? named(given) : plain(given[0]?.[1] ?? "")}`, { files: takeFiles() });
  $("text").focus();
}

/** As core/commands/quick_commands.py reads it. */
function named(given) {
  if (!given.every(([name]) => NAME.test(name))) return JSON.stringify(Object.fromEntries(given));
  return given.map(([name, value]) => `${name}=${quoted(value)}`).join(" ");
}

function plain(text) {
  return /^\s*(["{]|[\p{L}_][\p{L}\p{N}_.-]*=)/u.test(text) ? quoted(text.trim()) : text;
}

function quoted(text) {
  return `"${text.replace(/[\\"]/g, "\\$&")}"`;
}

const dialog = draw("quick-form", say("quick_title"), make("div", { id: "quick-saved", hidden: true }), form(run, "quick_run",
  make("label", { for: "quick-slug", text: say("quick_which") }),
  make("select", { id: "quick-slug", on: { change: choose } }),
  make("p", { id: "quick-about", dir: "auto" }),
  make("div", { id: "quick-inputs" }),
  make("p", { id: "quick-files", class: "hint", text: say("quick_files") })));

/** `slug`: the command that is chosen at first. `saved`: names of saved questions, which a click puts into the box. */
export async function open(those, slug, saved = []) {
  commands = those;
  $("quick-saved").hidden = saved.length === 0;
  const done = () => { dialog.close(); if ($("text").value === "/") $("text").value = ""; };
  $("quick-form-title").textContent = say(commands.length ? "quick_title" : "saved");
  const heading = commands.length ? [make("h3", { text: say("saved") })] : [];
  if (saved.length) $("quick-saved").replaceChildren(...heading, ...(await import("./saved.js")).list(saved, done));
  for (const part of dialog.querySelectorAll("form > :not([type=button])")) part.hidden = commands.length === 0;
  if (!commands.length) return dialog.showModal();
  $("quick-files").hidden = !$("attached").childElementCount;
  $("quick-slug").replaceChildren(...commands.map(({ slug: value, title }) => make("option", { value, text: title })));
  $("quick-slug").value = slug;
  choose();
  dialog.showModal();
}
