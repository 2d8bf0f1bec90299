"""The Slack integration: mention Ponte or write to it, and it answers in the thread."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, ConfigDict, SecretStr

from core.base.i18n import say
from core.chat.incoming import list_answer_all_places
from core.chat.people import Conversations, People
from core.domain.ports import ChatPlatform, StatusBoard
from core.domain.records import Health
from core.integrations import (
    DAILY_TURNS_ADVICE,
    MIN_TOKEN_CHARACTERS,
    ChatIntegration,
    HomeFolder,
    IntegrationDependencies,
    SafetyFinding,
    SettingsPart,
    SharedSettings,
    Url,
    describe_allowed,
    has_daily_turns,
    must_match,
    plain_value,
    setting,
)
from core.people.rules import EVERYBODY_NAME, PlatformRights


def _must_not_begin(prefix: str, words: str) -> AfterValidator:
    """Return a validator that raises ValueError with `words` for a token that begins with `prefix`:
    Slack's two tokens look alike."""

    def check(token: SecretStr) -> SecretStr:
        if plain_value(token).startswith(prefix):
            raise ValueError(say(words))
        return token

    return AfterValidator(check)


BotToken = Annotated[
    SecretStr,
    _must_not_begin("xapp-", words="this is an app token; the bot token starts with xoxb-"),
]
AppToken = Annotated[
    SecretStr,
    _must_not_begin("xoxb-", words="this is a bot token; the app token starts with xapp-"),
]

ConfigToken = Annotated[
    SecretStr,
    _must_not_begin(
        "xoxe.",
        words="this is the access token, which expires after 12 hours; copy the refresh token",
    ),
]


class SlackSettings(SettingsPart):
    """The settings of Slack, from the environment."""

    slack_bot_token: BotToken | None = setting(None, "Slack's bot token (xoxb-…)")
    slack_app_token: AppToken | None = setting(
        None, "Slack's app token (xapp-…); with it and the bot token, Ponte connects by Socket Mode"
    )
    slack_signing_secret: SecretStr | None = setting(
        None,
        "Slack's signing secret; with it and the bot token, but no app token, Slack sends "
        "events to /slack/events",
    )
    slack_config_token: ConfigToken | None = setting(
        None,
        "refresh token of an app configuration token (xoxe-1-…): `ponte doctor` compares the Slack "
        "app with its manifest, and the setup page updates it",
    )
    slack_api_url: Url = setting(
        "https://slack.com/api/",
        "base URL of Slack's Web API; change it for a proxy or a test server",
    )

    @property
    def slack(self) -> Literal["off", "socket", "http"]:
        """Return how Slack delivers events, or "off" if the credentials are incomplete."""
        if self.slack_bot_token is None:
            return "off"
        return "socket" if self.slack_app_token else "http" if self.slack_signing_secret else "off"


BotId = Annotated[str, must_match(r"B[A-Z0-9]+", "write a bot's ID, as in B0123456789")]


