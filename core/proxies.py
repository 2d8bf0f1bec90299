"""Which proxy a request goes through: what HTTPS_PROXY, HTTP_PROXY and NO_PROXY say.

The values are handed in, since they may stand in `.env`, which no client reads by itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlsplit

_DEFAULT_PORTS = {"https": 443, "wss": 443, "http": 80, "ws": 80}


@dataclass(frozen=True, slots=True)
class Proxies:
    """Proxy URLs by the scheme of the request; they may hold a password, so they are not shown.

    `no` is NO_PROXY: comma-separated hosts that are reached directly; `example.com` also
    stands for its subdomains, `host:port` for one port only, `*` for every host.
    """

    https: str = field(default="", repr=False)
    http: str = field(default="", repr=False)
    no: str = ""

    def for_url(self, url: str) -> str | None:
        """The proxy's URL for this request, or None to connect directly."""
        parts = urlsplit(url)
        proxy = self.https if parts.scheme in ("https", "wss") else self.http
        host = (parts.hostname or "").lower()
        port = parts.port or _DEFAULT_PORTS.get(parts.scheme, 0)
        direct = any(_names(entry.lower(), host, port) for entry in self._direct())
        return None if direct or not proxy else proxy

    def routes(self) -> dict[str, str]:
        """URL pattern → proxy, "" for a direct way; the more exact pattern wins."""
        direct = self._direct()
        if "*" in direct:
            return {}
        routes = {_pattern(host): "" for host in direct}
        for scheme, proxy in (("http://", self.http), ("https://", self.https)):
            if proxy:
                routes[scheme] = proxy if "://" in proxy else f"http://{proxy}"
        return routes

    def _direct(self) -> list[str]:
        return [host.strip() for host in self.no.split(",") if host.strip()]


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


def _pattern(host: str) -> str:
    """A NO_PROXY entry: a name stands for its subdomains too, an address for itself."""
    name = host.lstrip(".").strip("[]")
    if name.count(":") > 1:
        return f"all://[{name}]"
    if name.replace(".", "").replace(":", "").isdigit():
        return f"all://{name}"
    return f"all://*{name}"
