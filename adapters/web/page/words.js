// The page's sentences in the reader's language, from the server's one catalogue.

const { locale, words } = await (await fetch("/page/words.json")).json();

export { locale };

export function say(key, values = {}) {
  return (words[key] ?? key).replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
}

/** Put the words into the marks of the HTML, which holds the English ones. */
export function translate() {
  document.documentElement.lang = locale;
  for (const one of document.querySelectorAll("[data-say]")) one.textContent = say(one.dataset.say);
  for (const one of document.querySelectorAll("[data-say-label]")) {
    one.setAttribute("aria-label", say(one.dataset.sayLabel));
    if (one.tagName === "BUTTON") one.title = say(one.dataset.sayLabel);
  }
  for (const one of document.querySelectorAll("[data-say-hint]")) {
    one.placeholder = say(one.dataset.sayHint);
  }
}
