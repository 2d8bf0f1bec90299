"""The errors of the HTTP API, and the pages without a script."""

from __future__ import annotations

import re
from html import escape
from pathlib import Path

from core.base.errors import BadInput, NotStored, PonteError, Refusal, SettingsError, StatusUnknown
from core.base.i18n import LANGUAGE, say
from core.people.notices import ACCESS_REMOVED, SENTENCES

STATUS_BY_CODE = {
    "bad_request": 400,
    "unsupported_parameter": 400,
    "decided_elsewhere": 400,
    "unauthorized": 401,
    "session_ended": 401,
    "confirm_again": 401,
    "another_issuer": 403,
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
    "unstorable": 422,
    "too_many": 429,
    "home_unusable": 503,
    "not_stored": 503,
    "status_unknown": 503,
    "still_applying": 503,
}


class Unauthorized(Refusal):
    """The request has no valid token or session (401)."""

    code = "unauthorized"
    sentence = (
        "Sign in first. Open the link that `ponte link` prints on the machine where Ponte is "
        "installed, or send the token in the Authorization header (Bearer)."
    )


class SessionEnded(Unauthorized):
    """The browser has a session that is no longer valid (401).

    The sentence is the same for all reasons, so that nobody can find out who has an account. Only
    the cookie of a session that the owner ended leads to the reason.
    """

    code = "session_ended"
    sentence = (
        "Your session has ended. Open your sign-in link again. If it no longer works, it was "
        "renewed or removed: ask Ponte's owner for a new one."
    )


class ConfirmAgain(Unauthorized):
    """The sign-in provider has to confirm the person once more (401). The page asks it to at
    `/sign-in/{provider}?again`, without a question to the person."""

    code = "confirm_again"
    sentence = "Sign in again so that Ponte can confirm your account."


class NotConfirmed(StatusUnknown):
    """The sign-in provider has not confirmed for too long that the person still has an account
    there (503)."""

    sentence = (
        "Ponte can't confirm with {provider} right now that you still have access. Your "
        "conversations are safe. Try again in a moment."
    )


class LinkRenewed(Unauthorized):
    """The token belongs to a sign-in link that the owner has replaced by a new one (401)."""

    sentence = "Your sign-in link was replaced. Ask Ponte's owner for the new one."


class AccessRemoved(Unauthorized):
    """The token belongs to an account that the owner has removed (401)."""

    sentence = SENTENCES[ACCESS_REMOVED]


class LinksOff(Unauthorized):
    """A person used the token of a sign-in link where links are switched off by `[page] links =
    false` (401)."""

    sentence = "Sign-in links are turned off here. Sign in another way, or ask Ponte's owner."


class WrongToken(Unauthorized):
    """The token of a sign-in or an Authorization header is unknown (401)."""

    sentence = "Invalid token."


class ForeignHost(Refusal):
    """The Host header names another site. Refusing such requests prevents DNS rebinding, by which a
    page of another site reaches Ponte under its own host name."""

    code = "foreign_origin"
    sentence = (
        "Ponte doesn't answer requests for {host}. If this is Ponte's URL, set PONTE_WEB_URL."
    )


class ForeignOrigin(Refusal):
    """The Origin header names another site. Refusing such requests prevents that a page of another
    site acts in a visitor's name."""

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
        "`{param}` isn't supported. Ponte gives one text answer and uses its own tools. Leave "
        "this parameter out."
    )


class InvalidDataUrl(BadRequest):
    """A file of the OpenAI-compatible API is not a base64 `data:` URL."""

    sentence = "`{param}` isn't a base64-encoded `data:` URL."


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


class UnknownCompatiblePath(UnknownPath):
    """Clients try other routes of OpenAI, such as `/v1/responses`."""

    sentence = "Ponte supports only `/v1/chat/completions` and `/v1/models` of OpenAI's API."


class WrongMethod(BadInput):
    """The route exists but does not accept the request's method (405)."""

    code = "method_not_allowed"
    sentence = "This URL doesn't accept that method."


class WrongMediaType(BadInput):
    """The route does not accept the Content-Type of the request (415)."""

    code = "unsupported_media_type"
    sentence = "Send application/json, or multipart/form-data for files."


class UnexpectedError(PonteError):
    """The handler failed with an error that is not a PonteError (500)."""

    sentence = (
        "Something went wrong. Try again. If the problem continues, contact the person who runs "
        "Ponte. The details are in the log."
    )


class ServerStopping(NotStored):
    """The server is shutting down and does not accept messages (503)."""

    sentence = "I'm restarting, so your message wasn't saved. Send it again in a moment."


def status_of(error: PonteError) -> int:
    """An error with a code that is not listed is a 400 if the person can correct what they sent,
    else a 500."""
    return STATUS_BY_CODE.get(
        error.code, 400 if isinstance(error, BadInput | SettingsError) else 500
    )


def error_body(error: PonteError) -> dict[str, dict[str, str]]:
    """After ConfirmAgain, `provider` names the sign-in provider that has to confirm once more that
    the page's user still has an account there."""
    body = {"code": error.code, "message": error.words()}
    if isinstance(error, ConfirmAgain):
        body["provider"] = str(error.values["provider"])
    return {"error": body}


PLAIN_PAGE = (Path(__file__).parent / "page" / "plain.html").read_text("utf-8")


def error_page(error: PonteError) -> str:
    body = re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(error.words()))
    return plain_page("error", f"<h1>Ponte</h1><p>{body}</p>")


def plain_page(kind: str, body: str) -> str:
    """`kind` is the CSS class of its body, `body` the HTML in it. A link leads to Ponte's page."""
    return PLAIN_PAGE.format(language=LANGUAGE.get(), kind=kind, words=body, link=say("Open Ponte"))


OPENAI_ERROR_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
"""The `type` of an error in OpenAI's API by HTTP status. For others it says whose fault the error
is."""


def openai_error(
    code: str, message: str, status: int, param: str | None = None
) -> dict[str, object]:
    default = "invalid_request_error" if status < 500 else "server_error"
    kind = OPENAI_ERROR_TYPES.get(status, default)
    return {"message": message, "type": kind, "param": param, "code": code}
