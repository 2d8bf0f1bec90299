// Requests to our own API. An error carries the server's sentence and its status (0: no answer).

import { $ } from "./element.js";
import { say } from "./words.js";

export async function request(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw Object.assign(new Error(say("no_connection")), { status: 0 });
  }
  const body = await answer.json().catch(() => ({}));
  if (answer.ok) return body;
  if (answer.status === 401 && path !== "/login" && !$("signin").open) $("signin").showModal();
  const sentence = body.error?.message ?? `HTTP ${answer.status}`;
  throw Object.assign(new Error(sentence), { status: answer.status });
}

export function post(path, body, headers = {}) {
  const type = { "Content-Type": "application/json" };
  return request(path, { method: "POST", headers: { ...type, ...headers }, body: JSON.stringify(body) });
}
