// What can be done with one conversation: the menu at its button, a new name in place, and the question
// before it is deleted.

import { draw } from "./dialogs.js";
import { isComposing, make, notice } from "./element.js";
import { toggleMenu } from "./menu.js";
import { send } from "./server.js";
import { say } from "./words.js";

let conversation;

const sure = draw("sure", say("forget_ask"), make("form", { method: "dialog" },
  make("p", { text: say("forget_why") }),
  make("button", { value: "", text: say("cancel") }),
  make("button", { value: "forget", class: "danger", text: say("forget_do") })));
sure.addEventListener("close", () => {
  if (sure.returnValue === "forget") dispatchEvent(new CustomEvent("forgetting", { detail: conversation.id }));
});

/** `title` is the element in whose place a new name is typed, `done` is called after a change. */
export function open(button, one, title, done) {
  const mark = async (marks) => {
    await send("PATCH", `/conversations/${one.id}`, marks).catch((error) => notice(error.message, false, () => mark(marks)));
    done();
  };
  toggleMenu(button, [
    { text: say("rename"), act: () => rename(one, title, button, mark) },
    { text: say(one.pinned ? "unpin" : "pin"), act: () => mark({ pinned: !one.pinned }) },
    { text: say("export"), href: `/conversations/${one.id}/export`, download: true },
    { text: `${say("forget_do")}…`, danger: true, act: () => {
      conversation = one;
      sure.returnValue = "";
      sure.showModal();
    } },
  ], done);
}

/** Enter keeps the new name, as does leaving the field; Escape keeps the old one. */
function rename(one, title, button, mark) {
  const field = make("input", { class: "renaming", "aria-label": say("name"), dir: "auto", maxlength: 200, value: one.title });
  let isOver = false;
  const end = (keeps) => {
    if (isOver) return;
    isOver = true;
    const hadFocus = document.activeElement === field;
    field.remove();
    title.hidden = false;
    if (hadFocus && button.isConnected) button.focus();
    if (keeps && field.value.trim() !== one.title) {
      title.textContent = field.value.trim() || title.textContent;
      mark({ title: field.value });
    }
  };
  field.addEventListener("keydown", (event) => {
    if (isComposing(event) || !["Enter", "Escape"].includes(event.key)) return;
    event.preventDefault();
    event.stopPropagation();
    end(event.key === "Enter");
  });
  field.addEventListener("blur", () => end(true));
  title.hidden = true;
  title.after(field);
  field.focus();
  field.select();
}
