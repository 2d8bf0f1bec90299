// The page's sentences in the reader's language, from the server's one catalogue.

const AGAIN = 1000; // milliseconds

async function load() {
  for (;;) {
    try {
      const answer = await fetch("/page/words.json");
      if (answer.ok) return await answer.json();
    } catch { /* as below */ }
    document.getElementById("notice").textContent = "Ponte isn't available right now. Trying again…";
    await new Promise((resolve) => setTimeout(resolve, AGAIN));
  }
}

const { locale, words } = await load();
document.getElementById("notice").textContent = "";

export { locale };

export function say(key, values = {}) {
  return (words[key] ?? key).replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
}

const CLOCK = { hour: locale.startsWith("en") ? "numeric" : "2-digit", minute: "2-digit" };
const DAY = { month: "short", day: "numeric" };

export const clock = (date) => date.toLocaleTimeString(locale, CLOCK);

/** The day, with its year unless that is this one, and the time of day if `hasTime`. */
export function moment(date, hasTime = false) {
  const year = date.getFullYear() === new Date().getFullYear() ? undefined : "numeric";
  return date.toLocaleString(locale, { ...DAY, year, ...(hasTime && CLOCK) });
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
