// Thumbs under an answer: the person's vote, and a field that asks what was wrong. The choices of a question.

import "./details.js"; // its style sheets
import { $, make, notice, stick } from "./element.js";
import { iconButton, LINES } from "./icons.js";
import { post } from "./server.js";
import { say } from "./words.js";

Object.assign(LINES, {
  up: "M4 11h3v9H4zM7 11l4-8c1.5 0 2.5 1 2.5 2.5V9h5a1.5 1.5 0 0 1 1.5 1.8l-1.3 7.7A2 2 0 0 1 16.7 20H7",
  down: "M4 13h3V4H4zM7 13l4 8c1.5 0 2.5-1 2.5-2.5V15h5a1.5 1.5 0 0 0 1.5-1.8l-1.3-7.7A2 2 0 0 0 16.7 4H7",
});

/** Add the thumbs to the buttons of an answer. The one that was pressed takes its vote back. */
export function show(shown, vote) {
  const thumbs = ["up", "down"].map((name) =>
    iconButton(name, `rate_${name}`, () => press(name), { class: "quiet-button thumb", "data-vote": name }));
  const mark = (stored) => thumbs.forEach((one) => one.setAttribute("aria-pressed", String(one.dataset.vote === stored)));
  const press = async (name) => {
    const isOn = thumbs.find((one) => one.dataset.vote === name).getAttribute("aria-pressed") === "true";
    const { vote: stored } = await send(shown, { vote: isOn ? "" : name }) ?? {};
    if (stored === undefined) return;
    mark(stored);
    shown.answer.querySelector(".feedback")?.remove();
    if (stored === "down") askWhy(shown, thumbs[1]);
  };
  for (const old of shown.tools.querySelectorAll(".thumb")) old.remove();
  shown.tools.append(...thumbs);
  mark(vote);
}

async function send(shown, body) {
  try {
    return await post(`/turns/${shown.turn}/feedback`, body);
  } catch (error) {
    notice(error.message);
  }
}

/** Ask for the reason, which may be empty. The vote is stored already. */
function askWhy(shown, thumb) {
  const close = () => { form.remove(); thumb.focus(); };
  const why = make("textarea", { rows: 2, maxlength: 1000, dir: "auto" });
  const share = make("input", { type: "checkbox" });
  const submit = async (event) => {
    event.preventDefault();
    if (!await send(shown, { vote: "down", reason: why.value, share: share.checked })) return;
    form.replaceWith(make("p", { class: "feedback", role: "status", text: say("rate_thanks") }));
    thumb.focus();
  };
  const form = make("form", { class: "feedback", on: { submit, keydown: ({ key }) => key === "Escape" && close() } },
    make("label", {}, say("rate_why"), why), make("label", { class: "share" }, share, say("rate_share")),
    make("button", { type: "submit", text: say("send") }), make("button", { type: "button", text: say("cancel"), on: { click: close } }));
  stick(() => shown.tools.after(form));
  why.focus();
}

/** Add a button for each choice, and one for typing. */
export function choose(shown, conversation, choices) {
  const press = async (number) => {
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
    ...choices.map((text, at) => button(text, () => press(at + 1))), button(say("other_choice"), () => $("text").focus()));
  shown.answer.querySelector(".choices")?.remove();
  stick(() => shown.tools.before(group));
}
