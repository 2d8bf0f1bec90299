// A press of a card's button: what it sends, and how its answer is told on the card.

import { post } from "./server.js";
import { say } from "./words.js";

/** Shows at once what was decided; the event stream then brings the card as it stands. `cards` has parts of card.js,
    and `more` goes with the request. Return whether it counted (not if someone changed the card first); undefined if
    it was refused. */
export async function decide(cards, id, action, conversation, button, more = {}) {
  const { shown, place, tell } = cards;
  if (button.disabled) return; // pressed twice while this was loaded
  const { card } = shown.get(id);
  if (["deny", "reason"].includes(action) && more.reason === undefined) {
    tell(id, "");
    return (await import("./change.js")).askReason(action, button.closest(".card"), (reason) => decide(cards, id, "deny", conversation, button, { reason }));
  }
  if (action === "change" && !more.values) {
    tell(id, "");
    return (await import("./change.js")).open(id, conversation, button.closest("dialog, main"), { decide: (...press) => decide(cards, ...press), tell });
  }
  const enable = (enabled) => {
    for (const copy of shown.get(id).copies) {
      for (const button of copy.querySelectorAll(".actions button")) button.disabled = !enabled;
    }
  };
  const home = button.closest(".card") ?? shown.get(id).copies[0];
  if (more.others) button.disabled = true;
  home.focus({ preventScroll: true }); // a button that is disabled or replaced loses the focus
  enable(false);
  tell(id, say("deciding"));
  try {
    const decided = await post(`/cards/${id}`, { action, conversation, revision: card.revision, ...more });
    tell(id, decided.aloud ? "" : decided.text);
    if (more.others || action === "again") return; // the answer says what was done, and the event stream brings the cards
    const known = shown.get(id);
    const { state } = decided;
    if (known?.card === card) {
      const actions = state === "open" ? card.actions : [];
      place(decided.card ?? { ...card, state, actions }, known.copies[0].parentElement, conversation);
    }
    return decided.status !== "failed";
  } catch (error) {
    tell(id, error.message);
    enable(error.status !== 404 && error.status !== 410);
    if (more.others) button.disabled = false;
    if (document.activeElement === home) button.focus();
  }
}
