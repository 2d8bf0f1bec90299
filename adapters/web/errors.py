"""The errors of the HTTP API, and every sentence of the page."""

from __future__ import annotations

import re
from html import escape
from pathlib import Path

from core.base.errors import BadInput, NotStored, PonteError, Refusal
from core.base.i18n import LANGUAGE, say
from core.people.notices import ACCESS_REMOVED, SENTENCES

STATUS_BY_CODE = {
    "bad_request": 400,
    "unsupported_parameter": 400,
    "decided_elsewhere": 400,
    "unauthorized": 401,
    "session_ended": 401,
    "foreign_origin": 403,
    "forbidden": 403,
    "not_found": 404,
    "model_not_found": 404,
    "method_not_allowed": 405,
    "forgotten": 410,
    "expired": 410,
    "too_large": 413,
    "unsupported_media_type": 415,
    "empty": 422,
    "too_many": 429,
    "not_stored": 503,
}
"""The HTTP status of each error code."""
PAGE_SENTENCES = {
    "skip": "Skip to the message box",
    "conversations": "Conversations",
    "menu": "Show conversations",
    "new": "New conversation",
    "untitled": "No messages yet",
    "pinned": "Pinned",
    "today": "Today",
    "yesterday": "Yesterday",
    "last_week": "Last 7 days",
    "last_month": "Last 30 days",
    "options": "More actions for this conversation",
    "search": "Search in all conversations",
    "more": "More actions for {name}",
    "name": "Name",
    "rename": "Rename",
    "pin": "Pin",
    "unpin": "Unpin",
    "export": "Export as Markdown",
    "close": "Close",
    "notices": "Notices",
    "edit": "Edit",
    "editing": "This will replace your last message.",
    "ask_again": "Ask again",
    "write": "Write a message",
    "shortcuts": "Shortcuts",
    "key_help": "show shortcuts",
    "key_search": "search",
    "key_new": "new conversation",
    "key_write": "write a message",
    "key_edit": "edit your last message (when the box is empty)",
    "key_escape": "close, or cancel an edit",
    "search_hint": "Search",
    "found": "Matches: {count}",
    "forget_ask": "Delete this conversation?",
    "forget_why": "Messages will be deleted here and on the model's server. This can't be undone.",
    "forget_do": "Delete",
    "forgotten": "This conversation was deleted.",
    "cancel": "Cancel",
    "log": "Messages",
    "ask": "Message",
    "ask_hint": "Write a message",
    "ask_keys": "Press Enter to send and Shift+Enter for a new line.",
    "attach": "Attach files",
    "attached": "Files to send",
    "remove": "Remove {name}",
    "quick": "Quick commands",
    "quick_title": "Run a quick command",
    "quick_which": "Quick command",
    "quick_text": "Input",
    "quick_required": "{name} (required)",
    "quick_files": "A file that you attached is included.",
    "quick_run": "Run",
    "yes": "yes",
    "no": "no",
    "send": "Send",
    "stop": "Stop",
    "you": "You",
    "thinking": "Ponte is thinking…",
    "writing": "Ponte is writing…",
    "loading": "Loading…",
    "parts_on": "{count} connected",
    "parts_failing": "{count} failing",
    "parts_off": "{count} off",
    "waiting": "queued…",
    "stopped": "Stopped.",
    "failed": "That didn't work.",
    "not_sent": "Not sent: {why}",
    "too_large": "{name} is too large ({size}). The limit is {limit}. Send a smaller file.",
    "too_many_files": "Left out: {names}. A message can have {count} files, {limit} in all.",
    "no_connection": "connection lost.",
    "again": "Try again",
    "offline": "Connection lost. Reconnecting…",
    "copy": "Copy",
    "copied": "Copied",
    "copy_answer": "Copy answer",
    "copy_table": "Copy table",
    "download_as": "Download as {form}",
    "wide": "Full screen",
    "table": "Table",
    "row": "Row",
    "code": "Code",
    "formula": "Formula",
    "model": "Model",
    "model_default": "Default model",
    "notify_on": "Notify me",
    "notify_off": "Stop notifications",
    "notice_answer": "Your answer is ready.",
    "notice_request": "A request is waiting for your approval.",
    "newest": "Go to the newest message",
    "usage": "Tokens and cost",
    "earlier": "Earlier answer",
    "usage_tokens": "{input} tokens in, {output} out",
    "ran": "Code that ran",
    "link": "Link to this message",
    "approve": "Approve",
    "approve_all": "Approve {count}",
    "change": "Change…",
    "deny": "Deny",
    "undo": "Undo",
    "reason": "Say why…",
    "card_again": "Propose again",
    "reason_title": "Say why",
    "reason_label": "Reason",
    "deciding": "One moment…",
    "expires": "Expires {when}",
    "state_open": "waiting for you",
    "state_open_for_others": "waiting for someone else",
    "state_approved": "approved",
    "state_done": "done",
    "state_denied": "denied",
    "state_expired": "expired",
    "state_undone": "undone",
    "state_failed": "failed",
    "state_applying": "in progress",
    "state_partial": "partly done",
    "state_withdrawn": "withdrawn",
    "sign_in": "Sign in",
    "sign_in_why": (
        "Open the link you were given, or paste its token here. If you are Ponte's owner, run "
        "ponte link on its machine to get the link."
    ),
    "sign_out": "Sign out",
    "administration": "Administration",
    "guide": "Guide",
    "signed_in": "Signed in as {name}",
    "my_name": "Change name",
    "my_name_title": "Your name",
    "my_name_why": (
        "This name is shown on your requests and given to the model. Leave it empty to use the "
        "name from the settings."
    ),
    "api_tokens": "API tokens",
    "api_tokens_why": (
        "A program with an API token chats as you over /v1. It can't sign in, approve changes or "
        "use Administration."
    ),
    "token_for": "What is the new token for?",
    "token_create": "Create token",
    "token_once": "Copy this token now. It won't be shown again.",
    "token_unnamed": "Token without a name",
    "token_used": "last used {when}",
    "token_unused": "never used",
    "token_expired": "expired",
    "revoke": "Revoke",
    "save": "Save",
    "token": "Token",
    "approvals": "Approvals",
    "approvals_count": "Approvals: {count} waiting for you",
    "approvals_title": "Waiting for your approval",
    "approvals_none": "No requests are waiting for you.",
    "approvals_open": "Open the conversation",
    "welcome": "Hi, I'm Ponte.",
    "welcome_why": (
        "Ask me anything. I can answer questions, look things up in your tables, run quick "
        "commands and run Python code."
    ),
    "tables": "Tables you can ask about:",
    "sample_tables": "Sample tables you can ask about:",
    "commands": "Quick commands (the / button next to the message box):",
    "on": "on",
    "off": "off",
    "failing": "failing",
    "try": "Try one of these",
    "model_line": "To use a real model, add this line to the .env file and restart Ponte:",
    "no_script": "This page needs JavaScript. Without it, use ponte chat in a terminal.",
}
"""The page's sentences by the keys that its script and its HTML use."""


