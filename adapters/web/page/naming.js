// The dialog in which the owner changes the name that others and the model see.

import { $ } from "./element.js";
import { patch } from "./server.js";

/** `renamed` shows the new name. */
export function open(renamed) {
  $("naming-trouble").textContent = "";
  $("naming-cancel").onclick = () => $("naming").close();
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
