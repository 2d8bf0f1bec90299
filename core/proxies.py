"""Which proxy a request goes through: what HTTPS_PROXY, HTTP_PROXY and NO_PROXY say.

The values are handed in, since they may stand in `.env`, which no client reads by itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlsplit

_DEFAULT_PORTS = {"https": 443, "wss": 443, "http": 80, "ws": 80}


@dataclass(frozen=True, slots=True)
class Proxies:
    """Proxy URLs by the scheme of the request. They may hold a password, so they are not shown.

    `bypass` is NO_PROXY: comma-separated hosts that are reached directly; `example.com` also
    stands for its subdomains, `host:port` for one port only, `*` for every host.
    """

    https: str = field(default="", repr=False)
    http: str = field(default="", repr=False)
    bypass: str = ""

    def for_url(self, url: str) -> str | None:
        """The proxy's URL for this request, or None to connect directly."""
        parts = urlsplit(url)
        proxy = self.https if parts.scheme in ("https", "wss") else self.http
        host = parts.hostname or ""
        port = parts.port or _DEFAULT_PORTS.get(parts.scheme, 0)
        return None if not proxy or self._bypassed(host, port) else proxy

    def _bypassed(self, host: str, port: int) -> bool:
        entries = (entry.strip().lower() for entry in self.bypass.split(","))
        return any(_names(entry, host.lower(), port) for entry in entries if entry)


def _names(entry: str, host: str, port: int) -> bool:
    if entry == "*":
        return True
    name, colon, entry_port = entry.rpartition(":")
    if colon and entry_port.isdecimal() and ":" not in name:
        if int(entry_port) != port:
            return False
        entry = name
    entry = entry.removeprefix("*").removeprefix(".").strip("[]")
    return host == entry or host.endswith("." + entry)
