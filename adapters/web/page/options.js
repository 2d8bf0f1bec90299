// What can be done with one conversation: rename, pin, export, delete.

import { closing, draw } from "./dialogs.js";
import { $, make, notice } from "./element.js";
import { patch } from "./server.js";
import { say } from "./words.js";

let conversation;
let changed;

const dialog = draw("conversation", "",
  make("form", { id: "renamed", on: { submit: (event) => { event.preventDefault(); mark({ title: $("rename").value }); } } },
    make("label", { for: "rename", text: say("name") }),
    make("input", { id: "rename", dir: "auto", maxlength: 200 }),
    make("button", { type: "submit", class: "plain", text: say("rename") })),
  make("p", { id: "conversation-acts" },
    make("button", { id: "pin", type: "button", on: { click: () => mark({ pinned: !conversation.pinned }) } }),
    make("a", { id: "export", download: true, text: say("export") }),
    make("button", { id: "delete", type: "button", class: "danger", text: say("forget_do"),
      on: { click: () => { dialog.close(); sure.showModal(); } } })),
  closing());

const sure = draw("sure", say("forget_ask"), make("form", { method: "dialog" },
  make("p", { text: say("forget_why") }),
  make("button", { value: "", text: say("cancel") }),
  make("button", { value: "forget", class: "danger", text: say("forget_do") })));
sure.addEventListener("close", () => {
  if (sure.returnValue === "forget") dispatchEvent(new CustomEvent("forgetting", { detail: conversation.id }));
});

async function mark(marks) {
  dialog.close();
  await patch(`/conversations/${conversation.id}`, marks).catch((error) => notice(error.message));
  changed();
}

/** `whenChanged` is called after a change. */
export function open(one, whenChanged) {
  conversation = one;
  changed = whenChanged;
  $("conversation-title").textContent = one.title || say("untitled");
  $("rename").value = one.title;
  $("pin").textContent = say(one.pinned ? "unpin" : "pin");
  $("export").href = `/conversations/${one.id}/export`;
  sure.returnValue = "";
  dialog.showModal();
}
