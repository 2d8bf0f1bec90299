// What can be done with one conversation: rename, pin, export, delete.

import { changed } from "./conversations.js";
import { $, notice } from "./element.js";
import { patch } from "./server.js";
import { say } from "./words.js";

export function open({ id, title, pinned }) {
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
  $("rename").value = title;
  $("renamed").onsubmit = doing(() => ({ title: $("rename").value }));
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
