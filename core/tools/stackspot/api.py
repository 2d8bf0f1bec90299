"""The time that passes while StackSpot works; tests bring a clock of their own.

Who we are at StackSpot, and where its services stand.

One request to StackSpot, as it is sent, counted and worded.

Sends a request as it stands, once, and counts what came of it.

What StackSpot says with a status other than 2xx. Its texts are from outside, and opaque.

Errors are `{"type", "code", "details"}` where they are documented
(https://ai.stackspot.com/docs/quick-commands/create-remote-qc); the token's are OAuth's
`{"error", "error_description"}` (RFC 6749, section 5.2).

What can go wrong with StackSpot, worded for the person who must act.

StackSpotError
└── StillRunning     the quick command was started: StackSpot may still finish it

Their `code`: bad_credentials, wrong_realm, refused, not_allowed, unknown_command, unknown_agent,
unknown_run, bad_slug, bad_agent, bad_input, proxy, limit, busy, down, silent, unreadable,
too_large, misplaced, unknown (it may have happened), deadline, failed.

A quick command's name, as it may stand in an address.

Whether a request that failed is sent again, and after how long.

The access token: OAuth client credentials (RFC 6749, section 4.4), one for everybody.

Requests that need the token: authorised, sent again where that is harmless.

Names for conversations, as StackSpot writes its own: ULIDs (https://github.com/ulid/spec).
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import random
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol, TypeVar
from urllib.parse import quote

from core import metrics
from core.conversation.grammar import SLUG
from core.http import (
    HttpAnswer,
    HttpClient,
    HttpDown,
    HttpError,
    HttpTimeout,
    HttpTooLarge,
    HttpUnreadable,
    retry_after,
)
from core.i18n import say
from core.text import one_line
from core.tools.remote import RemoteError, cleaned

_RANDOM = random.SystemRandom()


class Clock(Protocol):
    def now(self) -> float:
        """Seconds since whenever; they only grow."""

    async def sleep(self, seconds: float) -> None: ...

    def jitter(self) -> float:
        """A factor of 1 or a little more, so that many who wait do not come back together."""


class MachineClock:
    """A `Clock` that really waits."""

    def now(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def jitter(self) -> float:
        return _RANDOM.uniform(1.0, 1.2)


REALM = "stackspot-freemium"
"""The realm of accounts without a contract; a company's is the slug that its portal shows."""
AUTH_URL = "https://idm.stackspot.com"
API_URL = "https://genai-code-buddy-api.stackspot.com"
AGENT_URL = "https://genai-inference-app.stackspot.com"


@dataclass(frozen=True, slots=True)
class Account:
    """A client's credentials in one realm. The portal calls the secret "client key"."""

    client_id: str = field(repr=False)
    client_secret: str = field(repr=False)
    realm: str = REALM
    auth_url: str = AUTH_URL
    api_url: str = API_URL
    agent_url: str = AGENT_URL


Kind = Literal["token", "create", "status", "agent"]


@dataclass(frozen=True, slots=True)
class Request:
    """`subject` is what it is about, for words: a realm, a slug, an agent's id.

    `repeatable`: sending it twice does no more than once. `timeout` in seconds.
    """

    kind: Kind
    method: Literal["GET", "POST"]
    url: str
    subject: str
    body: object = None
    form: Mapping[str, str] | None = field(default=None, repr=False)
    params: Mapping[str, str] | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    repeatable: bool = True
    timeout: float = 30.0


class Wire:
    def __init__(self, http: HttpClient) -> None:
        self._http = http

    async def send(self, request: Request, token: str = "") -> Any:
        """The answer's JSON. Raises HttpError."""
        bearer = {"Authorization": f"Bearer {token}"} if token else {}
        outcome = "lost"
        try:
            answer = await self._http.request_json(
                request.method,
                request.url,
                body=request.body,
                form=request.form,
                params=request.params,
                headers={"Accept": "application/json", **request.headers, **bearer},
                timeout=request.timeout,
            )
            outcome = "answered"
            return answer
        except HttpAnswer as error:
            outcome = str(error.status)
            raise
        except HttpError as error:
            outcome = type(error).__name__
            raise
        finally:
            metrics.stackspot_requests.labels(request.kind, outcome).inc()


