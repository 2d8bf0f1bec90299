// Requests to our own API. An error carries the server's sentence and its status (0: no answer).

import { $ } from "./element.js";
import { say } from "./words.js";

let admissions = 0;

/** Asks who is there where the server does not know; not for what was sent before they signed in. */
export async function request(path, options = {}) {
  const before = admissions;
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw Object.assign(new Error(say("no_connection")), { status: 0 });
  }
  const body = await answer.json().catch(() => undefined);
  if (answer.ok && body === undefined && answer.status !== 204) throw failure(502); // the page of a proxy, or half an answer
  if (answer.ok) {
    if (path === "/login") admissions += 1;
    return body;
  }
  const stranger = answer.status === 401 && path !== "/login" && before === admissions;
  const sentence = body?.error?.message;
  const { code, provider } = body?.error ?? {};
  if (stranger && code === "session_ended") $("trouble").textContent = sentence;
  if (stranger) (await import("./sign-in.js")).show(false, provider, provider && sentence);
  throw sentence ? Object.assign(new Error(sentence), { status: answer.status }) : failure(answer.status);
}

/** The error of an answer without a sentence: it comes from a proxy before Ponte. */
function failure(status) {
  const word = status >= 502 && status <= 504 ? "server_away" : status >= 500 ? "server_failed" : "server_refused";
  return Object.assign(new Error(say(word, { status })), { status });
}

export function post(path, body) {
  return send("POST", path, body);
}

export function send(method, path, body) {
  return request(path, { method, headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
}
