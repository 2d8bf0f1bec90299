// Search, the theme, the menu of a narrow window. Everything is on this site; nothing is fetched.
"use strict";
const byId = (id) => document.getElementById(id);
const [search, found, nav, menu, theme] = ["search", "found", "nav", "menu", "theme"].map(byId);
const article = document.querySelector("article");
const root = document.documentElement;
const MOST = 30;
const PHRASE = 20; // what the words weigh where they stand side by side

for (const table of article.querySelectorAll("table")) {
  const box = document.createElement("div");
  box.className = "wide";
  box.tabIndex = 0;
  table.replaceWith(box);
  box.append(table);
}

function words(text) {
  return text.toLowerCase().normalize("NFD").replace(/\p{M}/gu, "");
}

function weight([, title, heading, text], asked) {
  let sum = 0;
  for (const word of asked) {
    const there = words(heading).includes(word) ? 10 : words(title).includes(word) ? 4 : 0;
    const times = words(text).split(word).length - 1;
    if (!there && !times) return 0;
    sum += there + Math.min(times, 5) / (1 + text.length / 3000);
  }
  return sum + (words(text).includes(asked.join(" ")) ? PHRASE : 0);
}

function excerpt(text, asked) {
  const at = Math.max(0, Math.min(...asked.map((word) => words(text).indexOf(word)).filter((n) => n >= 0), text.length) - 60);
  return (at ? "… " : "") + text.slice(at, at + 180) + (text.length > at + 180 ? " …" : "");
}

function show() {
  const asked = words(search.value).split(/\s+/).filter(Boolean);
  found.hidden = !asked.length;
  article.hidden = !!asked.length;
  if (!asked.length) return found.replaceChildren();
  scrollTo(0, 0);
  const rows = INDEX.map((row) => [weight(row, asked), row]).filter(([sum]) => sum);
  rows.sort((a, b) => b[0] - a[0]);
  found.replaceChildren(...rows.slice(0, MOST).map(([, [address, title, heading, text]]) => {
    const item = document.createElement("li");
    const link = document.createElement("a");
    link.href = address;
    link.textContent = heading === title ? title : `${title}: ${heading}`;
    link.addEventListener("click", () => { search.value = ""; show(); });
    const under = document.createElement("p");
    under.textContent = excerpt(text, asked);
    item.append(link, under);
    return item;
  }));
  if (!rows.length) found.textContent = "Nothing says all of these words.";
}

search.addEventListener("input", show);
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && document.activeElement !== search) { event.preventDefault(); search.focus(); }
  if (event.key === "Escape" && search.value) { search.value = ""; show(); }
});
menu.addEventListener("click", () => {
  menu.setAttribute("aria-expanded", String(nav.classList.toggle("open")));
});
const kept = () => { try { return localStorage.theme; } catch { return undefined; } };
if (kept()) root.dataset.theme = kept();
theme.addEventListener("click", () => {
  const dark = (root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  root.dataset.theme = dark ? "light" : "dark";
  try { localStorage.theme = root.dataset.theme; } catch { /* a window that keeps nothing */ }
});