GATEWAY = (502, 504)
"""A gateway lost the answer of the server behind it (RFC 9110, sections 15.6.3 and 15.6.5)."""
LONGEST_WAIT = 60.0
"""Seconds of a Retry-After that are kept to."""
_RATE_CODE = "RATE_LIMIT_EXCEEDED"
_WINDOW = re.compile(r"(?:limit is (\d+) requests )?in the last (\d+) minutes?")
_SOON = 5
"""Minutes: a limit over so short a time is worth a wait."""
_LONGEST = 200

_CREDENTIALS = (
    "StackSpot refuses our credentials. The operator must check STACKSPOT_CLIENT_ID and "
    "STACKSPOT_CLIENT_SECRET, and that they belong to the realm {subject}."
)
_REALM = (
    "StackSpot has no realm {subject}. The operator must set STACKSPOT_REALM to the name that "
    "the portal shows beside the credentials."
)
_NOT_TAKEN = (
    "StackSpot refuses the token that it has just given us. Please try again in a minute; "
    "if it goes on, the operator must check STACKSPOT_REALM and the credentials' roles."
)
_NO_COMMAND = (
    "StackSpot knows no quick command `{subject}` for our account. "
    "Check its name; the operator can see the right one in the portal."
)
_NO_AGENT = "StackSpot knows no agent {subject} for our account. Check its id."
_NO_RUN = "StackSpot no longer knows this run of the quick command."
_NOT_ALLOWED = (
    "StackSpot does not let our account do that ({details}). "
    "The operator must check the roles of the credentials."
)
_BAD_INPUT = "StackSpot does not accept what was sent for {subject} ({details})."
_PROXY = (
    "The proxy does not let us through to StackSpot (status 407). "
    "The operator must check the name and password in HTTPS_PROXY or HTTP_PROXY."
)
_MISPLACED = (
    "There is no StackSpot at the address that is set (status {status}). The operator must check "
    "STACKSPOT_AUTH_URL, STACKSPOT_API_URL and STACKSPOT_AGENT_URL."
)
_DAILY = (
    "StackSpot's limit for our account is reached ({details}). It opens again by itself; "
    "the operator can have it raised."
)
_BUSY = "StackSpot has too many requests from us just now. Please try again in a minute."
_FAILING = "StackSpot is not well (status {status}). Please try again in a minute."

_NOT_FOUND: dict[Kind, tuple[str, str]] = {
    "token": (_REALM, "wrong_realm"),
    "create": (_NO_COMMAND, "unknown_command"),
    "agent": (_NO_AGENT, "unknown_agent"),
    "status": (_NO_RUN, "unknown_run"),
}


@dataclass(frozen=True, slots=True)
class Told:
    """An error's English sentence, its code, and what the sentence needs.

    `after`: seconds that StackSpot asks us to wait.
    """

    sentence: str
    code: str
    unsure: bool = False
    passing: bool = False
    after: float = 0.0
    values: Mapping[str, object] = field(default_factory=dict)


def told_of(answer: HttpAnswer, kind: Kind) -> Told:
    """What this refusal of a request of that kind means."""
    return replace(_told(answer, kind), after=wait_of(answer))


def _told(answer: HttpAnswer, kind: Kind) -> Told:
    status = answer.status
    if status == 429:
        return _too_many(answer)
    if status == 408 or status >= 500:
        values = {"status": status}
        return Told(_FAILING, "down", unsure=status in GATEWAY, passing=True, values=values)
    if kind == "token" and status in (400, 401):
        return Told(_CREDENTIALS, "bad_credentials")
    if status == 401:
        return Told(_NOT_TAKEN, "refused")
    if status == 404:
        return Told(*_NOT_FOUND[kind])
    if status == 403:
        return Told(_NOT_ALLOWED, "not_allowed", values={"details": details_of(answer)})
    if status == 407:
        return Told(_PROXY, "proxy")
    if status < 400 or status == 405:
        return Told(_MISPLACED, "misplaced", values={"status": status})
    return Told(_BAD_INPUT, "bad_input", values={"details": details_of(answer)})


