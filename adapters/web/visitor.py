"""A request to the page, and who makes it: the owner, a person with a sign-in link, a person of a
provider, or a program with an API token."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import ClassVar, Self

from adapters.web import errors
from core.base.errors import NotStored, Refusal
from core.base.tasks import BoundedDict
from core.domain.messages import Address, Person
from core.domain.records import EndedToken, PageAccount
from core.people.page_accounts import MCP_TOKEN_KIND, OwnerName, PageAccounts, hash_token
from core.people.policy import Policy
from core.people.rules import OIDC_PLATFORM, OWNER_ID
from core.people.sign_ins import ABSENT_SECONDS, CONFIRMED_SECONDS, SignedInPerson, is_provider_key

WEB_PLATFORM = "web"
SESSION_SECONDS = 30 * 86_400
PROVIDER_SESSION_SECONDS = 7 * 86_400
IDLE_SECONDS = 86_400
"""How long a session of a person of a provider lasts without a request."""
CONFIRMATION_SECONDS = 60.0
"""How often Slack's directory is asked whether a person is still there. Its data is at most four
minutes old, so that they lose the page within five."""
CONFIRMATION_TIMEOUT_SECONDS, CONFIRMATION_PAUSE_SECONDS = 2.0, 10.0
MAX_UNCONFIRMED_PEOPLE = 10_000
PROGRAMS_PATH = "/mcp"
COMPATIBLE_PREFIX = "/v1/"
METRICS_PATH = "/metrics"
PROVIDER_SESSION_ENDED = "Your session has ended. Sign in again."
PROGRAM_REFUSALS = {
    MCP_TOKEN_KIND: "This token works only for `/mcp`.",
    "metrics": "This token works only for `/metrics`.",
    "api": "API tokens work only for `/v1`. Use the page for this.",
}
"""Kind of API token → the refusal on all other paths. `/mcp` checks its tokens itself."""


@dataclass(frozen=True, slots=True)
class Visit:
    """One HTTP request before authentication. Header names are in lower case; `peer` is the
    client's address."""

    path: str
    headers: Mapping[str, str]
    peer: str = ""
    method: str = "GET"


class SignInMethods:
    """The ways in which people sign in, besides the owner: whether they still can with a provider
    (`is_provider`), and with a link (`has_links`). `policy` finds out whether a person of Slack is
    still there. A session ends if its provider is no longer offered."""

    def __init__(
        self,
        policy: Policy,
        is_provider: Callable[[str], bool],
        has_links: Callable[[], bool] = lambda: True,
    ) -> None:
        self.is_provider, self.has_links = is_provider, has_links
        self._policy = policy
        self._unanswered = BoundedDict[str, float](MAX_UNCONFIRMED_PEOPLE)
        """By person: until when their platform is not asked about them again, because it did not
        answer."""

    async def has_left(self, person: Person, now: float) -> bool | None:
        """Return None if the platform does not answer soon. A person of a platform that is not
        connected any more has left: `departures` has a function for each connected platform that
        tells who left. `place` is the person's place on the page, so it names no server or channel
        of the platform."""
        if person.platform not in self._policy.people.departures:
            return True
        # The platform did not answer a moment ago: visitors do not wait for it again.
        if self._unanswered.get(person.key, 0.0) > now:
            return None
        with suppress(TimeoutError):
            async with asyncio.timeout(CONFIRMATION_TIMEOUT_SECONDS):
                place = Address(WEB_PLATFORM, "main", person=person.key)
                find_workspace = self._policy.people.workspaces.get(person.platform)
                # "": the platform does not tell which workspace it is.
                if find_workspace and await find_workspace() not in ("", person.workspace):
                    return True  # Ponte is connected to another workspace now
                # 0.0: the time of a membership, which Slack's look-up does not use.
                if (has_left := await self._policy.has_left(person, place, 0.0)) is not None:
                    return has_left
        self._unanswered[person.key] = now + CONFIRMATION_PAUSE_SECONDS
        return None


