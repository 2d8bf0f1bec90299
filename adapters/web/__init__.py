"""The integration of the web page and its HTTP API."""

from __future__ import annotations

import errno
import hmac
import socket
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import quote, urlsplit

from adapters.web.settings import WebSettings
from core.base.errors import PonteError
from core.base.i18n import say
from core.base.proxies import is_loopback
from core.chat.approval_notices import PersonNoticeService
from core.chat.people import Conversations, People
from core.domain.ports import Platform
from core.domain.records import Health
from core.integrations import (
    FindHook,
    HomeFolder,
    HttpHandler,
    IntegrationDependencies,
    Operator,
    OperatorBoard,
    OwnerIntegration,
    SafetyFinding,
    SharedSettings,
    has_generated_form,
    plain_value,
)
from core.people.rules import BASIC_RIGHTS, PlatformRights

if TYPE_CHECKING:
    from adapters.web.oidc.provider import Provider

_MIN_DIFFERENT_CHARACTERS = 8
"""Different characters that a token needs. `openssl rand -hex 16` gives fewer once in millions."""


LISTENER_VARIABLE = "PONTE_LISTENER"
"""The variable with the descriptor of the listening socket that the process had before a restart
by the setup page (bot/setup/restart.py)."""


def add_token(page: str, token: str) -> str:
    """Browsers never send the fragment of an address to a server."""
    return f"{page}/#token={quote(token, safe='')}"


