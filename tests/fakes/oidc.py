"""An OpenID provider on loopback, as strict as Slack's and as odd as a test wants it."""

from __future__ import annotations

import asyncio
import base64
import functools
import hashlib
import html
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import unquote, urlencode

from aiohttp import web
from joserfc import jws
from joserfc.jwk import ECKey, Key, RSAKey

from tests.fakes.loopback import serve_on_loopback

CLIENT_ID, CLIENT_SECRET = "ponte-at-the-provider", "the-secret-of-ponte-at-the-provider"
SLACK_TEAM = "T0TEAM"
Json = dict[str, Any]
LEFT_OUT: Any = object()
"""The value of a claim or field that is left out."""


def new_key(id: str = "first") -> RSAKey:
    return RSAKey.generate_key(2048, {"kid": id, "use": "sig"})


@functools.cache
def usual_key() -> RSAKey:
    """Return the key of every provider that no test gives another one."""
    return new_key()


def public_keys(*keys: Key) -> Json:
    return {"keys": [key.as_dict(private=False) for key in keys]}


def sign_token(key: Key, claims: Mapping[str, Any], **header: Any) -> str:
    """Return a signed token. `header` replaces the fields of its header."""
    fields = merge({"alg": "RS256", "kid": key.kid, "typ": "JWT"}, header)
    registry = jws.JWSRegistry(algorithms=[fields["alg"]], strict_check_header=False)
    registry.max_payload_length = 10**7
    return jws.serialize_compact(fields, json.dumps(claims), key, registry=registry)


def merge(first: Mapping[str, Any], second: Mapping[str, Any]) -> Json:
    """Return both; the second may leave out fields of the first."""
    both = {**first, **second}
    return {name: value for name, value in both.items() if value is not LEFT_OUT}


@dataclass
class GrantedCode:
    """A code, with the request that it answers."""

    query: Mapping[str, str]
    is_used: bool = False