class Unauthorized(Refusal):
    """The request has no valid token or session (401)."""

    code = "unauthorized"
    sentence = (
        "Sign in first. Open the link that `ponte link` prints on Ponte's machine, or send "
        "the token in the Authorization header (Bearer)."
    )


class SessionEnded(Unauthorized):
    """The browser has a session that is no longer valid (401).

    It says the same whatever the reason, so that nobody can find out who has an account. Only the
    cookie of a session that the owner ended leads to the reason.
    """

    code = "session_ended"
    sentence = (
        "Your session has ended. Open your sign-in link again. If it no longer works, it was "
        "renewed or removed: ask Ponte's owner for a new one."
    )


class LinkRenewed(Unauthorized):
    """The token of a sign-in link that the owner replaced (401)."""

    sentence = "Your sign-in link was replaced. Ask Ponte's owner for the new one."


class AccessRemoved(Unauthorized):
    """The token of an account that the owner removed (401)."""

    sentence = SENTENCES[ACCESS_REMOVED]


class WrongToken(Unauthorized):
    """The token of a sign-in or an Authorization header is unknown (401)."""

    sentence = "Invalid token."


class ForeignHost(Refusal):
    """The Host header names another site. This prevents DNS rebinding."""

    code = "foreign_origin"
    sentence = (
        "Ponte does not answer requests for {host}. If this is Ponte's URL, set PONTE_WEB_URL."
    )


class ForeignOrigin(Refusal):
    """The Origin header names another site. This prevents cross-site requests."""

    code = "foreign_origin"
    sentence = "Request rejected: it came from another site ({origin})."


