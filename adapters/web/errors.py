"""The errors of the HTTP API, and every sentence of the page."""

from __future__ import annotations

from core.domain.errors import BadInput, NotStored, PonteError, Refusal
from core.text.i18n import say

STATUS_BY_CODE = {
    "bad_request": 400,
    "unsupported_parameter": 400,
    "decided_elsewhere": 400,
    "unauthorized": 401,
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
    "untitled": "Nothing said yet",
    "search": "Search in all conversations",
    "more": "More for {name}",
    "name": "Name",
    "rename": "Rename",
    "pin": "Pin",
    "unpin": "Unpin",
    "export": "Export as Markdown",
    "delete": "Delete",
    "close": "Close",
    "edit": "Edit",
    "editing": "This takes the place of your last message.",
    "ask_again": "Ask again",
    "write": "Write a message",
    "shortcuts": "Shortcuts",
    "key_help": "show this",
    "key_search": "search",
    "key_new": "new conversation",
    "key_write": "write a message",
    "key_edit": "change your last message, from an empty box",
    "key_escape": "close, or give a change up",
    "search_hint": "Search",
    "found": "Found here: {count}",
    "forget": "Forget this conversation",
    "forget_ask": "Forget this conversation?",
    "forget_why": "What was said is erased here and on the model's server. "
    "This cannot be taken back.",
    "forget_do": "Forget",
    "forgotten": "That conversation is forgotten.",
    "cancel": "Cancel",
    "log": "What was said",
    "ask": "Message",
    "ask_hint": "Write a message",
    "ask_keys": "Enter sends, Shift+Enter starts a new line.",
    "attach": "Attach files",
    "attached": "Files to send",
    "remove": "Remove {name}",
    "quick": "Quick commands",
    "quick_title": "Run a quick command",
    "quick_which": "Which one",
    "quick_text": "Its text",
    "quick_required": "{name} (required)",
    "quick_files": "A file that you attached to your message goes along.",
    "quick_run": "Run",
    "yes": "yes",
    "no": "no",
    "send": "Send",
    "stop": "Stop",
    "you": "You",
    "thinking": "is thinking…",
    "writing": "is writing…",
    "waiting": "waits its turn…",
    "stopped": "Stopped.",
    "failed": "This did not work.",
    "not_sent": "Not sent: {why}",
    "no_connection": "there is no connection.",
    "again": "Try again",
    "offline": "Connection lost. Reconnecting…",
    "copy": "Copy",
    "copied": "Copied",
    "copy_answer": "Copy answer",
    "copy_table": "Copy table",
    "copy_csv": "Copy as CSV",
    "table": "Table",
    "code": "Code",
    "ran": "The code that ran",
    "link": "Link to this message",
    "field": "Field",
    "before": "Before",
    "after": "After",
    "approve": "Approve",
    "deny": "Deny",
    "undo": "Undo",
    "deciding": "One moment…",
    "expires": "Expires {when}",
    "state_open": "waits for you",
    "state_open_for_others": "waits for somebody else",
    "state_approved": "approved",
    "state_done": "done",
    "state_denied": "denied",
    "state_expired": "expired",
    "state_undone": "undone",
    "state_failed": "failed",
    "state_applying": "being done",
    "state_partial": "partly done",
    "state_withdrawn": "withdrawn",
    "sign_in": "Sign in",
    "sign_in_why": "Open the address that you were given, or write its token here. The owner finds "
    "theirs with ponte link, on the machine where I run.",
    "sign_out": "Sign out",
    "used": "Usage",
    "signed_in": "Signed in as {name}",
    "owner": "owner",
    "token": "Token",
    "welcome": "Hello, I am Ponte.",
    "welcome_why": "Ask me anything in your own words: I bridge you to a model and to the "
    "systems that do the work.",
    "connected": "What is connected",
    "tables": "Tables that you can ask about:",
    "commands": "Quick commands, by the button / beside the message box:",
    "on": "on",
    "off": "off",
    "failing": "failing",
    "try": "Three things to try",
    "model_line": "For a real model, put this one line into the file .env and start Ponte again:",
    "no_script": "This page needs JavaScript. Without it, ponte chat serves you in a terminal.",
}
"""The page's sentences by the keys that its script and its HTML use."""


