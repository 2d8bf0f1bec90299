"""One sign-in, from the button to the provider's redirect back to Ponte.

Nothing is stored for it. The browser keeps a cookie with a random value and its end, from which
Ponte derives `state`, `nonce` and the PKCE verifier with a key. So `state` seals the cookie.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from adapters.web.oidc.client import ProviderClient
from adapters.web.oidc.provider import (
    Provider,
    authorization_url,
    check_redirect,
    identify,
    refusal,
)
from core.base.tasks import BoundedDict
from core.people.sign_ins import Identity

SIGN_IN_SECONDS = 600
_CLAIM = re.compile(r"([0-9a-f]{1,12})-([0-9a-f]{1,12}\.[0-9a-f]{16}-[0-9a-f]{64})?-[0-9a-f]{64}")
"""The value of the cookie: when it expires, the session that is to be confirmed, if any, and a
random part."""
FindWorkspace = Callable[[], Awaitable[str]]


@dataclass(slots=True)
class SignIn:
    """Signs visitors in with accounts of the providers that are set up now. `key` is secret;
    cookies are sealed with it."""

    list_providers: Callable[[], Mapping[str, Provider]]
    client: ProviderClient
    key: bytes
    find_workspace: FindWorkspace | None = None
    names_group: Callable[[str], bool] = lambda prefix: False
    now: Callable[[], float] = time.time
    _used: dict[str, bool] = field(default_factory=BoundedDict)
    """The cookies of sign-ins that came back. Each works once, also for who copied it."""
    opened: dict[str, bool] = field(default_factory=BoundedDict)
    """The `state` of each sign-in that opened a session."""

    async def start(
        self, provider: Provider, redirect: str, session: str = ""
    ) -> tuple[str, str, str]:
        """Return the provider's address for the browser, the sign-in's `state`, and the value of
        its cookie. Raise SignInRefused.

        `session` describes the session that the provider is to confirm (`describe_session`) without
        showing anything (`prompt=none`). "": any account may come back.
        """
        found = await self.client.discover(provider)
        team = await self._find_team(provider)
        # The cookie's value. The others are derived from it, so that nothing has to be stored:
        # `state` comes back in the redirect, `nonce` in the token, and both must fit the cookie.
        claim = f"{int(self.now()) + SIGN_IN_SECONDS:x}-{session}-{secrets.token_hex(32)}"
        state = self._derive("state", provider, claim)
        parameters = {
            "redirect_uri": redirect,
            "state": state,
            "nonce": self._derive("nonce", provider, claim),
        }
        # The provider gets a hash of the verifier now and the verifier later, with the code. So a
        # stolen code is of no use (RFC 7636).
        if found.has_pkce:
            digest = hashlib.sha256(self._derive("verifier", provider, claim).encode()).digest()
            challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
            parameters |= {"code_challenge": challenge, "code_challenge_method": "S256"}
        if session:
            parameters["prompt"] = "none"
        asks_groups = bool(provider.groups) or self.names_group(f"oidc:{provider.name}:group:")
        url = authorization_url(provider, found, parameters, team, asks_groups=asks_groups)
        return url, state, claim

    async def finish(
        self, provider: Provider, redirect: str, query: Mapping[str, str], cookie: str
    ) -> tuple[Identity, str]:
        """Return who came back from the provider to `redirect` with `query`, and the session that
        it was to confirm ("" for none). Raise SignInRefused.

        The cookie proves that this browser began the sign-in, so nobody can be signed in as
        somebody else by a link (login CSRF). Each sign-in counts once.
        """
        # `state` is derived from the cookie, so an address with the `state` of another browser's
        # sign-in does not fit.
        match, expected = _CLAIM.fullmatch(cookie), self._derive("state", provider, cookie)
        state = query.get("state", "").encode(errors="replace")
        is_own = match and hmac.compare_digest(state, expected.encode())
        if not match or not is_own or int(match[1], 16) <= self.now() or cookie in self._used:
            raise refusal("expired")
        self._used[cookie] = True  # `_used`: cookies of sign-ins that came back
        found = await self.client.discover(provider)
        code = check_redirect(provider, found, query)
        team = await self._find_team(provider)
        verifier = self._derive("verifier", provider, cookie)
        claims = await self.client.redeem(provider, found, code, verifier, redirect)
        nonce = self._derive("nonce", provider, cookie)
        identity = identify(claims, provider, nonce, self.now(), team)
        return identity, match[2] or ""

    async def _find_team(self, provider: Provider) -> str:
        """Return the id of the Slack workspace whose people may sign in; "" for a provider other
        than Slack. Raise SignInRefused."""
        if not provider.is_slack:
            return ""
        team = await self.find_workspace() if self.find_workspace else ""
        if not team:
            raise refusal("away", "Ponte is not connected to Slack")
        return team

    def _derive(self, purpose: str, provider: Provider, claim: str) -> str:
        text = f"{purpose} {provider.name} {provider.issuer} {claim}"
        return hmac.new(self.key, text.encode(errors="replace"), "sha256").hexdigest()
