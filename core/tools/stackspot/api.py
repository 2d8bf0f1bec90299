"""StackSpot's HTTP API: one shared token, retries, and a table of its errors.

The token comes from OAuth's client credentials (RFC 6749, section 4.4), whose errors are OAuth's
(section 5.2). Documented errors of the API are `{"type", "code", "details"}`
(https://ai.stackspot.com/docs/quick-commands/create-remote-qc). Their texts are untrusted.
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
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import quote

from core.base.fault_bodies import parse_retry_after
from core.base.http import (
    HttpAnswer,
    HttpClient,
    HttpError,
    HttpTimeout,
    HttpTooLarge,
    HttpUnreadable,
)
from core.base.i18n import say
from core.base.remote_errors import (
    SERVER_ERRORS,
    ErrorRow,
    ErrorTable,
    RemoteError,
    on,
    was_sent,
    withhold_secrets,
)
from core.base.tasks import SharedAnswers, retry
from core.base.text import to_one_line

DEFAULT_REALM = "stackspot-freemium"
"""The realm of accounts without a contract. A company's portal shows the slug of its own realm."""

RETRY_PAUSES_SECONDS = (0.5, 2.0, 5.0)
BUSY_PAUSES_SECONDS = (2.0, 8.0, 20.0, 40.0)
"""Pauses after a 429: a service credential has 20 requests a minute
(https://ai.stackspot.com/docs/quick-commands/create-remote-qc), so they outlast one."""
MAX_PAUSES_SECONDS = 90.0
STACKSPOT_MAX_WAIT_SECONDS = 60.0
TOKEN_MARGIN_SECONDS = 60.0
"""A token is replaced so long before it expires; a short-lived one after half its life."""
TOKEN_LIFETIME_SECONDS = 1199.0
"""Used where the answer gives none: a session has 20 minutes
(https://docs.stackspot.com/en/home/account/profile/access-token)."""
GATEWAY_STATUSES = (502, 504)
"""A gateway lost the answer of the server behind it (RFC 9110, sections 15.6.3 and 15.6.5)."""
_RETRIED_STATUSES = (408, 500, 503)
"""Other statuses after which the same request may succeed."""
_WINDOW = re.compile(r"(?:limit is (\d+) requests )?in the last (\d+) minutes?")
_SHORT_LIMIT_MINUTES = 5
"""A limit over so short a time is waited for."""
_BASE32 = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's base32: no I, L, O, U
_ULID_TIME = 1_767_225_600_000
"""The 48 bits of time in each ULID of ours, in milliseconds: 2026-01-01 UTC. It must be a moment
that every reader of ULIDs can hold; a hash's bits would often stand for a year after 9999."""

_CREDENTIALS = (
    "StackSpot rejected the credentials. Check STACKSPOT_CLIENT_ID and "
    "STACKSPOT_CLIENT_SECRET, and that they belong to the realm {subject}."
)
_REALM = (
    "StackSpot has no realm {subject}. Set STACKSPOT_REALM to the name that the portal shows "
    "next to the credentials."
)
_NOT_TAKEN = (
    "StackSpot rejected a token that it had just issued. Try again in a minute. If the problem "
    "continues, check STACKSPOT_REALM and the credentials' roles."
)
_NO_COMMAND = (
    "StackSpot found no quick command `{subject}` for this account. Check its name in the "
    "StackSpot portal."
)
_NO_AGENT = "StackSpot found no agent {subject} for this account. Check its ID."
_NO_RUN = "StackSpot no longer has this run of the quick command."
_NOT_ALLOWED = (
    "The StackSpot account isn't allowed to do this ({details}). Check its credentials' roles."
)
_BAD_INPUT = "StackSpot rejected the request for {subject} ({details})."
_UNSENDABLE = (
    "The input for {subject} can't be sent as JSON: it contains an incomplete character, an "
    "invalid number or an unsupported value."
)
_PROXY = (
    "The proxy blocked the request to StackSpot (status 407). Check the user name and "
    "password in HTTPS_PROXY or HTTP_PROXY."
)
_MISPLACED = (
    "StackSpot wasn't found at this URL (status {status}). Check STACKSPOT_AUTH_URL, "
    "STACKSPOT_API_URL and STACKSPOT_AGENT_URL."
)
_DAILY = (
    "The StackSpot account has reached its limit ({details}). It resets automatically. A "
    "higher limit can be requested from StackSpot."
)
_BUSY = "StackSpot is receiving too many requests from this account. Try again in a minute."
_FAILING = "StackSpot failed (status {status}). Try again in a minute."
_SILENT = "StackSpot didn't respond in time. Try again in a minute."
_DOWN = (
    "Can't reach StackSpot. Try again in a minute. If the problem continues, check its URLs and "
    "the proxy in the settings."
)
_UNREADABLE = (
    "StackSpot sent an unreadable response. Try again in a minute. If the problem continues, "
    "check the StackSpot URLs in the settings."
)
_TOO_LARGE = "StackSpot's response is too large."
_STOPPED_WAITING = "I could no longer get the status from StackSpot, so I stopped waiting."
_STILL_RUNNING = "The run was started, and StackSpot may still finish it."
_RUN_UNKNOWN = (
    "StackSpot's response was lost, so I don't know whether `{subject}` started. I didn't start "
    "it again. Check in StackSpot, then ask again if you need it."
)
_QUESTION_UNKNOWN = (
    "StackSpot's response was lost, so I don't know whether the agent {subject} received the "
    "question. I didn't ask again."
)