@dataclass
class FakeProvider:
    """`async with FakeProvider() as provider`: a person with `account` is signed in there.

    `document`, `claims` and `header` replace fields of what it answers. `seconds` is how far its
    clock is ahead. `answers` are whole answers by path, `hold` a path that does not
    answer before `release`.
    """

    is_slack: bool = False
    account: Json = field(default_factory=dict)
    redirects: set[str] = field(default_factory=set)
    document: Json = field(default_factory=dict)
    claims: Json = field(default_factory=dict)
    header: Json = field(default_factory=dict)
    seconds: float = 0.0
    is_signed_in: bool = True
    needs_pkce: bool = True
    answers: dict[str, Callable[[], web.StreamResponse]] = field(default_factory=dict)
    hold: str = ""

    def __post_init__(self) -> None:
        self.key: Key = usual_key()
        self.published: list[Key] = [self.key]
        self.make_token: Callable[[Json], str] = self._make_token
        self.codes: dict[str, GrantedCode] = {}
        self.requests: list[str] = []
        self.refusals: list[str] = []
        self._runner: web.AppRunner | None = None
        self._released, self._has_request = asyncio.Event(), asyncio.Event()
        self.origin = ""

    @property
    def issuer(self) -> str:
        return self.origin

    async def __aenter__(self) -> Self:
        app = web.Application()
        self.add_routes(app)
        self._runner, self.origin = await serve_on_loopback(app)
        return self

    def add_routes(self, app: web.Application) -> None:
        """Let an application serve this provider, too. Its `origin` is set afterwards."""
        paths = {
            "/.well-known/openid-configuration": self._discover,
            "/authorize": self._authorize,
            "/token": self._token,
            "/keys": self._keys,
            "/link": self._show_link,
        }
        for path, handler in paths.items():
            method = "POST" if path == "/token" else "GET"
            app.router.add_route(method, path, functools.partial(self._serve, path, handler))

    async def __aexit__(self, *_: object) -> None:
        self._released.set()
        if self._runner is not None:
            await self._runner.cleanup()

    async def wait_for(self, path: str, count: int = 1) -> None:
        """Wait until so many requests for this path have arrived."""
        while self.requests.count(path) < count:
            self._has_request.clear()
            await self._has_request.wait()

    def release(self) -> None:
        """Answer what was held, and hold nothing any more."""
        self.hold = ""
        self._released.set()

    async def _serve(self, path: str, handler: Any, request: web.Request) -> web.StreamResponse:
        self.requests.append(path)
        self._has_request.set()
        if path == self.hold:
            await self._released.wait()
        if path in self.answers:
            return self.answers[path]()
        answer: web.StreamResponse = await handler(request)
        return answer

    async def _discover(self, _: web.Request) -> web.Response:
        document = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.origin}/authorize",
            "token_endpoint": f"{self.origin}/token",
            "jwks_uri": f"{self.origin}/keys",
            "scopes_supported": ["openid", "profile", "email"],
            "response_types_supported": ["code"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic"],
        }
        if self.needs_pkce and not self.is_slack:
            document["code_challenge_methods_supported"] = ["plain", "S256"]
        return web.json_response(merge(document, self.document))

    async def _authorize(self, request: web.Request) -> web.Response:
        query = dict(request.query)
        if query.get("client_id") != CLIENT_ID or query.get("redirect_uri") not in self.redirects:
            return self._refuse("bad client_id or redirect_uri")  # nobody is sent there
        for name in ("state", "nonce"):
            if not query.get(name):
                return self._refuse(f"no {name}")
        if query.get("response_type") != "code" or "openid" not in query.get("scope", "").split():
            return self._refuse("bad response_type or scope")
        has_challenge = query.get("code_challenge_method") == "S256" and query["code_challenge"]
        if self.needs_pkce and not self.is_slack and not has_challenge:
            return self._refuse("no code_challenge")
        answer = {"state": query["state"]}
        if self.is_signed_in:
            answer["code"] = f"code-{len(self.codes)}-{len(self.requests)}"
            self.codes[answer["code"]] = GrantedCode(query)
        elif query.get("prompt") == "none":
            answer["error"] = "login_required"
        else:
            answer["error"] = "access_denied"
        if self.document.get("authorization_response_iss_parameter_supported"):
            answer["iss"] = self.issuer
        url = f"{query['redirect_uri']}?{urlencode(answer)}"
        return web.Response(status=302, headers={"Location": url})

    async def _token(self, request: web.Request) -> web.Response:
        form = {name: str(value) for name, value in (await request.post()).items()}
        id, secret = form.get("client_id", ""), form.get("client_secret", "")
        scheme, _, pair = request.headers.get("Authorization", "").partition(" ")
        if scheme == "Basic":
            id, _, secret = base64.b64decode(pair).decode().partition(":")
            id, secret = unquote(id), unquote(secret)
        if (id, secret) != (CLIENT_ID, CLIENT_SECRET):
            return self._refuse("invalid_client", 401)
        if form.get("grant_type") != "authorization_code":
            return self._refuse("unsupported_grant_type")
        grant = self.codes.get(form.get("code", ""))
        if grant is None or grant.is_used:
            return self._refuse("invalid_code" if self.is_slack else "invalid_grant")
        grant.is_used = True
        if form.get("redirect_uri") != grant.query["redirect_uri"]:
            return self._refuse("bad_redirect_uri" if self.is_slack else "invalid_grant")
        if "code_challenge" in grant.query:
            digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
            challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
            if challenge != grant.query["code_challenge"]:
                return self._refuse("invalid_grant")
        now = int(time.time() + self.seconds)
        claims = {
            "iss": self.issuer,
            "aud": CLIENT_ID,
            "iat": now,
            "exp": now + 300,
            "nonce": grant.query["nonce"],
            **self.account,
        }
        token = self.make_token(merge(claims, self.claims))
        return web.json_response({"ok": True, "access_token": "xoxp-1", "id_token": token})

    async def _keys(self, _: web.Request) -> web.Response:
        return web.json_response(public_keys(*self.published))

    async def _show_link(self, request: web.Request) -> web.Response:
        """A page of this site that links to another."""
        link = f'<a href="{html.escape(request.query["to"])}">there</a>'
        return web.Response(text=link, content_type="text/html")

    def _make_token(self, claims: Json) -> str:
        return sign_token(self.key, claims, **self.header)

    def _refuse(self, error: str, status: int = 400) -> web.Response:
        self.refusals.append(error)
        status = 200 if self.is_slack and status != 401 else status  # Slack's errors are answers
        return web.json_response({"ok": False, "error": error}, status=status)


def slack_account(user: str = "U1", team: str = SLACK_TEAM, name: str = "Ana") -> Json:
    return {
        "sub": user,
        "https://slack.com/user_id": user,
        "https://slack.com/team_id": team,
        "name": name,
        "email": f"{user}@example.com".lower(),
        "email_verified": True,
    }


def new_ec_key(id: str = "ec") -> ECKey:
    return ECKey.generate_key("P-256", {"kid": id, "use": "sig"})