@dataclass(slots=True)
class Access:
    """Facts that decide whether a visitor has access: what is stored about people, and the ways to
    sign in. `methods`: None allows links and no provider. `now` is in seconds since the epoch. An
    OIDC provider is asked by way of the person's browser, so that it has to confirm them every
    `confirmed_seconds`."""

    accounts: PageAccounts
    owner: OwnerName
    now: Callable[[], float]
    methods: SignInMethods | None = None
    confirmed_seconds: float = CONFIRMED_SECONDS

    @property
    def owner_visitor(self) -> Visitor:
        return OwnerVisitor(Person(WEB_PLATFORM, OWNER_ID, name=self.owner.current))

    @property
    def today(self) -> str:
        """The day in UTC, as in 2026-11-30."""
        return f"{datetime.fromtimestamp(self.now(), UTC):%Y-%m-%d}"


@dataclass(frozen=True, slots=True)
class Visitor:
    """An authenticated person. The methods here hold for most kinds of visitors.

    `name` is by what `find` finds them: the NAME in the claim of their session ("" for the owner),
    or the hash of an API token. `token` is the hash of the token that let them in, or the key of
    the sessions of a person of a provider; "" for the owner. `session` is the hash of their session
    ("" with a bearer token).

    `program`: the kind of the API token with which a program acts for the person
    (`ApiToken.kind`), "" for people. `provider`: the one that confirmed the person, "" for owners
    and links. `began_at` is when they signed in, in seconds since the epoch, and `until` the end of
    the session, 0 for none. `cookie` is a new value for its cookie, "" to leave it. `label` is what
    stays the same of a cookie that is renewed: when its person signed in and a random part, in
    hexadecimal; "" if it is not renewed.
    """

    person: Person
    name: str = ""
    token: str = ""
    session: str = ""
    program: str = ""
    provider: str = ""
    began_at: float = 0.0
    until: float = 0.0
    cookie: str = field(default="", compare=False)
    label: str = ""
    session_seconds: ClassVar[int] = SESSION_SECONDS
    """How long a session lasts, however often its cookie is renewed."""
    ended_sentence: ClassVar[str] = errors.SessionEnded.sentence

    @property
    def can_expire(self) -> bool:
        """The owner on the Unix socket cannot: they have neither token nor session."""
        return bool(self.token or self.session)

    @classmethod
    async def find(cls, access: Access, name: str) -> Visitor | None:
        """The visitor of this `name` as they are stored now. Raise NotStored."""
        raise NotImplementedError

    @classmethod
    async def find_holder(cls, access: Access, name: str) -> Visitor | None:
        return await cls.find(access, name)

    async def check_access(self, access: Access) -> None:
        """Raise the Refusal that the visitor reads if they have no access any more, NotConfirmed or
        NotStored if that is not known."""

    def check_path(self, path: str) -> None:
        if path.startswith(COMPATIBLE_PREFIX):
            raise Refusal(
                "Use an API token for `/v1`. Create one on the page or with `ponte people token`."
            )

    async def record_visit(self, access: Access) -> None:
        """Store the day of the visit where it is shown. If it cannot be stored, the visit goes
        on."""

    async def is_signed_out(self, access: Access) -> bool:
        """Raise NotStored."""
        # A bearer token comes with the request, in place of a session.
        return bool(self.session) and await access.accounts.is_session_ended(self.session)

    def sealing_key(self, owner_key: bytes) -> bytes:
        """The key includes the owner's, so that the stored hashes of tokens are not enough to make
        a session."""
        return hmac.digest(owner_key, self.token.encode(), "sha256")

    def make_claim(self, now: int, label: str = "") -> str:
        """Return the claim of a session's cookie, END-LABEL for the owner and END-LABEL-NAME for
        others. END is in hexadecimal seconds. `label` names a session that goes on, "" a new
        one."""
        end, label = now + SESSION_SECONDS, label or secrets.token_hex(8)
        return "-".join(filter(None, (f"{end:x}", label, self.name)))

    def read_claim(self, claim: str) -> Self:
        """The visitor with the session of a claim whose seal is valid."""
        until = int(claim.partition("-")[0], 16)
        began_at = until - SESSION_SECONDS
        return replace(self, session=hash_token(claim), began_at=began_at, until=until)

    @classmethod
    async def explain_end(cls, access: Access, cookie: SessionCookie) -> Refusal:
        """Somebody who makes up a cookie must not find out who has an account."""
        return errors.SessionEnded(cls.ended_sentence)