def _too_many(answer: HttpAnswer) -> Told:
    if is_daily(answer):
        return Told(_DAILY, "limit", values={"details": details_of(answer)})
    return Told(_BUSY, "busy", passing=True)


def is_daily(answer: HttpAnswer) -> bool:
    """Whether a 429 is of a limit that no wait of ours outlasts.

    A day's says "Your limit is 100 requests in the last 1440 minutes".
    """
    if window := _WINDOW.search(answer.text):
        return int(window[2]) > _SOON
    return _RATE_CODE in answer.text


def wait_of(answer: HttpAnswer) -> float:
    """Seconds that StackSpot asks us to wait, 0 to 60; 0 where it does not."""
    return min(retry_after(answer.headers) or 0.0, LONGEST_WAIT)


def details_of(answer: HttpAnswer) -> str:
    """Status, code and details in one line: without addresses, and nothing like a token."""
    body = answer.json
    told = [f"status {answer.status}"]
    if isinstance(body, Mapping):
        found = [body.get("code") or body.get("error"), body.get("details") or body.get("message")]
        told += [each for each in found if isinstance(each, str) and each]
    line = one_line(": ".join(told))
    return cleaned(line)[:_LONGEST]


_LOST = {
    "create": "StackSpot's answer was lost, so it is not known whether `{subject}` was started. "
    "I did not start it again: look at StackSpot first, then ask again if it is needed.",
    "agent": "StackSpot's answer was lost, so it is not known whether the agent {subject} took "
    "the question. I did not ask again by myself.",
}
_SILENT = "StackSpot did not answer in time. Please try again in a minute."
_DOWN = (
    "StackSpot cannot be reached. Please try again in a minute; "
    "if it goes on, the operator must check its address and the proxy."
)
_UNREADABLE = (
    "StackSpot answered something that I cannot read. Please try again in a minute; "
    "if it goes on, the operator must check the address that is set."
)
_TOO_LARGE = "StackSpot's answer is too large for me to take."
_AWAY = "StackSpot could no longer be asked how it stands, so I stopped waiting."
_STILL = "It was started, and StackSpot may still finish it."


class StackSpotError(RemoteError):
    """`passing`: it may be over in a moment. `after`: seconds that StackSpot wants us to wait."""

    def __init__(
        self,
        sentence: str,
        /,
        *,
        code: str,
        hint: str = "",
        unsure: bool = False,
        passing: bool = False,
        after: float = 0.0,
        **values: object,
    ) -> None:
        super().__init__(sentence, code=code, hint=hint, unsure=unsure, **values)
        self.passing = passing
        self.after = after


class StillRunning(StackSpotError):
    """Waiting came to an end before the run did, because of `cause`. `execution` is its id."""

    def __init__(self, cause: StackSpotError, execution: str) -> None:
        # What passes says "please try again": here that would run the command once more.
        super().__init__(
            _AWAY if cause.passing else cause.sentence,
            code=cause.code,
            hint=cause.hint,
            unsure=True,
            passing=cause.passing,
            after=cause.after,
            **cause.values,
        )
        self.execution = execution

    def words(self, locale: str = "en") -> str:
        return f"{super().words(locale)} {say(_STILL, locale)}"


def worded(error: HttpError, request: Request) -> StackSpotError:
    """The error of `request` in words: without addresses, tokens, or anything that we sent."""
    told = _error_told(error, request)
    if told.unsure and request.kind in _LOST:
        told = Told(_LOST[request.kind], "unknown", unsure=True)
    return StackSpotError(
        told.sentence,
        code=told.code,
        hint="",
        unsure=told.unsure,
        passing=told.passing,
        after=told.after,
        **{"subject": request.subject, **told.values},
    )


