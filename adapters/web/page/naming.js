// The dialog in which the owner changes the name that others and the model see.

import { $, make } from "./element.js";
import { patch } from "./server.js";
import { say } from "./words.js";

function draw() {
  const dialog = make("dialog", { id: "naming", "aria-labelledby": "naming-title" }, make("form", {},
    make("h2", { id: "naming-title", text: say("my_name_title") }),
    make("p", { id: "naming-why", text: say("my_name_why") }),
    make("label", { for: "own-name", text: say("name") }),
    make("input", { id: "own-name", dir: "auto", maxlength: 60, autocomplete: "name", "aria-describedby": "naming-why" }),
    make("p", { id: "naming-trouble", role: "alert" }),
    make("button", { type: "button", text: say("cancel"), on: { click: () => dialog.close() } }),
    make("button", { type: "submit", text: say("save") })));
  document.body.append(dialog);
}

/** `renamed` shows the new name. */
export function open(name, renamed) {
  if (!$("naming")) draw();
  $("own-name").value = name;
  $("naming-trouble").textContent = "";
  $("naming").querySelector("form").onsubmit = async (event) => {
    event.preventDefault();
    try {
      await patch("/me", { name: $("own-name").value });
      await renamed();
      $("naming").close();
    } catch (error) {
      $("naming-trouble").textContent = error.message;
    }
  };
  $("naming").showModal();
}
