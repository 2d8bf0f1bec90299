"""Who may set Ponte up in the page, and from where."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from core.base.proxies import is_loopback
from core.people.rules import OWNER_ID

if TYPE_CHECKING:
    from adapters.web.settings import WebSettings
    from adapters.web.visitor import Visit, Visitor
    from core.integrations import SharedSettings

FORWARDING_HEADERS = (
    "forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto",
    "x-forwarded-server", "x-real-ip", "x-client-ip", "true-client-ip", "cf-connecting-ip",
)  # fmt: skip
"""Headers that proxies add. A Ponte behind nginx listens on loopback, too."""
NOT_OWNER_SENTENCE = (
    "Only the owner can connect services, in a browser where they signed in with their link "
    "(`ponte link`)."
)
PROXIED_SENTENCE = (
    "This page was opened through a proxy or under another name. To connect services here, "
    "open it on the machine where Ponte is installed, or set PONTE_SETUP=on and "
    "PONTE_WEB_URL=https://…"
)

DATABASE_SENTENCE = (
    "DATABASE_URL is set, so connect services in .env: several processes need the same settings."
)
OFF_SENTENCE = "PONTE_SETUP is off. Connect services in .env."
PUBLIC_SENTENCE = (
    "Other people can open this page. Set PONTE_SETUP=on to connect services here, or connect "
    "them in .env."
)
NEEDS_HTTPS_SENTENCE = (
    "PONTE_SETUP=on needs PONTE_WEB_URL=https://…, because secrets are typed here."
)


@dataclass(frozen=True, slots=True)
class SetupGate:
    """Decides who may use the setup page. `why_off` is a sentence on why nobody may, "" if
    somebody can. `is_local`: only requests from this machine may use it, which came through no
    proxy."""

    why_off: str
    is_local: bool

    @classmethod
    def from_settings(cls, settings: WebSettings, shared: SharedSettings) -> SetupGate:
        """Secrets are typed on the page, so others than this machine reach it only if the operator
        allows it, and over HTTPS. If `is_local`, the gate also checks where each request is from.
        `why_off` is a sentence to translate."""
        url = settings.ponte_web_url or ""
        is_local = (
            is_loopback(settings.ponte_web_host) and not url
        )  # nobody else can reach the page
        why = ""
        # The processes that share a database need one set of settings, which is in .env.
        if shared.database_url is not None:
            why = DATABASE_SENTENCE
        elif settings.ponte_setup == "off":
            why = OFF_SENTENCE
        elif not is_local and settings.ponte_setup is None:
            why = PUBLIC_SENTENCE
        elif not is_local and not url.startswith("https://"):
            why = NEEDS_HTTPS_SENTENCE
        return cls(why, is_local)

    def why_closed(self, visit: Visit, visitor: Visitor) -> str:
        """Return "" if this visitor may use the page, else a sentence to translate. `is_local`:
        only the owner at this machine may use it."""
        # A `program` has an API token. A bearer token has no session, so it is not enough.
        if visitor.person.id != OWNER_ID or visitor.program or not visitor.session:
            return NOT_OWNER_SENTENCE
        if self.why_off:
            return self.why_off
        if self.is_local:
            # A page of another site can send requests to this machine under a name of its own (DNS
            # rebinding), and a proxy here passes on those of everybody.
            host = urlsplit(f"//{visit.headers.get('host', '')}").hostname or ""
            if (
                not is_loopback(host)
                or not is_loopback(visit.peer)
                or any(name in visit.headers for name in FORWARDING_HEADERS)
            ):
                return PROXIED_SENTENCE
        return ""
