"""Asks sign-in providers for their discovery document, their keys and their tokens."""

from __future__ import annotations

import asyncio
import base64
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from adapters.web.oidc.provider import Discovery, Provider, SignInRefused, read_discovery, refusal
from adapters.web.oidc.tokens import UNKNOWN_KEY, read_claims
from core.base.http import HttpAnswer, HttpClient, HttpDown, HttpError, HttpTimeout
from core.base.remote_errors import withhold_secrets
from core.base.tasks import BoundedDict
from core.base.text import to_one_line

DISCOVERY_PATH = "/.well-known/openid-configuration"
MAX_PROVIDER_ANSWER_BYTES = 512 * 1024
ANSWER_TIMEOUT_SECONDS = 10.0
CACHE_SECONDS = 600.0
MAX_PROVIDER_REQUESTS = 8
"""Anybody can cause some, and the connections are shared with the tools. A request that waits
longer than ANSWER_TIMEOUT_SECONDS for its turn fails."""
FAILURE_SECONDS = 5.0
"""How long a failed request is not repeated, so that a flood of visitors causes no flood of
requests."""


@dataclass(slots=True)
class ProviderClient:
    """Sends requests to sign-in providers. Their discovery documents and keys are cached by
    address."""

    http: HttpClient
    clock: Callable[[], float] = time.monotonic
    _answers: dict[str, tuple[float, float, Any]] = field(default_factory=BoundedDict)
    """By address: when it was read, until when it counts (both by `clock`), and the JSON or the
    refusal."""
    _locks: dict[str, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))
    """By address: held while it is requested, so that one request serves all who wait."""
    _places: asyncio.Semaphore = field(
        default_factory=lambda: asyncio.Semaphore(MAX_PROVIDER_REQUESTS)
    )

    async def discover(self, provider: Provider) -> Discovery:
        """Raise SignInRefused."""
        url = provider.issuer.rstrip("/") + DISCOVERY_PATH
        return read_discovery(await self._read(url), provider.issuer)

    async def redeem(
        self, provider: Provider, found: Discovery, code: str, verifier: str, redirect: str
    ) -> Mapping[str, Any]:
        """Exchange the code that a visitor brought back from the provider for an ID token, and
        return the token's claims about them. `verifier` proves that this Ponte began the sign-in
        (PKCE, RFC 7636). `redirect` is the address of the redirect that brought the code, which the
        provider compares. Raise SignInRefused."""
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": redirect}
        form |= {"code_verifier": verifier} if found.has_pkce else {}
        headers = {"Accept": "application/json"}
        if found.posts_secret:
            form |= {"client_id": provider.client_id, "client_secret": provider.secret}
        else:  # both are form-encoded first (RFC 6749, section 2.3.1)
            pair = f"{quote(provider.client_id, safe='')}:{quote(provider.secret, safe='')}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        answer = await self._request("POST", found.token, form=form, headers=headers)
        # Slack answers an error with the status 200 and no token.
        token = answer.get("id_token") if isinstance(answer, dict) else None
        if not isinstance(token, str):
            raise _explain_error(answer)
        try:
            return await self._read_claims(token, found)
        except SignInRefused as refused:
            if refused.detail != UNKNOWN_KEY:
                raise
            # The provider has changed its keys since they were cached: read them again.
            return await self._read_claims(token, found, is_new=True)

    async def _read_claims(
        self, token: str, found: Discovery, *, is_new: bool = False
    ) -> Mapping[str, Any]:
        answer = await self._read(found.keys, is_new=is_new)
        keys = answer.get("keys") if isinstance(answer, dict) else None
        keys = [key for key in keys if isinstance(key, dict)] if isinstance(keys, list) else []
        return await asyncio.to_thread(read_claims, token, keys, found.algorithms)

    async def _read(self, url: str, *, is_new: bool = False) -> Any:
        """The JSON comes from the cache, unless it must be newer (`is_new`). Visitors who come
        while a request is under way wait for the lock and take its answer: it is newer than
        `asked_at`."""
        asked_at = self.clock()
        async with self._locks[url]:
            read_at, until, answer = self._answers.get(url, (0.0, 0.0, None))
            # The cached answer has expired, or was read before this call asked for a newer one.
            if until <= asked_at or (is_new and read_at < asked_at):
                try:
                    answer, seconds = await self._request("GET", url), CACHE_SECONDS
                except SignInRefused as refused:
                    # A failure is remembered for a moment, so that many visitors make one request.
                    answer, seconds = refused, FAILURE_SECONDS
                read_at = self.clock()
                self._answers[url] = (read_at, read_at + seconds, answer)
        # A new exception for each visitor: one that is raised again would collect tracebacks.
        if isinstance(answer, SignInRefused):
            raise refusal(answer.reason, answer.detail)
        return answer

    async def _request(self, method: str, url: str, **options: Any) -> Any:
        """Raise SignInRefused: "away" if trying again later may help, else for a fault in the
        setup."""
        options |= {"timeout": ANSWER_TIMEOUT_SECONDS, "cap": MAX_PROVIDER_ANSWER_BYTES}
        try:
            await asyncio.wait_for(self._places.acquire(), ANSWER_TIMEOUT_SECONDS)
        except TimeoutError:
            raise refusal("away", "too many requests at once") from None
        try:
            return await self.http.request_json(method, url, **options)
        except HttpAnswer as answer:
            is_away = answer.status >= 500 or answer.status == 429
            away = refusal("away", answer.reason)
            raise away if is_away else _explain_error(answer.json, answer.reason) from None
        except HttpError as error:
            is_away = isinstance(error, HttpDown | HttpTimeout)
            raise refusal("away" if is_away else "provider", error.reason) from None
        finally:
            self._places.release()


def _explain_error(answer: Any, status: str = "HTTP 200") -> SignInRefused:
    # The error's name comes from outside, so it is cut, and what looks like a secret in it is left
    # out.
    error = str(answer.get("error", "")) if isinstance(answer, dict) else ""
    if error in ("invalid_grant", "invalid_code"):  # the latter is Slack's
        return refusal("expired", error)
    return refusal("setup", f"{status} {to_one_line(withhold_secrets(error), 60)}".strip())
