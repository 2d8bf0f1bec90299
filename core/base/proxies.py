"""Proxies and addresses. HTTPS_PROXY and NO_PROXY can be set in `.env`, which the HTTP library does
not read.
"""

from __future__ import annotations

import ipaddress
import re
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

_DEFAULT_PORTS = {"https": 443, "wss": 443, "http": 80, "ws": 80}


@dataclass(frozen=True, slots=True)
class Proxies:
    """Proxy URLs by the scheme of the request.

    URLs may contain a password, so `repr` omits them. `no` is NO_PROXY, a comma-separated list of
    hosts that are reached directly. `example.com` includes its subdomains, `10.0.0.0/8` is a range
    of addresses, `host:port` is one port only, and `*` is every host.
    """

    https: str = field(default="", repr=False)
    http: str = field(default="", repr=False)
    no: str = ""

    def for_url(self, url: str) -> str | None:
        """None for a direct connection: no proxy is set for its scheme, or NO_PROXY includes the
        host."""
        try:
            parts = urlsplit(url)
            port = parts.port or _DEFAULT_PORTS.get(parts.scheme, 0)
        except ValueError:  # it is no address
            return None
        proxy = self.https if parts.scheme in ("https", "wss") else self.http
        host = (parts.hostname or "").lower().rstrip(".")
        entries = re.split(r"[,;\s]+", self.no.lower())
        if not proxy or any(_includes(entry, host, port) for entry in entries):
            return None
        return proxy if "://" in proxy else f"http://{proxy}"  # people leave the scheme out

    def name_for(self, url: str) -> str:
        """Return the proxy's host and port without its password; "" for a direct connection."""
        address = (self.for_url(url) or "").partition("://")[2]
        return address.rpartition("@")[2].partition("/")[0]


def add_proxy(reason: str, proxy: str) -> str:
    return f"{reason}, proxy {proxy}" if proxy else reason


def _includes(entry: str, host: str, port: int) -> bool:
    """No standard defines entries of NO_PROXY, so all usual forms count: a domain with or without a
    dot or `*.` before it, an address, a range, `192.168.*`, a URL, and a port behind each."""
    entry = re.sub(r"^https?://|/$", "", entry)
    name, colon, entry_port = entry.rpartition(":")
    # An IPv6 address has colons, too.
    if colon and entry_port.isdecimal() and (":" not in name or name.endswith("]")):
        if int(entry_port) != port:
            return False
        entry = name
    name = re.sub(r"[\[\]]", "", entry.removeprefix("*").strip("."))
    if name.endswith(".*"):  # 192.168.*
        return host.startswith(name[:-1])
    with suppress(ValueError):
        return ipaddress.ip_address(host) in ipaddress.ip_network(name, strict=False)
    return entry == "*" or (bool(name) and (host == name or host.endswith(f".{name}")))


def is_loopback(host: str) -> bool:
    """Return whether `host` surely means this machine. A name below `localhost` depends on the
    resolver."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


def parse_address(host: str) -> IpAddress:
    """An IPv4 address inside an IPv6 one (::ffff:192.0.2.1) counts as such. Raise ValueError."""
    address = ipaddress.ip_address(host)
    return getattr(address, "ipv4_mapped", None) or address


def is_reserved_address(address: IpAddress) -> bool:
    """No server of ours has a link-local address, where clouds offer their credentials
    (169.254.169.254), a multicast or an unspecified one (0.0.0.0)."""
    return address.is_link_local or address.is_multicast or address.is_unspecified


def is_local_host(host: str) -> bool:
    """Only the name is looked at: an address that is not public, no dots, or below `internal` or
    `local`."""
    try:
        return not ipaddress.ip_address(host.strip("[]")).is_global
    except ValueError:
        return "." not in host or host.lower().endswith((".internal", ".local"))
