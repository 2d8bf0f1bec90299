"""The routes of the sign-in page."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http.cookies import CookieError
from typing import Any

import structlog
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from adapters.web import http_io
from adapters.web.api import answers
from adapters.web.errors import UnknownPath
from adapters.web.http_io import RouteGroup, endpoint
from adapters.web.oidc.flow import SIGN_IN_SECONDS, SignIn
from adapters.web.oidc.provider import Provider, SignInRefused
from adapters.web.sign_in import SIGN_IN_PATH, Visitors
from adapters.web.visitor import PROVIDER_SESSION_SECONDS
from core.base.errors import NotStored, Refusal
from core.base.tasks import OncePerMinute

_QUIET_REASONS = frozenset({"again", "denied", "expired", "session_ended"})
"""Reasons that concern only the person at the browser. Anybody can cause them."""
MAX_SIGN_INS = 8
"""Sign-ins of one browser that are under way at once. Each has a cookie of 150 to 250 bytes, and
proxies refuse requests whose headers exceed 8 KB (nginx's large_client_header_buffers)."""
_STATE_CHARACTERS = 16
_log = structlog.get_logger("web")
ServePage = Callable[[Request, str], Response]


@dataclass(frozen=True)
class SignInRoutes(RouteGroup):
    """The HTTP routes of signing in with a provider (OpenID Connect): the list of the providers,
    the way to one, and the way back. `serve_page` answers with Ponte's page, with a sentence on its
    sign-in form."""

    visitors: Visitors
    serve_page: ServePage
    _warnings: OncePerMinute = field(default_factory=OncePerMinute, init=False)

    @endpoint("GET", SIGN_IN_PATH)
    async def list_ways(self, request: Request) -> answers.SignInWays:
        """Return whether the browser is signed in, and the providers that it can sign in with. It
        needs no token."""
        auth, sign_in = self.visitors.auth, self.visitors.sign_in
        is_signed_in = await auth.has_session(http_io.read_visit(request.scope))
        providers = sign_in.list_providers().values() if sign_in else ()
        ways: list[answers.SignInWay] = [
            {"label": provider.label, "url": f"{auth.origin}{SIGN_IN_PATH}/{provider.name}"}
            for provider in providers
        ]
        return {"signed_in": is_signed_in, "ways": ways}

    @endpoint(
        "GET",
        f"{SIGN_IN_PATH}/{{name}}",
        status=303,
        media=("text/html",),
        query={"again": "the provider must not show anything"},
        refuses=(403, 404, 503),
    )
    async def start(self, request: Request) -> Response:
        """Send the browser to a provider to sign in, if the page asks for it. A link elsewhere must
        not change who the browser is: it shows the page. With `again`, only the session that the
        browser has is confirmed."""
        sign_in, provider = self._find(request)
        # `Any`: only the page's kind of authentication has the methods that are called here.
        auth: Any = self.visitors.auth
        redirect, is_again = self._redirect(request, provider), "again" in request.query_params
        try:
            session = ""
            if is_again:
                session = await auth.describe_session(http_io.read_visit(request.scope))
            # Browsers that are older than 2023 send no `Sec-Fetch-Site`.
            is_ours = request.headers.get("sec-fetch-site", "same-origin") == "same-origin"
            if not is_ours or (is_again and not session):
                return self.serve_page(request, "")
            url, state, cookie = await sign_in.start(provider, redirect, session)
        except (SignInRefused, NotStored) as refused:
            return self._refuse(request, provider, refused)
        response = RedirectResponse(url, 303)
        sign_ins = (name for name in request.cookies if name.startswith(f"{auth.cookie}-"))
        # A cookie's value begins with its end: the oldest sign-ins give way.
        for name in sorted(sign_ins, key=request.cookies.__getitem__)[: 1 - MAX_SIGN_INS]:
            self._set_cookie(response, name, "", 0)
        name = self._cookie_name(provider, state)
        self._set_cookie(response, name, cookie, SIGN_IN_SECONDS)
        return response

    @endpoint(
        "GET",
        f"{SIGN_IN_PATH}/{{name}}/done",
        media=("text/html",),
        query={"code": "the provider's code", "state": "the value that Ponte sent"},
        refuses=(403, 404, 503),
    )
    async def finish(self, request: Request) -> Response:
        """Open a session for who comes back from a provider, and show the page. Loaded again, as by
        Back, it shows the page alone.

        It is no redirect: browsers would not send the session's strict cookie after it.
        """
        sign_in, provider = self._find(request)
        # Only the page's kind of authentication has `open_session`.
        auth: Any = self.visitors.auth
        redirect = self._redirect(request, provider)
        # Each sign-in has a cookie of its own, so that several tabs can sign in at once.
        state = request.query_params.get("state", "")
        name = self._cookie_name(provider, state)
        cookie = request.cookies.get(name, "")
        try:
            # The person, and the session that the provider was to confirm ("" for none).
            came_back = await sign_in.finish(provider, redirect, request.query_params, cookie)
            session = await auth.open_session(*came_back)
        except (Refusal, NotStored) as refused:
            is_known = state in sign_in.opened or await auth.has_session(
                http_io.read_visit(request.scope)
            )
            if getattr(refused, "reason", "") == "expired" and is_known:
                response = self.serve_page(request, "")
            else:
                response = self._refuse(request, provider, refused)
        else:
            sign_in.opened[state] = True
            response = self.serve_page(request, "")  # "": the page shows no refusal
            http_io.set_session(response, auth, session, PROVIDER_SESSION_SECONDS)
        if cookie:  # the sign-in is over
            self._set_cookie(response, name, "", 0)
        return response

    def _find(self, request: Request) -> tuple[SignIn, Provider]:
        sign_in, name = self.visitors.sign_in, request.path_params["name"]
        provider = sign_in.list_providers().get(name) if sign_in else None
        if sign_in is None or provider is None:
            raise UnknownPath
        return sign_in, provider

    def _refuse(
        self, request: Request, provider: Provider, refused: Refusal | NotStored
    ) -> Response:
        """If the setup is at fault, the log gets a line, but each fault at most once a minute:
        anybody can cause it again by opening the address. _QUIET_REASONS concern only the person at
        the browser, such as an expired sign-in."""
        reason = getattr(refused, "reason", refused.code)
        is_first = self._warnings.admits(f"{provider.name} {reason}", time.time())
        if reason not in _QUIET_REASONS and is_first:
            detail = getattr(refused, "detail", "")
            _log.warning("sign-in refused", provider=provider.name, reason=reason, detail=detail)
        refused.values["label"] = provider.label  # the sentences name the provider: {label}
        response = self.serve_page(request, refused.words())
        response.status_code = 503 if isinstance(refused, NotStored) else 403
        return response

    def _redirect(self, request: Request, provider: Provider) -> str:
        """Without a public origin it is the host of the request, which was checked."""
        origin = self.visitors.auth.origin or f"http://{request.headers['host']}"
        return f"{origin}{SIGN_IN_PATH}/{provider.name}/done"

    def _cookie_name(self, provider: Provider, state: str) -> str:
        return f"{self.visitors.auth.cookie}-{provider.name}-{state[:_STATE_CHARACTERS]}"

    def _set_cookie(self, response: Response, name: str, value: str, age: int) -> None:
        with suppress(CookieError):  # a name that only another program could set
            response.set_cookie(
                name,
                value,
                max_age=age,  # 0 deletes the cookie
                httponly=True,
                samesite="lax",  # a strict one is not sent after the provider's redirect
                secure=self.visitors.auth.secure,
            )
