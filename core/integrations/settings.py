"""Types of settings, with their parsing and validation.

The text of an error completes a line that begins with the setting's name.
"""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, field_validator

MIN_TOKEN_CHARACTERS = 20
"""Minimum length of a token that a person sets."""


_UNSEEN = " \t\r\n\N{NO-BREAK SPACE}\N{ZERO WIDTH SPACE}\N{ZERO WIDTH NO-BREAK SPACE}"
_QUOTES = (("“", "”"), ("„", "“"), ("„", "”"), ("‘", "’"), ("«", "»"), ('"', '"'), ("'", "'"))
_BARE_LOOPBACK = re.compile(r"(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d+)?(/.*)?")
"""A loopback address without `http://`."""


class SettingsPart(BaseModel):
    """The settings of one integration.

    A field has the name of its environment variable in lower case. The bot's settings combine all
    parts, and only they read the environment.
    """

    model_config = ConfigDict(
        frozen=True, hide_input_in_errors=True, validate_default=True, str_strip_whitespace=True
    )

    @field_validator("*", mode="before")
    @classmethod
    def _as_typed(cls, value: object) -> object:
        return strip_typography(value) if isinstance(value, str) else value


def strip_typography(value: str) -> str:
    """Return the value without surrounding typographic quotes and invisible spaces.

    Word processors and browsers add them to copied text.
    """
    value = value.strip(_UNSEEN)
    for opening, closing in _QUOTES:
        if len(value) > 1 and value.startswith(opening) and value.endswith(closing):
            return value[1:-1].strip(_UNSEEN)
    return value


def setting(default: object, meaning: str, write: str = "a text", **limits: Any) -> Any:
    """Return a field with its meaning in one line.

    `write` says what to write there, for the error message.
    """
    return Field(default, description=meaning, json_schema_extra={"write": write}, **limits)


def plain_value(value: str | SecretStr | None) -> str:
    """Return the text of a setting, including a secret one; "" if it is not set."""
    return value.get_secret_value() if isinstance(value, SecretStr) else value or ""


def describe_read_error(error: OSError | UnicodeDecodeError) -> str:
    """Return the system's short reason why a file could not be read."""
    return error.reason if isinstance(error, UnicodeDecodeError) else error.strerror or "unreadable"


def is_loopback(host: str) -> bool:
    """Return True if only this machine can reach a server that listens on `host`."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def token_fault(token: str) -> str:
    """Return what to write instead of this token for the web page; "" if the token is valid."""
    if re.fullmatch(rf"[!-~]{{{MIN_TOKEN_CHARACTERS},500}}", token):
        return ""
    return (
        f"write at least {MIN_TOKEN_CHARACTERS} random letters and digits, "
        "as `openssl rand -hex 16` gives them"
    )


def has_generated_form(token: str) -> bool:
    """Return True if the token has the form of Ponte's generated tokens: 256 bits in base64url.

    One in three billion generated tokens lacks a small or a capital letter.
    """
    return (
        bool(re.fullmatch(r"[A-Za-z0-9_-]{43}", token))
        and not token.islower()
        and not token.isupper()
        and any(map(str.isalpha, token))
    )


def must_match(pattern: str, write: str) -> AfterValidator:
    """Return a validator for text that matches the whole pattern.

    The error says what to `write`.
    """

    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(f"write {write}")
        return value

    return AfterValidator(check)


def parse_url(text: str, *schemes: str) -> SplitResult:
    """Parse a URL with one of these schemes and a host. Raises ValueError for any other text."""
    try:
        parts = urlsplit(text)
        good = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise ValueError(f"write a URL that starts with {schemes[0]}:// and contains a host")
    return parts


def add_scheme(value: str) -> str:
    """Add `http://` to a loopback address that has no scheme.

    Only http can be meant there. Raises ValueError for another host without a scheme: the error
    names both.
    """
    if _BARE_LOOPBACK.fullmatch(value):
        return f"http://{value}"
    if "://" not in value and re.fullmatch(r"[\w.-]+\.[a-z]{2,}(:\d+)?(/.*)?", value):
        raise ValueError(f"write https://{value}, or http:// if the server has no certificate")
    return value


def _check_http_url(value: str) -> str:
    value = add_scheme(value)
    parse_url(value, "https", "http")
    return value


def _add_v1_path(value: str) -> str:
    """Return the base of an address that ends in a route of OpenAI's API, such as
    `/chat/completions`. Add `/v1` to an address without a path: servers have the API there."""
    value = value.rstrip("/")
    for route in ("/chat/completions", "/completions", "/responses", "/models"):
        value = value.removesuffix(route)
    return f"{value.rstrip('/')}/v1" if not urlsplit(value).path.strip("/") else value


def _check_socket_url(value: str) -> str:
    parse_url(value, "wss", "ws")
    return value


def _check_proxy_url(value: SecretStr) -> SecretStr:
    parse_url(plain_value(value), "http", "https")
    return value


def _check_origin(value: str) -> str:
    parts = parse_url(value, "https", "http")
    if parts.path.strip("/") or parts.query or parts.fragment or parts.username:
        raise ValueError("write an origin without a path, as in https://ponte.example.com")
    return value.rstrip("/")


def _read_text_or_file(value: str) -> str:
    if not value.startswith("@"):
        return value
    try:
        text = Path(value[1:]).expanduser().read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f"the file {value[1:]!r} cannot be read ({describe_read_error(error)})"
        ) from None
    if not text:
        raise ValueError(f"the file {value[1:]!r} is empty")
    return text


Switch = Literal["on", "off"]
Url = Annotated[str, AfterValidator(_check_http_url)]
BaseUrl = Annotated[str, AfterValidator(_check_http_url), AfterValidator(_add_v1_path)]
ProxyUrl = Annotated[SecretStr, AfterValidator(_check_proxy_url)]
SocketUrl = Annotated[str, AfterValidator(_check_socket_url)]
Origin = Annotated[str, AfterValidator(_check_origin)]
Instructions = Annotated[str, AfterValidator(_read_text_or_file)]
