// The dialog in which the owner changes the name that others and the model see.

import { draw, form } from "./dialogs.js";
import { $, make } from "./element.js";
import { send } from "./server.js";
import { say } from "./words.js";

let showName;

const dialog = draw("naming", say("my_name_title"), form(save, "save",
  make("p", { id: "naming-why", text: say("my_name_why") }),
  make("label", { for: "own-name", text: say("name") }),
  make("input", { id: "own-name", dir: "auto", maxlength: 60, autocomplete: "name", "aria-describedby": "naming-why" }),
  make("p", { id: "naming-trouble", role: "alert" })));

async function save() {
  try {
    await send("PATCH", "/me", { name: $("own-name").value });
    await showName();
    dialog.close();
  } catch (error) {
    $("naming-trouble").textContent = error.message;
  }
}

/** `show` shows the name once it is changed. */
export function open(name, show) {
  showName = show;
  $("own-name").value = name;
  $("naming-trouble").textContent = "";
  dialog.showModal();
}
