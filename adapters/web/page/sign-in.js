// Signing in: a button for each way, and the field for a link.

import { $, make } from "./element.js";
import * as session from "./session.js";
import { say } from "./words.js";

await new Promise((resolve) => {
  const href = new URL("sign-in.css", import.meta.url);
  document.head.append(make("link", { rel: "stylesheet", href, on: { load: resolve, error: resolve } }));
});

/** Show it over the page. `isPage`: it is all that is shown. */
export async function show(isPage = false) {
  const { ways } = await session.ask();
  if ($("signin").open) return;
  document.body.classList.toggle("stranger", isPage);
  $("host").textContent = location.host;
  // The provider sends the browser to another address, which then opens this place again.
  const keepPlace = () => sessionStorage.setItem("place", location.hash);
  $("ways").replaceChildren(...ways.map(({ label, url }) => make("li", {},
    make("a", { class: "way", href: url, text: say("sign_in_with", { name: label }), on: { click: keepPlace } }))));
  $("by-link").open = ways.length === 0;
  $("by-link").firstElementChild.hidden = ways.length === 0;
  $("signin").showModal();
}

/** After signing in, the page is as it was. */
export async function hide() {
  (await session.ask()).signed_in = true;
  document.body.classList.remove("stranger");
  $("signin").close();
  $("trouble").textContent = "";
}