def _error_told(error: HttpError, request: Request) -> Told:
    if isinstance(error, HttpAnswer):
        return told_of(error, request.kind)
    if isinstance(error, HttpTooLarge):
        return Told(_TOO_LARGE, "too_large", unsure=not request.repeatable)
    unsure = error.sent and not request.repeatable
    if isinstance(error, HttpUnreadable):
        return Told(_UNREADABLE, "unreadable", unsure=unsure, passing=True)
    if isinstance(error, HttpTimeout):
        return Told(_SILENT, "silent", unsure=unsure, passing=True)
    return Told(_DOWN, "down", unsure=unsure, passing=True)


def quoted_slug(slug: str) -> str:
    """`slug` for a path. Raises StackSpotError for what no quick command can be named."""
    if not re.fullmatch(SLUG, slug):
        raise StackSpotError(
            "{slug} is no name of a quick command: a name has up to 100 lower-case letters, "
            "digits, - and _, and begins with a letter or digit.",
            code="bad_slug",
            slug=repr(slug[:40]),
        )
    return quote(slug, safe="")


T = TypeVar("T")

PAUSES = (0.5, 2.0, 5.0)
"""Seconds before the second attempt, the third, the fourth."""
BUSY_PAUSES = (2.0, 8.0, 20.0, 40.0)
"""Those after a 429: a service credential has 20 requests a minute
(https://ai.stackspot.com/docs/quick-commands/create-remote-qc), so they outlast one."""
ALTOGETHER = 90.0
"""Seconds of pauses; who would have to wait for longer is told instead."""
_AGAIN = (408, 500, 503)


async def persist(send: Callable[[Request], Awaitable[T]], request: Request, clock: Clock) -> T:
    """What `send` gives, after several attempts if need be. Raises StackSpotError."""
    attempt, waited = 0, 0.0
    while True:
        attempt += 1
        try:
            return await send(request)
        except HttpError as error:
            pause = pause_after(error, attempt, request.repeatable)
            if pause is None or waited + pause > ALTOGETHER:
                raise worded(error, request) from None
        waited += pause
        await clock.sleep(pause * clock.jitter())


def pause_after(error: HttpError, attempt: int, repeatable: bool) -> float | None:
    """Seconds until the next attempt, after `attempt` that failed; None: do not send it again.

    What is not repeatable is sent again only where it cannot have been taken: it never left, or
    StackSpot itself (and no gateway before it) said that it did not serve it.
    """
    if isinstance(error, HttpAnswer):
        return _after_answer(error, attempt, repeatable)
    passing = isinstance(error, HttpDown | HttpTimeout | HttpUnreadable)
    if not passing or (error.sent and not repeatable):
        return None
    return _nth(PAUSES, attempt)


def _after_answer(answer: HttpAnswer, attempt: int, repeatable: bool) -> float | None:
    status = answer.status
    if status == 429:
        pause = None if is_daily(answer) else _nth(BUSY_PAUSES, attempt)
    elif status in _AGAIN or (status in GATEWAY and repeatable):
        pause = _nth(PAUSES, attempt)
    else:
        pause = None
    return None if pause is None else max(pause, wait_of(answer))


def _nth(pauses: tuple[float, ...], attempt: int) -> float | None:
    return pauses[attempt - 1] if attempt <= len(pauses) else None


MARGIN = 60.0
"""Seconds before its end that a token is no longer used; half its life for a short one."""
LIFETIME = 1199.0
"""Seconds, where the answer does not tell: a session has 20 minutes
(https://docs.stackspot.com/en/home/account/profile/access-token)."""