class OwnerVisitor(Visitor):
    """The owner, whose sessions are proof enough."""

    @classmethod
    async def find(cls, access: Access, name: str) -> Visitor:
        return access.owner_visitor

    async def is_signed_out(self, access: Access) -> bool:
        # The owner comes in even if this cannot be read, to see what is wrong.
        with suppress(NotStored):
            return await Visitor.is_signed_out(self, access)
        return False

    def sealing_key(self, owner_key: bytes) -> bytes:
        return owner_key


@dataclass(frozen=True, slots=True)
class LinkVisitor(Visitor):
    """A person whom the owner invited with a sign-in link."""

    last_visit: str = field(default="", compare=False)

    @classmethod
    def of(cls, account: PageAccount) -> Self:
        name = account.person.partition(":")[2]
        person = Person(WEB_PLATFORM, name, name=name)
        return cls(person, name, account.token_hash, last_visit=account.last_visit)

    @classmethod
    async def find(cls, access: Access, name: str) -> Visitor | None:
        account = await access.accounts.find(Person(WEB_PLATFORM, name).key)
        return cls.of(account) if account else None

    @classmethod
    async def find_holder(cls, access: Access, name: str) -> Visitor:
        # API tokens are deleted with the account, so it need not be read.
        return cls(Person(WEB_PLATFORM, name, name=name))

    async def check_access(self, access: Access) -> None:
        # ponte.toml can turn sign-in links off.
        if access.methods and not access.methods.has_links():
            raise errors.LinksOff

    async def record_visit(self, access: Access) -> None:
        if self.last_visit < access.today:
            with suppress(NotStored):
                await access.accounts.record_visit(self.person.key, access.today)

    @classmethod
    async def explain_end(cls, access: Access, cookie: SessionCookie) -> Refusal:
        # The session began with the token whose key made this seal, so only a cookie that was once
        # valid leads to the reason.
        person = Person(WEB_PLATFORM, cookie.name)
        with suppress(NotStored):  # then the reason is left out
            for token in await access.accounts.list_ended_tokens(person.key):
                if cookie.is_of(cls(person, token=token.token_hash)):
                    return errors.SessionEnded(ended_refusal(token).sentence)
        return errors.SessionEnded()


@dataclass(frozen=True, slots=True)
class ProviderVisitor(Visitor):
    """A person whom a provider has confirmed, such as Slack."""

    record: SignedInPerson = field(kw_only=True, compare=False)
    session_seconds = PROVIDER_SESSION_SECONDS
    # All people of providers get the same sentence, so it needs no check of the seal.
    ended_sentence = PROVIDER_SESSION_ENDED

    @classmethod
    def of(cls, record: SignedInPerson) -> Self:
        person = record.person
        return cls(person, person.key, record.session_key, provider=record.provider, record=record)

    @classmethod
    async def find(cls, access: Access, name: str) -> ProviderVisitor | None:
        record = await access.accounts.find_sign_in(name)
        return cls.of(record) if record else None

    async def check_access(self, access: Access) -> None:
        now, person, methods = access.now(), self.person, access.methods
        age = now - self.record.confirmed_at
        if self.record.removed_at:  # when an operator removed them; 0 if nobody did
            raise errors.SessionEnded(errors.AccessRemoved.sentence)
        if methods is None or not methods.is_provider(self.provider):
            raise errors.SessionEnded(PROVIDER_SESSION_ENDED)
        if person.platform == OIDC_PLATFORM:
            if age > access.confirmed_seconds:
                raise errors.ConfirmAgain(provider=self.provider)
            return
        # A person of Slack: its directory is asked, but not for each request.
        if age <= CONFIRMATION_SECONDS:
            return
        if has_left := await methods.has_left(person, now):
            raise errors.SessionEnded(PROVIDER_SESSION_ENDED)
        # None: Slack did not tell. Then the last confirmation counts for an hour.
        if has_left is False:
            await access.accounts.confirm_sign_in(person.key, now)
        elif age > CONFIRMED_SECONDS:
            raise errors.NotConfirmed(provider=self.provider.capitalize())

    def make_claim(self, now: int, label: str = "") -> str:
        label = label or f"{now:x}.{secrets.token_hex(8)}"
        latest = _read_start(label) + PROVIDER_SESSION_SECONDS
        return f"{min(now + IDLE_SECONDS, latest):x}-{label}-{self.name}"

    def read_claim(self, claim: str) -> Self:
        # The end changes with each renewal, so what follows it names the session.
        end, _, lasting = claim.partition("-")
        label = lasting.partition("-")[0]
        return replace(
            self,
            session=hash_token(lasting),
            began_at=_read_start(label),
            until=int(end, 16),
            label=label,
        )


