// The operator's page: a request that is opened shows its card in full, with the buttons of this person.

import * as card from "./card.js";
import { againButton, make } from "./element.js";
import { request } from "./server.js";

async function show(item) {
  const home = item.lastElementChild;
  if (!item.open) return;
  try {
    const { approvals: [found], refusal } = await request(`/approvals?id=${item.dataset.request}`);
    home.replaceChildren(...home.querySelectorAll(".card"));
    card.place(found, home, found.conversation ?? "main");
    if (refusal && found.state === "open") home.append(make("p", { class: "hint", text: refusal }));
  } catch (error) {
    home.replaceChildren(make("p", { role: "alert" }, error.message, " ", againButton(() => show(item))));
  }
}

for (const item of document.querySelectorAll("[data-request]")) item.addEventListener("toggle", () => show(item));
