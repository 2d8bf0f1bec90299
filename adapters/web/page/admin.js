// The operator's page: a request that is opened shows its card, with the buttons of this person.

import { place } from "./card.js";
import { againButton, make } from "./element.js";
import { request } from "./server.js";

async function show(item) {
  const home = item.lastElementChild;
  try {
    const card = await request(`/cards/${item.dataset.request}`);
    home.replaceChildren(...home.querySelectorAll(".card"));
    place(card, home, card.conversation ?? "main");
    if (card.state === "open") home.append(make("p", { class: "hint", text: card.refusal }));
  } catch (error) {
    home.replaceChildren(make("p", { role: "alert" }, error.message, " ", againButton(() => show(item))));
  }
}

for (const item of document.querySelectorAll("[data-request]")) {
  item.addEventListener("toggle", () => item.open && show(item));
}