class TooManyTries(Refusal):
    """Too many invalid tokens came from this client in the last minute (429)."""

    code = "too_many"
    sentence = "Too many invalid tokens. Wait a minute and try again."


class TooManyRequests(Refusal):
    """More requests are in progress than the server allows (429)."""

    code = "too_many"
    sentence = "Too many requests are in progress. Try again in a moment."


class TooManyStreams(Refusal):
    """The visitor has more event streams open than the server allows (429)."""

    code = "too_many"
    sentence = "Too many pages are open. Close one and try again."


class BadRequest(BadInput):
    """The body or a parameter of the request is invalid. `why` names the problem."""

    sentence = "Invalid request: {why}."


class UnsupportedParameter(BadRequest):
    """A request to the OpenAI-compatible API has a parameter that Ponte cannot honor."""

    code = "unsupported_parameter"
    sentence = (
        "`{param}` is not supported. Ponte gives one text answer and uses its own tools. "
        "Leave this parameter out."
    )


class InvalidDataUrl(BadRequest):
    """A file of the OpenAI-compatible API is not a base64 `data:` URL."""

    sentence = "`{param}` is not a base64 data: URL."


class DecisionOnPageOnly(BadRequest):
    """A message of the OpenAI-compatible API tries to decide on a card."""

    code = "decided_elsewhere"
    sentence = (
        "You can't approve or deny by typing here. Open the page and decide on the card: {url}"
    )


class CommandNotForPrograms(BadRequest):
    """A request to the OpenAI-compatible API has a command that only people may give."""

    code = "decided_elsewhere"
    sentence = "`{command}` can't be used over this API. Use it on the page."


class NoSuchModel(BadInput):
    """The model is unknown, or the visitor may not use it."""

    code = "model_not_found"
    sentence = "Model `{model}` not found. `GET /v1/models` lists the models you can use."


class UnknownPath(BadInput):
    """No route has this path (404)."""

    code = "not_found"
    sentence = "Page not found."


class WrongMethod(BadInput):
    """The route exists but does not accept the request's method (405)."""

    code = "method_not_allowed"
    sentence = "This URL does not accept that method."


class WrongMediaType(BadInput):
    """The route does not accept the Content-Type of the request (415)."""

    code = "unsupported_media_type"
    sentence = "Send application/json, or multipart/form-data for files."


class UnexpectedError(PonteError):
    """The handler failed with an error that is not a PonteError (500)."""

    sentence = (
        "Something went wrong. Try again. If it keeps failing, contact the person who runs "
        "Ponte; the cause is in the log."
    )


class ServerStopping(NotStored):
    """The server is shutting down and does not accept messages (503)."""

    sentence = "I'm restarting, so your message wasn't saved. Send it again in a moment."


def status_of(error: PonteError) -> int:
    """Return the HTTP status of an error. A code that is not listed is a 500."""
    return STATUS_BY_CODE.get(error.code, 500)


def error_body(error: PonteError) -> dict[str, dict[str, str]]:
    """Return the JSON body of an error."""
    return {"error": {"code": error.code, "message": error.words()}}


PLAIN_PAGE = (Path(__file__).parent / "page" / "plain.html").read_text("utf-8")


def error_page(error: PonteError) -> str:
    """Return the HTML of an error, with commands between backticks as code."""
    words = re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(error.words()))
    return plain_page("error", f"<h1>Ponte</h1><p>{words}</p>")


def plain_page(kind: str, words: str) -> str:
    """Return a page without a script. `kind` is a class of its style, `words` its HTML."""
    language, link = LANGUAGE.get(), say("Open Ponte")
    return PLAIN_PAGE.format(language=language, kind=kind, words=words, link=link)


OPENAI_ERROR_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
"""The `type` of an error in OpenAI's API by HTTP status. For others it says whose fault the error
is."""


def openai_error(code: str, words: str, status: int, param: str | None = None) -> dict[str, object]:
    """Return an error object as the clients of OpenAI's API expect it."""
    default = "invalid_request_error" if status < 500 else "server_error"
    kind = OPENAI_ERROR_TYPES.get(status, default)
    return {"message": words, "type": kind, "param": param, "code": code}


def translate_page() -> dict[str, str]:
    """Return the page's sentences by key, with their `{placeholders}`."""
    return {key: say(sentence) for key, sentence in PAGE_SENTENCES.items()}
