"""The kinds of values that a setting takes: how each is written, read and refused.

A refusal's words complete a line that begins with the setting's name.
"""

from __future__ import annotations

import ipaddress
import re
import zoneinfo
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BeforeValidator, SecretStr

from core.policy import DailyTurns

TOKEN_LENGTH = 20
"""Characters that a token which a person sets has at least."""
_PLATFORM_NAME = re.compile(r"slack:[A-Za-z0-9]+|discord:[0-9]+")
_TURNS = re.compile(r"\s*([0-9]{1,9})\s*/\s*([0-9]{1,9})\s*")


def plain(value: str | SecretStr | None) -> str:
    """The text of a setting, also of a secret one; "" where it is not set."""
    return value.get_secret_value() if isinstance(value, SecretStr) else value or ""


def token_fault(token: str) -> str:
    """What to write instead of this token for the page; "" where it serves."""
    if re.fullmatch(rf"[!-~]{{{TOKEN_LENGTH},500}}", token):
        return ""
    return (
        f"write at least {TOKEN_LENGTH} random letters and digits, "
        "as `openssl rand -hex 16` gives them"
    )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens on `host`."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _parts(text: str, schemes: tuple[str, ...]) -> SplitResult:
    try:
        parts = urlsplit(text)
        good = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise ValueError(f"write a URL that begins with {schemes[0]}:// and names a host")
    return parts


def _http(value: str) -> str:
    _parts(value, ("https", "http"))
    return value


def _socket(value: str) -> str:
    _parts(value, ("wss", "ws"))
    return value


def _proxy(value: SecretStr) -> SecretStr:
    _parts(plain(value), ("http", "https"))
    return value


def _origin(value: str) -> str:
    parts = _parts(value, ("https", "http"))
    if parts.path.strip("/") or parts.query or parts.fragment or parts.username:
        raise ValueError("write an origin without a path, as in https://ponte.example.com")
    return value.rstrip("/")


def _nocodb(value: SecretStr) -> SecretStr:
    path = _parts(plain(value), ("https", "http")).path.rstrip("/")
    if path and not path.endswith("/execute"):
        raise ValueError("write an origin (https://host), or a bridge's URL ending in /execute")
    return value


def _bot_token(value: SecretStr) -> SecretStr:
    if plain(value).startswith("xapp-"):
        raise ValueError("that is an app token; the bot token begins with xoxb-")
    return value


def _app_token(value: SecretStr) -> SecretStr:
    if plain(value).startswith("xoxb-"):
        raise ValueError("that is a bot token; the app token begins with xapp-")
    return value


def _instructions(value: str) -> str:
    if not value.startswith("@"):
        return value
    try:
        text = Path(value[1:]).expanduser().read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"the file {value[1:]!r} cannot be read ({cause(error)})") from None
    if not text:
        raise ValueError(f"the file {value[1:]!r} is empty")
    return text


def _names(write: str, *bare: str) -> Callable[[object], object]:
    def split(value: object) -> object:
        if not isinstance(value, str):
            return value
        names = [name.strip() for name in value.split(",") if name.strip()]
        for name in names:
            if name not in bare and not _PLATFORM_NAME.fullmatch(name):
                raise ValueError(f"{name!r} names nobody; write {write}, comma-separated")
        return frozenset(names)

    return split


def _turns(value: object) -> object:
    if not isinstance(value, str):
        return value
    found = _TURNS.fullmatch(value)
    if not found:
        raise ValueError("write two whole numbers, per person / in all, as in 50/1000")
    return DailyTurns(int(found[1]), int(found[2]))


def _zone(value: str) -> str:
    try:
        return value if value == "UTC" else zoneinfo.ZoneInfo(value).key
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("write a time zone's name, as in America/Sao_Paulo") from None


def _full_path(value: Path) -> Path:
    try:
        return value.expanduser().absolute()
    except RuntimeError:
        raise ValueError("the home folder that ~ stands for is not known; write it out") from None


def _not_built(value: SecretStr) -> SecretStr:
    raise ValueError("the distributed engine is not built yet; unset it to use PONTE_HOME")


def cause(error: OSError | UnicodeDecodeError) -> str:
    """Why a file could not be read, in the system's few words."""
    return error.reason if isinstance(error, UnicodeDecodeError) else error.strerror or "unreadable"


Switch = Literal["on", "off"]
Url = Annotated[str, AfterValidator(_http)]
ProxyUrl = Annotated[SecretStr, AfterValidator(_proxy)]
SocketUrl = Annotated[str, AfterValidator(_socket)]
Origin = Annotated[str, AfterValidator(_origin)]
NocodbUrl = Annotated[SecretStr, AfterValidator(_nocodb)]
BotToken = Annotated[SecretStr, AfterValidator(_bot_token)]
AppToken = Annotated[SecretStr, AfterValidator(_app_token)]
DatabaseUrl = Annotated[SecretStr, AfterValidator(_not_built)]
Instructions = Annotated[str, AfterValidator(_instructions)]
Zone = Annotated[str, AfterValidator(_zone)]
FullPath = Annotated[Path, AfterValidator(_full_path)]
Turns = Annotated[DailyTurns, BeforeValidator(_turns)]
Allowed = Annotated[frozenset[str], BeforeValidator(_names("slack:ID, discord:ID or *", "*"))]
Admins = Annotated[
    frozenset[str],
    BeforeValidator(_names("slack:ID, discord:ID, web or terminal", "web", "terminal")),
]
