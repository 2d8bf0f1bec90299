// The menu behind the person's name.

import * as composer from "./composer.js";
import { $, notice } from "./element.js";
import { toggleMenu } from "./menu.js";
import * as notices from "./notices.js";
import { post, request } from "./server.js";
import * as stream from "./stream.js";
import { locale, say } from "./words.js";

const LANGUAGES = { en: "English", "pt-BR": "Português", fr: "Français" };
const YEAR = 31536000; // seconds

/** The server reads the cookie before the languages that the browser asks for. */
function choose(language) {
  document.cookie = `ponte-language=${language}; path=/; max-age=${YEAR}; samesite=strict`;
  location.reload();
}

/** Sign out: nothing of theirs stays on the screen or in the browser. */
async function leave(everywhere = false) {
  stream.leave();
  try {
    await (everywhere ? request("/me/sessions", { method: "DELETE" }) : post("/logout", {}));
  } catch (error) {
    dispatchEvent(new Event("reread"));
    notice(error.message, false, () => leave(everywhere));
    return;
  }
  localStorage.clear();
  await composer.forget();
  location.replace("/");
}

/** The first is what the server says of the person; `rename` opens a dialog of the page. */
export function open({ owner, operates, provider }, { rename }) {
  toggleMenu($("me"), [
    ...(owner ? [{ text: say("my_name"), act: rename }] : []),
    [say("language"), ...Object.entries(LANGUAGES).map(([code, text]) =>
      ({ text, lang: code, radio: true, checked: code === locale, act: () => choose(code) }))],
    ...(notices.isAvailable() ? [{ text: say("notify_on"), checked: notices.wanted(), act: notices.toggle }] : []),
    { text: say("api_tokens"), act: async () => (await import("./tokens.js")).open() },
    { text: say("guide"), href: `/guide?conversation=${location.hash.slice(1).split("/")[0]}` },
    ...(operates ? [{ text: say("administration"), href: "/admin" }] : []),
    { text: say("sign_out"), last: true, act: () => leave() },
    ...(provider ? [{ text: say("sign_out_everywhere"), act: () => leave(true) }] : []),
  ]);
}
