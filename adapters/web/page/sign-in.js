// Signing in: a button for each way, and the field for a link.

import { $, loadStyle, make } from "./element.js";
import * as session from "./session.js";
import { say } from "./words.js";

await loadStyle("sign-in.css");

const ASKED_AGAIN = 600000; // milliseconds before a provider is asked again without the person
const AWAY = 30000; // milliseconds that one tab may take at the provider while the others wait
let isLeaving = false;

// The provider sends the browser to another address, which then opens this place again.
function keepPlace() {
  sessionStorage.setItem("place", location.hash);
}

// They are not sent yet, and would be lost.
const hasFiles = () => document.querySelector("#attached li, .recording");

/** Let the provider confirm who is here, without a question if it can. What was written stays in this browser.
    Return false if the person has to sign in. */
function confirmAgain(provider, why) {
  const isEarly = Date.now() - (sessionStorage.getItem("confirmed") ?? 0) < ASKED_AGAIN;
  if (isLeaving || isEarly || hasFiles()) return isLeaving;
  isLeaving = true;
  sessionStorage.setItem("confirmed", Date.now());
  confirmForAll(provider, why);
  return true;
}

/** Leave the page, unless it got files while it waited for another tab. */
function leave(go, why) {
  if (isLeaving && !hasFiles()) go();
  else if (isLeaving) show(false, "", why);
  isLeaving &&= !hasFiles();
}

/** One tab asks the provider, and the others open again once it is back. */
async function confirmForAll(provider, why) {
  const reopen = () => leave(() => location.reload(), why);
  addEventListener("storage", ({ key }) => key === "confirmed" && reopen());
  const take = () => {
    const since = Math.abs(Date.now() - (localStorage.getItem("confirming") ?? 0));
    try {
      if (since >= AWAY) localStorage.setItem("confirming", Date.now());
    } catch { /* it is full: the other tabs ask, too */ }
    return AWAY - since;
  };
  // Tabs read each other's localStorage late, so the tab that asks keeps the lock while it leaves. Only pages over TLS
  // or of this machine have locks.
  const wait = await new Promise((resolve) => {
    const onLock = (lock) => {
      const rest = lock ? take() : AWAY;
      resolve(rest);
      return rest > 0 ? null : new Promise((end) => setTimeout(end, AWAY));
    };
    if (navigator.locks) navigator.locks.request("confirming", { ifAvailable: true }, onLock);
    else resolve(take());
  });
  if (wait > 0) {
    if (wait < AWAY && localStorage.getItem("confirmed") >= localStorage.getItem("confirming")) reopen();
    setTimeout(confirmForAll, wait, provider, why);
    return;
  }
  keepPlace();
  leave(() => location.assign(`/sign-in/${encodeURIComponent(provider)}?again`), why);
}

/** Show it over the page. `isPage`: it is all that is shown. `provider` is who has to confirm the person again,
    and `why` a sentence about that. */
export async function show(isPage = false, provider = "", why = "") {
  if (!$("ask")) return location.reload(); // on /admin
  if (provider && confirmAgain(provider, why)) return;
  if (!$("signin")) build();
  $("trouble").textContent ||= why;
  const { ways } = await session.ask();
  if ($("signin").open) return;
  document.body.classList.toggle("stranger", isPage);
  $("host").textContent = location.host;
  $("ways").replaceChildren(...ways.map(({ label, url }) => make("li", {},
    make("a", { class: "way", href: url, text: say("sign_in_with", { name: label }), on: { click: keepPlace } }))));
  $("by-link").open = ways.length === 0;
  $("by-link").firstElementChild.hidden = ways.length === 0;
  $("signin").showModal();
}

/** The page's own line of what went wrong goes into the dialog: the server may have filled it in. */
function build() {
  const enter = (event) => {
    event.preventDefault();
    dispatchEvent(new CustomEvent("entering", { detail: $("token").value.trim() }));
  };
  document.body.append(make("dialog", { id: "signin", "aria-labelledby": "signin-title", on: { cancel: (event) => event.preventDefault() } },
    make("h2", { id: "signin-title", text: say("sign_in_title") }), make("p", { id: "host" }), $("trouble"), make("ul", { id: "ways" }),
    make("details", { id: "by-link" }, make("summary", { text: say("sign_in_link") }),
      make("form", { on: { submit: enter } }, make("p", { text: say("sign_in_why") }), make("label", { for: "token", text: say("link") }),
        make("input", { id: "token", type: "password", autocomplete: "current-password", required: true }),
        make("button", { type: "submit", text: say("sign_in") })))));
  $("trouble").hidden = false;
}

/** After signing in, the page is as it was. */
export async function hide() {
  (await session.ask()).signed_in = true;
  document.body.classList.remove("stranger");
  $("signin")?.close();
  if ($("token")) $("token").value = "";
  $("trouble").textContent = "";
}