class Unauthorized(Refusal):
    code = "unauthorized"
    sentence = (
        "Sign in first: open the address that `ponte link` prints on the machine where I run, "
        "or send the token as a bearer."
    )


class WrongToken(Unauthorized):
    sentence = "That is no token of this Ponte."


class ForeignHost(Refusal):
    code = "foreign_origin"
    sentence = (
        "This Ponte does not answer under the name {host}. "
        "If that is its public name, the operator must set PONTE_WEB_URL."
    )


class ForeignOrigin(Refusal):
    code = "foreign_origin"
    sentence = "Another site asked for this, so I refused: {origin}."


class TooManyTries(Refusal):
    code = "too_many"
    sentence = "Too many wrong tokens. Please wait a minute and try again."


class TooManyRequests(Refusal):
    code = "too_many"
    sentence = "Too many requests are under way. Please try again in a moment."


class TooManyStreams(Refusal):
    code = "too_many"
    sentence = "Too many pages are open on this Ponte. Close one and try again."


class BadRequest(BadInput):
    sentence = "I do not understand that request: {why}."


class UnsupportedParameter(BadRequest):
    code = "unsupported_parameter"
    sentence = (
        "I do not take `{param}`: I answer once, in text, with tools of my own. Leave it out."
    )


class RemoteFile(BadRequest):
    sentence = "I fetch nothing from the web. Send the file itself, as a data: URL in base64."


class InvalidDataUrl(BadRequest):
    sentence = "`{param}` is no data: URL in base64."


class TooManyFiles(BadRequest):
    sentence = "At most {limit} files fit into one request."


class LastMessageNotUsers(BadRequest):
    sentence = "The last message must be the user's."


class NotLastResponse(BadRequest):
    sentence = "Only the last answer of a conversation can be gone on from."


class ConflictingConversations(BadRequest):
    sentence = "`previous_response_id` and `X-Ponte-Conversation` name two conversations."


class DecisionOnPageOnly(BadRequest):
    code = "decided_elsewhere"
    sentence = "Nothing is decided in words here. Open the page and decide on the card there: {url}"


class NoSuchModel(BadInput):
    code = "model_not_found"
    sentence = "There is no model {model!r} for you here. `GET /v1/models` lists those that are."


class UnknownPath(BadInput):
    code = "not_found"
    sentence = "There is nothing at this address."


class WrongMethod(BadInput):
    code = "method_not_allowed"
    sentence = "That address does not take this method."


class WrongMediaType(BadInput):
    code = "unsupported_media_type"
    sentence = "Send application/json, or multipart/form-data for files."


class UnexpectedError(PonteError):
    sentence = (
        "Something went wrong on my side; the operator finds it in the log. Please try again."
    )


class ServerStopping(NotStored):
    sentence = "I am restarting, so I did not take that. Please send it again in a moment."


def status_of(error: PonteError) -> int:
    """Return the HTTP status of an error. A code that is not listed is a 500."""
    return STATUS_BY_CODE.get(error.code, 500)


def error_body(error: PonteError, locale: str = "en") -> dict[str, dict[str, str]]:
    """Return the JSON body of an error."""
    return {"error": {"code": error.code, "message": error.words(locale)}}


OPENAI_ERROR_TYPES = {
    401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"
}  # fmt: skip
"""The `type` of an error in OpenAI's API by HTTP status. For others it says whose fault the error
is."""


def openai_error(code: str, words: str, status: int, param: str | None = None) -> dict[str, object]:
    """Return an error object as the clients of OpenAI's API expect it."""
    kind = OPENAI_ERROR_TYPES.get(
        status, "invalid_request_error" if status < 500 else "server_error"
    )
    return {"message": words, "type": kind, "param": param, "code": code}


def translate_page(locale: str) -> dict[str, str]:
    """Return the page's sentences by key, with their `{placeholders}`."""
    return {key: say(sentence, locale) for key, sentence in PAGE_SENTENCES.items()}
