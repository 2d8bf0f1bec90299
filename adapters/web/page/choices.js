// The choices of a question, each a button, and one for typing.

import "./details.js"; // its style sheets
import { $, make, notice, stick } from "./element.js";
import { post } from "./server.js";
import { say } from "./words.js";

export function offer(shown, conversation, choices) {
  const choose = async (number) => {
    for (const button of group.children) button.disabled = true;
    try {
      await post("/chat", { message: "", conversation, choice: `${number}:${shown.turn}` });
    } catch (error) {
      notice(error.message);
      if (error.status === 403) group.remove(); // answered, or too old
      for (const button of group.children) button.disabled = false;
    }
  };
  const button = (text, click) => make("button", { type: "button", dir: "auto", text, on: { click } });
  const group = make("div", { class: "choices", role: "group", "aria-label": say("choices") },
    ...choices.map((text, at) => button(text, () => choose(at + 1))), button(say("other_choice"), () => $("text").focus()));
  shown.answer.querySelector(".choices")?.remove();
  stick(() => shown.tools.before(group));
}
