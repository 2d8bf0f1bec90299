"""What the HTTP API refuses, and the status of each code."""

from __future__ import annotations

from core.errors import BadInput, NotStored, PonteError, Refusal

STATUS = {
    "bad_request": 400,
    "unauthorized": 401,
    "foreign_origin": 403,
    "forbidden": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "forgotten": 410,
    "expired": 410,
    "too_large": 413,
    "unsupported_media_type": 415,
    "empty": 422,
    "too_many": 429,
    "not_stored": 503,
}


class Unauthorized(Refusal):
    code = "unauthorized"
    sentence = (
        "Sign in first: open the address that `ponte link` prints on the machine where I run, "
        "or send the token as a bearer."
    )


class WrongToken(Unauthorized):
    sentence = "That is not the token of this Ponte."


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


class TooManyStreams(Refusal):
    code = "too_many"
    sentence = "Too many pages are open on this Ponte. Close one and try again."


class BadRequest(BadInput):
    sentence = "I do not understand that request: {why}."


class UnknownPath(BadInput):
    code = "not_found"
    sentence = "There is nothing at this address."


class WrongMethod(BadInput):
    code = "method_not_allowed"
    sentence = "That address does not take this method."


class WrongMediaType(BadInput):
    code = "unsupported_media_type"
    sentence = "Send application/json, or multipart/form-data for files."


class Unexpected(PonteError):
    sentence = (
        "Something went wrong on my side; the operator finds it in the log. Please try again."
    )


class Stopping(NotStored):
    sentence = "I am restarting, so I did not take that. Please send it again in a moment."


def status_of(error: PonteError) -> int:
    """The HTTP status of an error; what is not a client's fault and has no code is a 500."""
    return STATUS.get(error.code, 500)


def body_of(error: PonteError, locale: str = "en") -> dict[str, dict[str, str]]:
    return {"error": {"code": error.code, "message": error.words(locale)}}
