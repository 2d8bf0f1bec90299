// The first screen: messages that work here, what they are about, and what is connected.

import { submit } from "./composer.js";
import { $, make } from "./element.js";
import { icon, signOf } from "./icons.js";
import { say } from "./words.js";

const CONNECTIONS = { slack: "Slack", discord: "Discord", nocodb: "NocoDB", stackspot: "StackSpot", code: "Python" };
const MAX_COMMANDS = 12;

export function show({ suggestions, sample, tables, parts, demo, connect }, commands) {
  $("welcome").hidden = false;
  $("welcome-why").textContent = say(suggestions.length ? "welcome_why" : "may_not_chat");
  $("tries").replaceChildren(...suggestions.map(card));
  list("tables", say(sample ? "sample_tables" : "tables"), tables.map((text) => make("bdi", { text })), ", ");
  list("commands", say("commands"), commands.slice(0, MAX_COMMANDS).map(({ slug, title }) =>
    make("button", { type: "button", class: "chip", dir: "auto", text: title, on: { click: () => run(commands, slug) } })));
  showConnections(parts, connect);
  showModel(demo, parts.find((part) => part.name === "model"), connect);
}

function card({ kind, text }) {
  return make("li", {}, make("button", { type: "button", "data-kind": kind, on: { click: () => submit(text) } },
    make("span", { class: "kind" }, icon(kind), say(`try_${kind}`)), make("span", { dir: "auto", text })));
}

function list(id, label, members, separator = " ") {
  $(id).hidden = !members.length;
  $(id).replaceChildren(label, ...members.flatMap((one, n) => [n ? separator : " ", one]));
}

async function run(commands, slug) {
  (await import("./quick.js")).open(commands, slug);
}

/** What can be connected; all parts behind a click. Others are listed if they fail. */
function showConnections(parts, connect) {
  const named = parts.filter(({ name, state }) => CONNECTIONS[name] || (name !== "model" && state === "failing"));
  const off = named.filter(({ state }) => state === "off");
  $("connected").hidden = !named[off.length];
  list("missing", say("not_connected"), off.map(({ name }) =>
    connect.includes(name) ? setUp(name, CONNECTIONS[name]) : CONNECTIONS[name]), ", ");
  $("connected").firstChild.replaceChildren(...named.flatMap(({ name, state, words }) => state === "off" ? [] : [
    make("span", { "data-state": state, title: words }, CONNECTIONS[name] ?? name,
      " ", signOf(state), make("span", { class: "unseen", text: ` ${say(state)}` })), " "]));
  $("parts").replaceChildren(...parts.map(({ name, state, words }) => make("li", { "data-state": state },
    make("strong", { text: CONNECTIONS[name] ?? name }), ` · ${say(state)}`, words && " · ", make("bdi", { text: words }))));
}

function setUp(name, text) {
  return make("a", { href: `/admin/setup?card=${name}`, text });
}

function showModel(demo, part, connect) {
  const more = demo && part && !connect.length ? ` ${say("model_line")}` : "";
  $("tries").append(...["model", "nocodb", "slack"].filter((name) => connect.includes(name)).map((name) =>
    make("li", {}, setUp(name, say(`connect_${name}`)))));
  const isNamed = !demo && ["on", "checking"].includes(part?.state);
  $("model").hidden = !demo && !part;
  $("model").dataset.state = part?.state ?? "";
  $("model").firstElementChild.textContent =
    say(demo ? "demo_model" : "model_words", { words: isNamed ? part.words.split(" ")[0] : part?.words }) + more;
  $("model").lastElementChild.textContent = isNamed && part.words.includes(" ") ? part.words : "";
}