class Token:
    """One request for any number of waiters, who also share its failure."""

    def __init__(self, account: Account, wire: Wire, clock: Clock) -> None:
        self._account = account
        self._wire = wire
        self._clock = clock
        self._value = ""
        self._until = -math.inf
        self._asking: asyncio.Task[str] | None = None

    async def get(self) -> str:
        """A token that is good for a while. Raises StackSpotError."""
        if self._value and self._clock.now() < self._until:
            return self._value
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask())
            self._asking.add_done_callback(self._asked)
        return await asyncio.shield(self._asking)

    def drop(self, token: str) -> None:
        """It was refused: ask for another one, unless that has happened already."""
        if token == self._value:
            self._value = ""

    async def close(self) -> None:
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait({self._asking})

    def _asked(self, task: asyncio.Task[str]) -> None:
        self._asking = None
        if not task.cancelled():
            task.exception()  # every waiter may have gone

    async def _ask(self) -> str:
        return await persist(self._send, self._request(), self._clock)

    async def _send(self, request: Request) -> str:
        return self._read(await self._wire.send(request))

    def _request(self) -> Request:
        account = self._account
        realm = quote(account.realm, safe="")
        return Request(
            "token",
            "POST",
            f"{account.auth_url.rstrip('/')}/{realm}/oidc/oauth/token",
            subject=repr(account.realm),
            form={
                "grant_type": "client_credentials",
                "client_id": account.client_id,
                "client_secret": account.client_secret,
            },
        )

    def _read(self, answer: object) -> str:
        token = answer.get("access_token") if isinstance(answer, Mapping) else None
        if not isinstance(answer, Mapping) or not _is_header_text(token):
            raise HttpUnreadable("no token")
        self._value = str(token)
        lifetime = _seconds(answer.get("expires_in"))
        self._until = self._clock.now() + lifetime - min(MARGIN, lifetime / 2)
        return self._value


def _is_header_text(token: object) -> bool:
    return isinstance(token, str) and token.isascii() and token.isprintable() and token != ""


def _seconds(told: object) -> float:
    """`expires_in`; some servers write the number as a text."""
    try:
        seconds = float(told) if isinstance(told, str | int | float) else LIFETIME
    except (ValueError, OverflowError):
        return LIFETIME
    return seconds if 0 < seconds < math.inf else LIFETIME


_WITHHELD = "(withheld)"
_UNSENDABLE = (
    "What was to be sent for {subject} is no JSON: it holds half a character, a number that is "
    "none, or a thing that JSON has no form for."
)


class StackSpotApi:
    """Any number of callers share the connections and the token."""

    def __init__(self, account: Account, wire: Wire, clock: Clock) -> None:
        self.token = Token(account, wire, clock)
        self._secret = account.client_secret
        self._wire = wire
        self._clock = clock

    async def repeat(self, request: Request) -> Any:
        """The answer's JSON, after several attempts if need be. Raises StackSpotError."""
        _check(request)
        return await persist(self._send, request, self._clock)

    async def once(self, request: Request) -> Any:
        """The answer's JSON, for who comes again by themselves. Raises StackSpotError."""
        try:
            return await self._send(request)
        except HttpError as error:
            raise worded(error, request) from None

    async def _send(self, request: Request) -> Any:
        """A refused token is replaced once: it may have been revoked, or its time mistaken."""
        token = await self.token.get()
        try:
            return await self._sent(request, token)
        except HttpAnswer as error:
            if error.status != 401:
                raise
        self.token.drop(token)
        return await self._sent(request, await self.token.get())

    async def _sent(self, request: Request, token: str) -> Any:
        try:
            return await self._wire.send(request, token)
        except HttpAnswer as error:
            for secret in filter(None, (token, self._secret)):
                error.text = error.text.replace(secret, _WITHHELD)
            raise


def _check(request: Request) -> None:
    """Raises StackSpotError before anything is sent."""
    try:
        json.dumps(request.body, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError):
        raise StackSpotError(_UNSENDABLE, code="bad_input", subject=request.subject) from None


_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's base32: no I, L, O, U
_LENGTH = 26
_TIME = 1_767_225_600_000
"""The 48 bits of time in each, in milliseconds: 2026-01-01 UTC. It must be a moment that every
reader of ULIDs can hold; a hash's bits would often stand for a year after 9999."""


def ulid_of(*key: str) -> str:
    """The ULID that belongs to `key`: always the same one, and another for any other key."""
    digest = hashlib.sha256("\0".join(key).encode()).digest()[:10]
    number = _TIME << 80 | int.from_bytes(digest)
    return "".join(_ALPHABET[number >> 5 * place & 31] for place in reversed(range(_LENGTH)))