class WebIntegration(OwnerIntegration[WebSettings]):
    """The web page and its HTTP API: settings, checks, and how it is built."""

    name = "web"
    settings = WebSettings
    ids = "[a-z0-9][a-z0-9._-]{0,31}"
    # The token stands behind the # of the page's link.
    sent_to: ClassVar = {"ponte_web_url": ("ponte_web_token",)}
    rights = PlatformRights(BASIC_RIGHTS, has_one_owner=True, has_room=True, links_plans=True)

    def summary(self, settings: WebSettings, shared: SharedSettings) -> Health:
        if settings.ponte_web == "off":
            return Health("web", "off", "PONTE_WEB is off")
        return Health("web", "on", settings.page_url())

    async def build(
        self,
        deps: IntegrationDependencies[WebSettings],
        conversations: Conversations,
        people: People,
        board: OperatorBoard,
        operator: Operator,
        notices: PersonNoticeService,
        routes: Mapping[str, HttpHandler],
        find_hook: FindHook,
    ) -> Platform:
        """The imports are here, because a Ponte without the page needs none of them.

        `routes` and `find_hook` are handlers of other parts that the page's server also serves: of
        chat platforms that send HTTP requests, and of webhooks.
        """
        from adapters.web.hub import Hub, WebAdapter
        from adapters.web.oidc.client import ProviderClient
        from adapters.web.oidc.flow import SignIn
        from adapters.web.oidc.provider import SLACK_NAME, list_providers
        from adapters.web.setup.gate import SetupGate
        from adapters.web.sign_in import PageSecrets, TokenAuthentication, Visitors
        from adapters.web.visitor import SignInMethods

        settings, shared = deps.own, deps.shared
        chosen = plain_value(settings.ponte_web_token)
        token, key = chosen or deps.home.web_token(), deps.home.page_key()
        # Only a connected Slack can tell whether somebody who signs in with it is still there.
        find_workspace = people.policy.people.workspaces.get(SLACK_NAME)

        def list_current() -> Mapping[str, Provider]:
            """Return the providers of sign-in. They are read each time, because `ponte reload` may
            change them."""
            return list_providers(
                settings, shared, deps.config, has_slack=find_workspace is not None
            )

        def names_group(prefix: str) -> bool:
            config = deps.config
            named = (people.policy.read_rules(), config.table_rules, config.turn_allowances)
            return prefix in repr((*named, shared.ponte_allow, people.policy.admins))

        auth = TokenAuthentication(
            settings.ponte_web_host,
            PageSecrets(token, key, is_generated=not chosen and has_generated_form(token)),
            settings.ponte_web_url or "",
            people.accounts,
            people.owner,
            SignInMethods(
                people.policy,
                lambda name: name in list_current(),
                lambda: deps.config.section("page").links,
            ),
        )
        visitors = Visitors(
            auth,
            people.policy,
            shared.ponte_locale,
            shared.ponte_timezone,
            SetupGate.from_settings(settings, shared),
            SignIn(
                list_current,
                ProviderClient(deps.http),
                hmac.digest(key, b"ponte sign-in", "sha256"),
                find_workspace,
                names_group,
            ),
            voice=bool(shared.transcribe_model),
        )
        hub = Hub(visitors, conversations, board, deps.peers)
        listener = (settings.ponte_web_host, settings.ponte_web_port)
        return WebAdapter(hub, board, operator, notices, listener, people, routes, find_hook)

    def link(self, settings: WebSettings, platform: Any, home: HomeFolder) -> tuple[str, str]:
        page = settings.page_url(platform.address)
        return page, add_token(page, plain_value(settings.ponte_web_token) or home.kept_web_token())

    def secrets(self, settings: WebSettings, home: HomeFolder) -> Mapping[str, str]:
        is_generated = settings.ponte_web == "on" and settings.ponte_web_token is None
        return {"ponte_web_token": home.web_token()} if is_generated else {}

    async def check(self, deps: IntegrationDependencies[WebSettings]) -> Sequence[Health]:
        """Return whether the port is free, or used by the running Ponte, and whether each sign-in
        provider can be used. Raise OSError if the address is not one of this machine, PonteError
        if another program uses the port."""
        settings = deps.own
        host, port = settings.ponte_web_host, settings.ponte_web_port
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        family, kind, protocol, _, address = addresses[0]
        sentence = say("{address} is free", address=settings.page_url())
        with socket.socket(family, kind, protocol) as trial:
            # As the server itself does: a port whose last connections still end is free.
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                trial.bind(address)
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                # A Ponte that runs with this data folder counts as the program on the port.
                if not deps.home.is_served():
                    raise PonteError(
                        "Another program uses port {port}. Set PONTE_WEB_PORT to a free port.",
                        port=port,
                    ) from None
                sentence = say(
                    "{address} is in use by the running Ponte", address=settings.page_url()
                )
        return [Health("web", "on", sentence), *await self._check_sign_in(deps)]

    async def _check_sign_in(self, deps: IntegrationDependencies[WebSettings]) -> Sequence[Health]:
        """Return for each sign-in provider whether its discovery document can be used, and why
        sign-in with Slack is off although its secret is set. Without the secret, nobody expects
        that sign-in. The imports are here, because a Ponte without the page needs none of them."""
        from adapters.web.oidc.client import ProviderClient
        from adapters.web.oidc.provider import SignInRefused, list_providers

        settings, shared, results = deps.own, deps.shared, list[Health]()
        has_slack, sentence = shared.slack != "off", ""
        if not settings.has_slack_sign_in:
            sentence = "Sign-in with Slack needs an https address. Set PONTE_WEB_URL=https://…"
        elif not has_slack:
            sentence = (
                "sign-in with Slack only works if Slack is connected: set SLACK_BOT_TOKEN "
                "and SLACK_APP_TOKEN"
            )
        if sentence and settings.ponte_sign_in_slack_secret:
            results.append(Health("sign-in slack", "failing", say(sentence)))
        client = ProviderClient(deps.http)
        current = list_providers(settings, shared, deps.config, has_slack=has_slack)
        for name, provider in current.items():
            part = f"sign-in {name}"
            try:
                await client.discover(provider)
            except SignInRefused as refused:
                sentence = say(
                    "Ponte can't use {issuer} ({why}). Check the `sign_in` section of ponte.toml.",
                    issuer=provider.issuer,
                    why=refused.detail,
                )
                results.append(Health(part, "failing", sentence))
            else:
                results.append(Health(part, "on", provider.issuer))
        return results

    def safety(
        self, settings: WebSettings, shared: SharedSettings, home: HomeFolder
    ) -> Iterator[SafetyFinding]:
        """Report how well the page is protected: its token, who can reach it, and whether it is
        encrypted."""
        if settings.ponte_web == "off":
            return
        # Everybody who has the token has the owner's rights.
        try:
            # The setting, or else the token that Ponte created and keeps in its home folder.
            token = plain_value(settings.ponte_web_token) or home.kept_web_token()
        except PonteError as error:
            yield SafetyFinding("token", error.words(), "unsafe")
        else:
            if not token:
                text = "the page's token is created when Ponte starts for the first time"
                yield SafetyFinding("token", say(text))
            elif len(set(token)) < _MIN_DIFFERENT_CHARACTERS:
                sentence = (
                    "The page's token is repetitive. Use a random one (`openssl rand -hex 16`)."
                )
                yield SafetyFinding("token", say(sentence), "unsafe")
            else:
                text = "the page's token has {count} characters"
                yield SafetyFinding("token", say(text, count=len(token)))
        # Who can open the page depends on the address that it listens on and on its public origin.
        public = urlsplit(settings.ponte_web_url or "")
        here = is_loopback(settings.ponte_web_host)
        is_local_url = not public.hostname or is_loopback(public.hostname)
        if public.scheme == "https":
            sentence = "the page is served over TLS at {url}"
            if not here:
                sentence = (
                    "The page is served over TLS at {url}. Let only the proxy reach port {port}."
                )
            yield SafetyFinding(
                "page", say(sentence, url=settings.ponte_web_url, port=settings.ponte_web_port)
            )
        elif here and is_local_url:
            sentence = "only this machine can open the page, and it asks for a token"
            yield SafetyFinding("page", say(sentence))
        else:
            what = say("PONTE_WEB_URL doesn't start with https")
            if not here:
                sentence = "PONTE_WEB_HOST={host} accepts connections from other machines"
                what = say(sentence, host=settings.ponte_web_host)
            sentence = (
                "{what}. The token and all messages can be read in transit. Set "
                "PONTE_WEB_HOST=127.0.0.1, or put a TLS proxy in front and set "
                "PONTE_WEB_URL=https://…"
            )
            yield SafetyFinding("page", say(sentence, what=what), "unsafe")
        sentence = (
            "web: anyone with the page's token has the owner's full permissions. People added "
            "with `ponte people add` have all of them, except that they can't approve other "
            "people's requests."
        )
        yield SafetyFinding("rights", say(sentence))


WEB = WebIntegration()