@dataclass(frozen=True, slots=True)
class SlackSection:
    """Settings of the Slack workspace, in `[slack]` of ponte.toml."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")
    bots: tuple[BotId, ...] = ()
    """ids of other bots that may talk with Ponte"""


RIGHTS_SENTENCES = {
    "everybody": (
        "slack: members can chat, read tables, and run code and quick commands. They can also "
        "change data, because PONTE_ALLOW contains *.",
        "slack: guests and people from other organizations have full permissions, because "
        "PONTE_ALLOW contains *. Name people or groups instead.",
    ),
    "named": (
        "slack: members can chat, read tables, and run code and quick commands. These people can "
        "also change data: {people}.",
        "slack: of guests and people from other organizations, only these can use Ponte: {people}",
    ),
    "nobody": (
        "slack: members can chat, read tables, and run code and quick commands. No one can "
        "change data.",
        "slack: guests and people from other organizations can't chat",
    ),
}
"""Findings about the rights of members and of visitors. The key tells how PONTE_ALLOW names people
of Slack: everybody, some of them by name, or nobody."""


class Slack(ChatIntegration[SlackSettings]):
    """Connects Ponte with one Slack workspace."""

    name = "slack"
    settings = SlackSettings
    sent_to: ClassVar = {
        "slack_api_url": (
            "slack_bot_token",
            "slack_app_token",
            "slack_config_token",
            "ponte_sign_in_slack_secret",
        )
    }
    section = SlackSection
    ids = "[A-Za-z0-9]+"
    # The first letters of workspaces (T), organisations (E), channels (C), private channels (G) and
    # direct messages (D). Ids of people begin with U or W, those of user groups with S.
    place_ids, workspace_ids = "[TECGD][A-Z0-9]*", "[TE][A-Z0-9]*"
    lists_people = True
    # Slack Connect brings people of other workspaces into a shared channel.
    rights = PlatformRights(
        frozenset({"chat", "read", "code", "spend"}), own_workspace=True, group_prefix="S"
    )

    def summary(self, own: SlackSettings, shared: SharedSettings) -> Health:
        """Return whether Slack is on and how events arrive, or which setting is missing, without a
        call. `own.slack` is "off" while a credential is missing, "socket" with an app token, "http"
        with a signing secret."""
        # Slack's HTTP requests come through the page's server.
        if own.slack == "http" and shared.ponte_web == "off":
            return Health(
                "slack",
                "off",
                "Slack sends requests to `/slack/events`, but PONTE_WEB is off. Set PONTE_WEB=on.",
            )
        if own.slack != "off":
            return Health("slack", "on", "Socket Mode" if own.slack == "socket" else "over HTTP")
        if own.slack_bot_token:
            return Health(
                "slack",
                "failing",
                "SLACK_BOT_TOKEN is set, but SLACK_APP_TOKEN is missing. Set it too.",
            )
        if own.slack_app_token or own.slack_signing_secret:
            return Health("slack", "failing", "SLACK_BOT_TOKEN is missing. Slack needs it.")
        return Health("slack", "off", "set SLACK_BOT_TOKEN and SLACK_APP_TOKEN")

    def is_used(self, own: SlackSettings, shared: SharedSettings) -> bool:
        """Return whether the adapter is built. It is also built if no event can arrive, so that
        earlier messages are still answered."""
        return own.slack != "off"

    async def build(
        self,
        deps: IntegrationDependencies[SlackSettings],
        conversations: Conversations,
        people: People,
        board: StatusBoard,
    ) -> ChatPlatform:
        """Return the adapter, not yet started. Its module is imported in a thread, because Slack's
        SDK takes a while to load. `deps.peers` are the other processes that share the database. In
        the data folder, the adapter notes that events about members arrive."""
        own, config = deps.own, deps.config
        slack: Any = await asyncio.to_thread(importlib.import_module, "adapters.slack.adapter")
        adapter: ChatPlatform = slack.SlackAdapter(
            slack.Credentials(
                plain_value(own.slack_bot_token),
                plain_value(own.slack_app_token),
                plain_value(own.slack_signing_secret),
            ),
            conversations,
            people,
            board,
            deps.peers,
            config,
            slack.SlackOptions(
                own.slack_api_url,
                deps.shared.proxies,
                frozenset(config.section("slack").bots),  # other bots that may talk with Ponte
                deps.home.path,
            ),
        )
        return adapter

    def creation_link(self, shared: SharedSettings) -> str:
        """Return the address at which Slack offers to create Ponte's app, with its manifest."""
        setup: Any = importlib.import_module("adapters.slack.setup")
        return str(setup.link(setup.manifest(page_url=shared.ponte_web_url or "")))

    async def check(self, deps: IntegrationDependencies[SlackSettings]) -> Sequence[Health]:
        """Try the settings against Slack for `ponte doctor`. Channels in which Ponte answers every
        message need more scopes. A file in the data folder tells whether Slack sent member
        events."""
        own = deps.own
        # Imported here and in a thread, because Slack's SDK takes a while to load.
        setup: Any = await asyncio.to_thread(importlib.import_module, "adapters.slack.setup")
        results: Sequence[Health] = await setup.check(
            plain_value(own.slack_bot_token),
            plain_value(own.slack_app_token),
            plain_value(own.slack_signing_secret),
            own.slack_api_url,
            deps.shared.proxies,
            list_answer_all_places(deps.config, "slack"),
            None if own.slack_config_token else deps.home.path,
        )
        if own.slack_config_token and not any(one.name == "slack" for one in results):
            results = [*results, await self._app_config(deps).check()]
        return results

    async def update_app(
        self, deps: IntegrationDependencies[SlackSettings], shown: Sequence[str]
    ) -> Health:
        finding: Health = await self._app_config(deps).update(shown)
        return finding

    def _app_config(self, deps: IntegrationDependencies[SlackSettings]) -> Any:
        own, page = deps.own, deps.shared.ponte_web_url or ""
        setup: Any = importlib.import_module("adapters.slack.setup")
        app_config: Any = importlib.import_module("adapters.slack.app_config")
        return app_config.SlackAppConfig(
            plain_value(own.slack_bot_token),
            plain_value(own.slack_app_token),
            plain_value(own.slack_config_token),
            own.slack_api_url,
            deps.shared.proxies,
            deps.home,
            setup.manifest(f"{page}/slack/events" if own.slack == "http" else "", page),
        )

    def safety(
        self, own: SlackSettings, shared: SharedSettings, home: HomeFolder
    ) -> Iterator[SafetyFinding]:
        """Yield findings, without a call: a weak signing secret, the rights of members and
        visitors, a missing daily limit."""
        secret = plain_value(own.slack_signing_secret)
        if own.slack == "http" and len(secret) < MIN_TOKEN_CHARACTERS:
            words = (
                "SLACK_SIGNING_SECRET is too short. A signing secret has 32 characters. Copy it "
                "again."
            )
            yield SafetyFinding("token", say(words), "unsafe")
        if own.slack == "off":
            return
        # PONTE_ALLOW names who may change data: everybody (*), or people of a platform.
        people = describe_allowed(shared.ponte_allow, "slack")
        everybody = EVERYBODY_NAME in shared.ponte_allow
        members, visitors = RIGHTS_SENTENCES[
            "everybody" if everybody else "named" if people else "nobody"
        ]
        yield SafetyFinding("rights", say(members, people=people))  # its level is "ok"
        yield SafetyFinding("rights", say(visitors, people=people), "note" if everybody else "ok")
        if not has_daily_turns(shared):
            # True: the finding is left out if ponte.toml has such a limit.
            words = "Slack members have no daily message limit"
            yield SafetyFinding("limits", f"{say(words)}; {say(DAILY_TURNS_ADVICE)}", "note", True)


SLACK = Slack()