Kind = Literal["token", "create", "status", "agent"]


class Clock:
    """Reads the time and waits, while a run of StackSpot goes on. Tests derive a clock of their
    own."""

    def now(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def jitter(self) -> float:
        """A little more than 1, so that many waiting clients do not return together."""
        return random.SystemRandom().uniform(1.0, 1.2)


@dataclass(frozen=True, slots=True)
class StackSpotUrls:
    """The URLs of StackSpot's services: sign-in, quick commands and agents."""

    auth: str = "https://idm.stackspot.com"
    api: str = "https://genai-code-buddy-api.stackspot.com"
    agent: str = "https://genai-inference-app.stackspot.com"


STACKSPOT_URLS = StackSpotUrls()


@dataclass(frozen=True, slots=True)
class StackSpotAccount:
    """A client's credentials in one realm of StackSpot, and the addresses of its services. The
    portal calls the secret "client key"."""

    client_id: str = field(repr=False)
    client_secret: str = field(repr=False)
    realm: str = DEFAULT_REALM
    urls: StackSpotUrls = STACKSPOT_URLS


@dataclass(frozen=True, slots=True)
class StackSpotRequest:
    """`subject` names its topic in error messages: a realm, a slug or an agent's id. `timeout` is
    in seconds."""

    kind: Kind
    method: Literal["GET", "POST"]
    url: str
    subject: str
    body: object = None
    form: Mapping[str, str] | None = field(default=None, repr=False)
    params: Mapping[str, str] | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    timeout: float = 30.0


class StackSpotError(RemoteError):
    """A failure of StackSpot, or of a request to it. `after`: seconds that StackSpot asks us to
    wait.

    Its `code`: bad_credentials, wrong_realm, refused, not_allowed, unknown_command, unknown_agent,
    unknown_run, bad_slug, bad_agent, bad_input, proxy, limit (of a day), busy, down, silent (no
    answer in time), unreadable, too_large, misplaced (another server is at that URL), unknown (it
    may have happened), deadline (Ponte stopped waiting for a run), failed (the run).
    """

    @property
    def after(self) -> float:
        return float(str(self.values.get("after", 0)))


class StillRunning(StackSpotError):
    """Ponte stopped waiting for a run, because of `cause`. StackSpot may still finish it."""

    def __init__(self, cause: StackSpotError, execution: str) -> None:
        # What passes says "please try again": here that would run the command once more.
        super().__init__(
            _STOPPED_WAITING if cause.passing else cause.sentence,
            code=cause.code,
            hint=cause.hint,
            unsure=True,  # the run may still have its effect
            passing=cause.passing,
            **cause.values,
        )
        self.execution = execution  # the run's id at StackSpot

    def words(self) -> str:
        return f"{super().words()} {say(_STILL_RUNNING)}"


def is_daily_limit(answer: HttpAnswer) -> bool:
    """A daily limit outlasts all waiting, so no retry helps. It says "Your limit is 100 requests in
    the last 1440 minutes". Without such words, the code RATE_LIMIT_EXCEEDED means one."""
    if window := _WINDOW.search(answer.text):
        return int(window[2]) > _SHORT_LIMIT_MINUTES
    return "RATE_LIMIT_EXCEEDED" in answer.text


_COMMON_ROWS = (
    on(429, when=is_daily_limit).raises("limit", _DAILY),
    on(429).raises("busy", _BUSY, retry=True),
    on(*GATEWAY_STATUSES).raises("down", _FAILING, retry=True, outcome_unknown=True),
    on(408, SERVER_ERRORS).raises("down", _FAILING, retry=True),
    on(401).raises("refused", _NOT_TAKEN),
    on(403).raises("not_allowed", _NOT_ALLOWED),
    on(407).raises("proxy", _PROXY),
    on(range(100, 400), 405).raises("misplaced", _MISPLACED),
    on(HttpAnswer).raises("bad_input", _BAD_INPUT),
    on(HttpTooLarge).raises("too_large", _TOO_LARGE),
    on(HttpUnreadable).raises("unreadable", _UNREADABLE, retry=True),
    on(HttpTimeout).raises("silent", _SILENT, retry=True),
    on().raises("down", _DOWN, retry=True),
)


def _lost_answer(sentence: str) -> tuple[ErrorRow, ...]:
    """StackSpot may be working on a request whose answer is lost, and each costs money, so it is
    not sent again."""
    return (
        on(*GATEWAY_STATUSES).raises("unknown", sentence, outcome_unknown=True),
        # The request was sent, and no readable answer of StackSpot came back.
        on(when=lambda failure: was_sent(failure) and not isinstance(failure, HttpAnswer)).raises(
            "unknown", sentence, outcome_unknown=True
        ),
    )


STACKSPOT_ERRORS: Mapping[Kind, ErrorTable[StackSpotError]] = {
    "token": ErrorTable(
        StackSpotError,
        on(400, 401).raises("bad_credentials", _CREDENTIALS),
        on(404).raises("wrong_realm", _REALM),
        *_COMMON_ROWS,
    ),
    "create": ErrorTable(
        StackSpotError,
        *_lost_answer(_RUN_UNKNOWN),
        on(404).raises("unknown_command", _NO_COMMAND),
        *_COMMON_ROWS,
    ),
    "agent": ErrorTable(
        StackSpotError,
        *_lost_answer(_QUESTION_UNKNOWN),
        on(404).raises("unknown_agent", _NO_AGENT),
        *_COMMON_ROWS,
    ),
    "status": ErrorTable(StackSpotError, on(404).raises("unknown_run", _NO_RUN), *_COMMON_ROWS),
}


def explain_stackspot_error(error: HttpError, request: StackSpotRequest) -> StackSpotError:
    """The words have no addresses, no tokens, and nothing that we sent."""
    values: dict[str, object] = {"subject": request.subject}
    if isinstance(error, HttpAnswer):
        values |= {
            "status": error.status,
            "details": error_details(error),
            "after": seconds_to_wait(error),
        }
    return STACKSPOT_ERRORS[request.kind].explain(error, **values)


def seconds_to_wait(answer: HttpAnswer) -> float:
    return min(parse_retry_after(answer.headers) or 0.0, STACKSPOT_MAX_WAIT_SECONDS)


def error_details(answer: HttpAnswer) -> str:
    """Return a text on one line, without addresses and tokens."""
    body = answer.json
    parts = [f"status {answer.status}"]
    if isinstance(body, Mapping):
        texts = [body.get("code") or body.get("error"), body.get("details") or body.get("message")]
        parts += [text for text in texts if isinstance(text, str) and text]
    return withhold_secrets(to_one_line(": ".join(parts)))[:200]


def seconds_before_retry(error: HttpError, attempt: int, kind: Kind) -> float | None:
    """A request that costs money is repeated only if it cannot have been accepted: it was never
    sent, or StackSpot itself (and no gateway before it) said that it did not serve it."""
    # `row.retry` says whether this failure may pass, and for a paid request whether it is safe.
    row = STACKSPOT_ERRORS[kind].find(error)
    least = 0.0  # the wait that StackSpot asks for, if it does
    if isinstance(error, HttpAnswer):
        # Any other status would come again.
        if error.status not in (429, *_RETRIED_STATUSES, *GATEWAY_STATUSES):
            return None
        least = seconds_to_wait(error)
    pauses = BUSY_PAUSES_SECONDS if row.error == "busy" else RETRY_PAUSES_SECONDS
    return max(pauses[attempt - 1], least) if row.retry and attempt <= len(pauses) else None


class StackSpotApi:
    """All its requests share the connections and the token."""

    def __init__(self, account: StackSpotAccount, http: HttpClient, clock: Clock) -> None:
        self._account = account
        self._http = http
        self._clock = clock
        self._token = ""
        self._token_valid_until = -math.inf
        self._token_requests = SharedAnswers[str, str]()

    async def token(self) -> str:
        """Concurrent callers share one request, and its failure. Raise StackSpotError."""
        if self._token and self._clock.now() < self._token_valid_until:
            return self._token
        return await self._token_requests.ask("", self._new_token, 0.0)

    async def send_with_retries(self, request: StackSpotRequest) -> Any:
        """Raise StackSpotError. A body that cannot be JSON is refused before anything is sent:
        models also write NaN, or half of a surrogate pair."""
        try:
            json.dumps(request.body, ensure_ascii=False, allow_nan=False).encode()
        except (TypeError, ValueError, RecursionError):
            raise StackSpotError(_UNSENDABLE, code="bad_input", subject=request.subject) from None
        return await self._retry_request(self._send_with_token, request)

    async def send_once(self, request: StackSpotRequest) -> Any:
        """The caller repeats the request itself. Raise StackSpotError."""
        try:
            return await self._send_with_token(request)
        except HttpError as error:
            raise explain_stackspot_error(error, request) from None

    async def close(self) -> None:
        await self._token_requests.close()

    async def _retry_request(
        self, send: Callable[[StackSpotRequest], Awaitable[Any]], request: StackSpotRequest
    ) -> Any:
        """Send a request and return the JSON of the answer. After failures that may pass, send it
        again; which ones these are depends on whether it may have started a paid run. Raise
        StackSpotError."""
        clock = self._clock
        try:
            return await retry(
                lambda: send(request),
                HttpError,
                lambda error, failed: seconds_before_retry(error, failed, request.kind),
                max_wait_seconds=MAX_PAUSES_SECONDS,
                sleep=lambda pause: clock.sleep(pause * clock.jitter()),
            )
        except HttpError as error:
            raise explain_stackspot_error(error, request) from None

    async def _send_with_token(self, request: StackSpotRequest) -> Any:
        """A refused token is replaced once: it may have been revoked."""
        token = await self.token()
        try:
            return await self._send(request, token)
        except HttpAnswer as error:
            if error.status != 401:
                raise
        # Unless another request has replaced it meanwhile.
        if token == self._token:
            self._token = ""
        return await self._send(request, await self.token())

    async def _send(self, request: StackSpotRequest, token: str = "") -> Any:
        """Raise HttpError, from whose text the token and the client's secret are removed."""
        bearer = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            return await self._http.request_json(
                request.method,
                request.url,
                body=request.body,
                form=request.form,
                params=request.params,
                timeout=request.timeout,
                headers={"Accept": "application/json", **request.headers, **bearer},
            )
        except HttpAnswer as error:
            # A server may repeat what was sent in its refusal.
            for secret in filter(None, (token, self._account.client_secret)):
                error.text = error.text.replace(secret, "(withheld)")
            raise

    async def _new_token(self) -> str:
        """Raise StackSpotError."""
        account = self._account
        form = {
            "grant_type": "client_credentials",
            "client_id": account.client_id,
            "client_secret": account.client_secret,
        }
        url = f"{account.urls.auth.rstrip('/')}/{quote(account.realm, safe='')}/oidc/oauth/token"
        request = StackSpotRequest("token", "POST", url, subject=f"`{account.realm}`", form=form)

        async def request_token(request: StackSpotRequest) -> Mapping[str, Any]:
            answer = await self._send(request)
            token = answer.get("access_token") if isinstance(answer, Mapping) else None
            # It becomes a header, so it must be printable ASCII.
            fits = isinstance(token, str) and token and token.isascii() and token.isprintable()
            if not isinstance(answer, Mapping) or not fits:
                raise HttpUnreadable("no token")  # which is tried again
            return answer

        answer = await self._retry_request(request_token, request)
        try:  # some servers write the number as a text
            lifetime = float(answer.get("expires_in", TOKEN_LIFETIME_SECONDS))
        except (TypeError, ValueError, OverflowError):
            lifetime = TOKEN_LIFETIME_SECONDS
        lifetime = lifetime if 0 < lifetime < math.inf else TOKEN_LIFETIME_SECONDS
        self._token = str(answer["access_token"])
        # Renewed before its end, because a request takes time; a short one after half of it.
        margin = min(TOKEN_MARGIN_SECONDS, lifetime / 2)
        self._token_valid_until = self._clock.now() + lifetime - margin
        return self._token


def derive_ulid(*key: str) -> str:
    """StackSpot names conversations by ULIDs (https://github.com/ulid/spec)."""
    digest = hashlib.sha256("\0".join(key).encode()).digest()[:10]
    number = _ULID_TIME << 80 | int.from_bytes(digest)
    return "".join(_BASE32[number >> 5 * place & 31] for place in reversed(range(26)))
