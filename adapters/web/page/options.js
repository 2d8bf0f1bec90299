// What can be done with one conversation: rename, pin, export, delete.

import { changed } from "./conversations.js";
import { $, make, notice } from "./element.js";
import { patch } from "./server.js";
import { say } from "./words.js";

function draw() {
  document.body.append(make("dialog", { id: "conversation", "aria-labelledby": "conversation-title" },
    make("h2", { id: "conversation-title", dir: "auto" }),
    make("form", { id: "renamed" },
      make("label", { for: "rename", text: say("name") }),
      make("input", { id: "rename", dir: "auto", maxlength: 200 }),
      make("button", { type: "submit", class: "plain", text: say("rename") })),
    make("p", { id: "conversation-acts" }, make("button", { id: "pin", type: "button" }),
      make("a", { id: "export", download: true, text: say("export") }),
      make("button", { id: "delete", type: "button", class: "danger", text: say("forget_do") })),
    make("form", { method: "dialog" }, make("button", { text: say("close") }))));
}

export function open({ id, title, pinned }) {
  if (!$("conversation")) draw();
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