@dataclass(frozen=True, slots=True)
class ProgramVisitor(Visitor):
    """A program that acts for its `holder` with an API token.

    The author of its messages is marked as a program, so that no part of Ponte lets it decide or
    administer (`core.people.policy`).
    """

    holder: Visitor = field(kw_only=True, compare=False)

    @classmethod
    async def find(cls, access: Access, name: str) -> Visitor | None:
        api_token = await access.accounts.find_api_token(name)
        if api_token is None:
            return None
        # An expired token is named as such only to who has it.
        if api_token.is_expired(access.now()):
            raise errors.Unauthorized(
                "This API token has expired. Create a new one on the page or with `ponte people`."
            )
        # Once a day, so that not each request writes. The date only informs people, so the token
        # works even if the date cannot be stored.
        if api_token.last_use < access.today:
            with suppress(NotStored):
                await access.accounts.record_api_token_use(api_token.id, access.today)
        key = api_token.person
        holder_name = key if is_provider_key(key) else key.partition(":")[2]
        if (holder := await find_kind(holder_name).find_holder(access, holder_name)) is None:
            return None
        author = replace(holder.person, is_bot=True, api_token=api_token.id)
        return cls(author, name, name, program=api_token.kind, holder=holder)

    async def check_access(self, access: Access) -> None:
        # A program cannot let a provider confirm its person, so the limit is longer than that of a
        # session.
        await self.holder.check_access(replace(access, confirmed_seconds=ABSENT_SECONDS))

    def check_path(self, path: str) -> None:
        opened = {"api": path.startswith(COMPATIBLE_PREFIX), "metrics": path == METRICS_PATH}
        if not opened.get(self.program):
            raise Refusal(PROGRAM_REFUSALS[self.program])


def find_kind(name: str) -> type[Visitor]:
    if name in ("", OWNER_ID):
        return OwnerVisitor
    return ProviderVisitor if is_provider_key(name) else LinkVisitor


@dataclass(frozen=True, slots=True)
class SessionCookie:
    """The claim of a session's cookie, its seal, and the key of the owner's seals at its time. The
    seal's key depends on the person, so the claim is read before it is trusted, only to find whose
    key it is."""

    claim: str
    seal: str
    owner_key: bytes

    @property
    def name(self) -> str:
        return "".join(self.claim.split("-", 2)[2:])

    def is_of(self, visitor: Visitor) -> bool:
        expected = seal(visitor.sealing_key(self.owner_key), self.claim)
        return hmac.compare_digest(to_bytes(self.seal), to_bytes(expected))


def ended_refusal(token: EndedToken) -> Refusal:
    return errors.AccessRemoved() if token.was_removed else errors.LinkRenewed()


def seal(key: bytes, claim: str) -> str:
    return hmac.new(key, to_bytes(claim), hashlib.sha256).hexdigest()


def to_bytes(text: str) -> bytes:
    return text.encode(errors="replace")


def _read_start(label: str) -> int:
    return int(label.partition(".")[0], 16)
