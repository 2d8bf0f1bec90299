// What can be done with one conversation: rename, pin, export, delete, instruct the model.

import { changed, setInstructions } from "./conversations.js";
import { $, notice } from "./element.js";
import { patch } from "./server.js";
import { say } from "./words.js";

/** `begun`: it has a message. `current`: it is the one that is open. */
export function open({ id, title, pinned }, { begun, current }) {
  const dialog = $("conversation");
  const doing = (body) => async (event) => {
    event.preventDefault();
    dialog.close();
    try {
      await patch(`/conversations/${id}`, body());
    } catch (error) {
      notice(error.message);
    }
    changed();
  };
  $("conversation-title").textContent = title || say("untitled");
  $("renamed").hidden = $("conversation-acts").hidden = !begun;
  $("instructing").hidden = !current;
  $("rename").value = title;
  $("renamed").onsubmit = doing(() => ({ title: $("rename").value }));
  $("instructing").onsubmit = doing(() => {
    setInstructions($("instructions").value.trim());
    return { instructions: $("instructions").value };
  });
  $("pin").textContent = say(pinned ? "unpin" : "pin");
  $("pin").onclick = doing(() => ({ pinned: !pinned }));
  $("export").href = `/conversations/${id}/export`;
  $("delete").onclick = (event) => {
    event.preventDefault();
    dialog.close();
    dispatchEvent(new CustomEvent("forgetting", { detail: id }));
  };
  dialog.showModal();
}
