"""Who may come in: our own page and scripts with the token, or anyone on our Unix socket.

A page of another site can make a browser send requests to 127.0.0.1, also under a name of its own
that it lets point there (DNS rebinding): the Host must be one of ours, and an Origin our own.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

from adapters.web.errors import ForeignHost, ForeignOrigin
from adapters.web.login import Login
from core.errors import Refusal
from core.messages import Person

HEALTH = frozenset({"/healthz", "/readyz"})
OPEN = frozenset({"/", "/login"})
ASSETS = "/page/"
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+?)\.?(:\d{1,5})?")


@dataclass(frozen=True, slots=True)
class Visit:
    """One request as a door sees it: header names in lower case, `peer` the client's address."""

    path: str
    headers: Mapping[str, str]
    peer: str = ""


class Door(Protocol):
    @property
    def platform(self) -> str: ...

    @property
    def person(self) -> Person: ...

    @property
    def login(self) -> Login: ...

    @property
    def secure(self) -> bool:
        """Whether cookies are for https alone."""
        ...

    def admit(self, visit: Visit) -> None:
        """Raises the Refusal that the visitor reads."""
        ...

    def trusts(self, visit: Visit) -> bool:
        """Whether this visitor may read what is wrong with us."""
        ...


class SocketDoor:
    """The home's Unix socket: whoever can open it is the operator."""

    platform = "terminal"
    person = Person("terminal", "owner")
    secure = False

    def __init__(self) -> None:
        self.login = Login()

    def admit(self, visit: Visit) -> None:
        return None

    def trusts(self, visit: Visit) -> bool:
        return True


class WebDoor:
    """`host` is the listen address, `url` the public origin where a proxy stands in front."""

    platform = "web"
    person = Person("web", "owner")

    def __init__(self, host: str, url: str = "", token: str = "") -> None:
        public = urlsplit(url)
        self.login = Login(token)
        self.secure = public.scheme == "https"
        self._hosts = {host.lower(), (public.hostname or "").lower()} - {""}
        self._origin = f"{public.scheme}://{public.netloc}".lower() if public.netloc else ""

    def admit(self, visit: Visit) -> None:
        if visit.path in HEALTH:
            return
        self._own_host(visit)
        self._own_origin(visit)
        if visit.path not in OPEN and not visit.path.startswith(ASSETS):
            self.login.admit(visit.headers, visit.peer)

    def trusts(self, visit: Visit) -> bool:
        try:
            self.login.admit(visit.headers, visit.peer)
        except Refusal:
            return False
        return self.login.needed or is_loopback(_name(visit.headers.get("host", "")))

    def _own_host(self, visit: Visit) -> None:
        host = visit.headers.get("host", "")
        name = _name(host)
        if not name or not (is_loopback(name) or name in self._hosts):
            raise ForeignHost(host=host[:100] or "?")

    def _own_origin(self, visit: Visit) -> None:
        """`Sec-Fetch-Site` tells of cross-site requests that carry no Origin (fetch metadata)."""
        origin = visit.headers.get("origin", "").lower()
        host = visit.headers.get("host", "").lower()
        if origin and origin not in {f"http://{host}", f"https://{host}", self._origin}:
            raise ForeignOrigin(origin=origin[:100])
        foreign = visit.headers.get("sec-fetch-site", "") in {"cross-site", "same-site"}
        if foreign and visit.headers.get("sec-fetch-mode", "") != "navigate":
            raise ForeignOrigin(origin=origin[:100] or "?")


def is_loopback(host: str) -> bool:
    """`host` is a name or address of this machine alone (RFC 6761 for `localhost`)."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _name(host: str) -> str:
    """The name in a Host header, without port, brackets and final dot; empty when malformed."""
    found = _HOST.fullmatch(host.lower())
    return found.group(1).strip("[]") if found else ""
