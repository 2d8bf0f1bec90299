"""A page with providers, and browsers that sign in with them."""

from __future__ import annotations

import html
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx

from adapters.web.oidc.client import ProviderClient
from adapters.web.oidc.flow import SignIn
from adapters.web.oidc.provider import Provider
from adapters.web.sign_in import TokenAuthentication
from core.base.http import HttpClient
from core.people.sign_ins import Identity
from tests.fakes.oidc import CLIENT_ID, CLIENT_SECRET, SLACK_TEAM, FakeProvider, slack_account
from tests.web.web_ponte import WebPonte

SESSION = "the-session-of-who-signed-in"


@dataclass
class Scene:
    """A page with Slack and the provider `acme`. `identities` are who signed in."""

    ponte: WebPonte
    slack: FakeProvider
    acme: FakeProvider
    providers: dict[str, Provider]
    sign_in: SignIn
    identities: list[Identity] = field(default_factory=list)
    now: float = 0.0
    """Seconds that Ponte's clock is ahead."""
    team: str = SLACK_TEAM

    @property
    def auth(self) -> TokenAuthentication:
        auth = self.ponte.web.hub.visitors.auth
        assert isinstance(auth, TokenAuthentication)
        return auth

    def browser(self, **headers: str) -> httpx.AsyncClient:
        """Return a browser without a session. It follows no redirect by itself."""
        return self.ponte.stranger(**headers)

    def is_signed_in(self, answer: httpx.Response) -> bool:
        return answer.cookies.get(self.auth.cookie) == SESSION

    async def begin(self, browser: httpx.AsyncClient, name: str = "acme", more: str = "") -> str:
        """Press the button; return the address to which the provider sends the browser."""
        answer = await browser.get(f"/sign-in/{name}{more}")
        assert answer.status_code == 303, answer.text
        return await self.visit_provider(answer.headers["location"])

    async def visit_provider(self, url: str) -> str:
        async with httpx.AsyncClient() as elsewhere:  # with the provider's own cookies
            answer = await elsewhere.get(url)
        assert answer.status_code == 302, answer.text
        return answer.headers["location"]

    async def sign_in_with(self, browser: httpx.AsyncClient, name: str = "acme") -> httpx.Response:
        return await browser.get(await self.begin(browser, name))


def query_of(url: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(url).query))


def sentence_of(answer: httpx.Response) -> str:
    """Return the sentence on the sign-in form."""
    return html.unescape(
        answer.text.partition('id="trouble" role="alert" hidden>')[2].partition("</p>")[0]
    )


@asynccontextmanager
async def scene(
    url: str = "", provider_host: str = "127.0.0.1", **admitted: Any
) -> AsyncIterator[Scene]:
    """Yield the scene. `url` is the page's public address, `provider_host` the host of both
    providers, `admitted` who may come from acme."""
    async with AsyncExitStack() as stack:
        slack = await stack.enter_async_context(
            FakeProvider(is_slack=True, account=slack_account())
        )
        account = {"sub": "42", "name": "Ana", "email": "ana@example.com", "email_verified": True}
        acme = await stack.enter_async_context(FakeProvider(account=account))
        for each in (slack, acme):
            each.origin = each.origin.replace("127.0.0.1", provider_host)
        http = await stack.enter_async_context(HttpClient())
        admission: Mapping[str, Any] = admitted or {"anyone": True}
        providers = {
            "slack": Provider("slack", "Slack", slack.issuer, CLIENT_ID, CLIENT_SECRET),
            "acme": Provider("acme", "Acme", acme.issuer, CLIENT_ID, CLIENT_SECRET, **admission),
        }

        async def find_workspace() -> str:
            return made.team

        ponte = WebPonte()
        ponte.url = url
        sign_in = SignIn(
            lambda: providers,
            ProviderClient(http),
            b"k" * 32,
            find_workspace,
            now=lambda: time.time() + made.now,
        )
        ponte.sign_in = sign_in
        await ponte.open()
        stack.push_async_callback(ponte.close)
        made = Scene(ponte, slack, acme, providers, sign_in)
        for name, provider in (("slack", slack), ("acme", acme)):
            provider.redirects.add(f"{url or ponte.web.address}/sign-in/{name}/done")

        async def open_session(identity: Identity, session: str = "") -> str:
            made.identities.append(identity)
            return SESSION

        auth: Any = made.auth
        auth.open_session = open_session
        yield made
