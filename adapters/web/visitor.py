"""A request to the page, and the person who made it."""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from core.domain.messages import Person
from core.domain.records import PageAccount
from core.people.page_accounts import OwnerName
from core.people.rules import OWNER_ID
from core.people.sign_ins import SignedInPerson


@dataclass(frozen=True, slots=True)
class Visit:
    """One HTTP request before authentication. Header names are in lower case; `peer` is the
    client's address."""

    path: str
    headers: Mapping[str, str]
    peer: str = ""
    method: str = "GET"


@dataclass(frozen=True, slots=True)
class Visitor:
    """An authenticated person. `token` is the hash of the token that let them in ("" for the
    owner's), `session` the hash of their session ("" with a bearer token).

    `program`: the kind of the API token with which a program acts for the person
    (`ApiToken.kind`), "" for people. `provider`: the one that confirmed the person, "" for owners
    and links; their `token` seals their sessions. `until` is the end of the session in seconds
    since the epoch, 0 for none, and `cookie` a new value for its cookie, "" to leave it.
    """

    person: Person
    token: str = ""
    session: str = ""
    program: str = ""
    provider: str = ""
    until: float = 0.0
    cookie: str = field(default="", compare=False)

    @property
    def can_expire(self) -> bool:
        """Return whether the visitor may lose access while this process runs. The owner on the Unix
        socket cannot: they have neither token nor session."""
        return bool(self.token or self.session)

    def sealing_key(self, owner_key: bytes) -> bytes:
        """Return the key that seals this visitor's sessions. It includes the owner's, so that the
        stored hashes of tokens are not enough to make a session."""
        if not self.token:
            return owner_key
        return hmac.digest(owner_key, self.token.encode(), "sha256")


@dataclass(frozen=True, slots=True)
class BrowserSession:
    """A session of the page that a browser's cookie has proven.

    - `visitor`: whose session it is.
    - `began_at`: when they signed in, in seconds since the epoch.
    - `until`: when the session ends at the latest, however often its cookie is renewed.
    - `accounts`: the account of a person with a sign-in link, as the only element, for the record
      of their last visit; else empty.
    - `known`: the record of a person whom a provider has confirmed, such as Slack; else None.
    - `label`: what stays the same of the cookie of such a person: when they signed in and a random
      part, in hexadecimal.
    """

    visitor: Visitor
    began_at: float
    until: float
    accounts: Sequence[PageAccount] = ()
    known: SignedInPerson | None = None
    label: str = ""


def owner_visitor(platform: str, owner: OwnerName) -> Visitor:
    """Return the owner as a visitor of this platform, under their current name. They have no token
    and no session, so nothing of theirs can expire."""
    return Visitor(Person(platform, OWNER_ID, name=owner.current))
