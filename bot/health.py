"""What the settings turn on, and why the rest is off: printed by `run`, checked by `doctor`.

The board: how each part is, for people, `/readyz` and `status`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from dataclasses import replace
from urllib.parse import quote

from bot.settings import Settings
from core.messages import Address, Card, Person
from core.ports import QuickCommands
from core.records import Health, QuickCommand

_SLACK_BOT = "set SLACK_BOT_TOKEN and SLACK_APP_TOKEN"


def lineup(settings: Settings) -> tuple[Health, ...]:
    """By name: model, web, slack, discord, nocodb, stackspot, code. No service is asked."""
    return tuple(_parts(settings))


def _parts(settings: Settings) -> Iterator[Health]:
    yield _model(settings)
    yield _web(settings)
    yield _slack(settings)
    if settings.discord_token:
        yield Health("discord", "on", "connects to the gateway")
    else:
        yield Health("discord", "off", "set DISCORD_TOKEN")
    yield _nocodb(settings)
    yield _stackspot(settings)
    yield _code(settings)


def _model(settings: Settings) -> Health:
    reachable = settings.openai_api_key or settings.openai_base_url
    if settings.ponte_model_api == "demo":
        return Health("model", "on", "the demo model, as PONTE_MODEL_API says")
    if not reachable:
        return Health("model", "on", "the demo model; set OPENAI_API_KEY for a real one")
    return Health("model", "on", settings.ponte_model)


def _web(settings: Settings) -> Health:
    if settings.ponte_web == "off":
        return Health("web", "off", "PONTE_WEB is off")
    return Health("web", "on", page_url(settings))


def opened_at(settings: Settings, listening: str) -> str:
    """Where a person opens a page that listens there: the public origin, where there is one."""
    for anywhere, here in (("//0.0.0.0:", "//127.0.0.1:"), ("//[::]:", "//[::1]:")):
        listening = listening.replace(anywhere, here)
    return settings.ponte_web_url or listening


def with_token(page: str, token: str) -> str:
    """A fragment is never sent to a server: the page takes it and drops it."""
    return f"{page}/#token={quote(token, safe='')}"


def page_url(settings: Settings) -> str:
    """Where a person opens the page; port 0 stands for one that the system chooses."""
    host = settings.ponte_web_host
    shown = f"[{host}]" if ":" in host else host
    return settings.ponte_web_url or f"http://{shown}:{settings.ponte_web_port}"


def _slack(settings: Settings) -> Health:
    if settings.slack != "off":
        return _slack_on(settings)
    if settings.slack_bot_token:
        return Health("slack", "off", "SLACK_BOT_TOKEN is set; set SLACK_APP_TOKEN too")
    if settings.slack_app_token or settings.slack_signing_secret:
        return Health("slack", "off", "SLACK_BOT_TOKEN is missing; set it too")
    return Health("slack", "off", _SLACK_BOT)


def _slack_on(settings: Settings) -> Health:
    if settings.slack == "http" and settings.ponte_web == "off":
        return Health("slack", "off", "it comes in at /slack/events, but PONTE_WEB is off")
    return Health("slack", "on", "Socket Mode" if settings.slack == "socket" else "over HTTP")


def _nocodb(settings: Settings) -> Health:
    if settings.nocodb == "bridge":
        return Health("nocodb", "on", "over the bridge")
    if settings.nocodb == "rest":
        return Health("nocodb", "on", "over its REST API")
    if settings.nocodb_url:
        return Health("nocodb", "off", "NOCODB_TOKEN is missing; set it too")
    return Health("nocodb", "off", "set NOCODB_URL")


def _code(settings: Settings) -> Health:
    if settings.code == "off":
        return Health("code", "off", "PONTE_CODE is off")
    if settings.code == "hosted":
        return Health("code", "on", "Python hosted by OpenAI")
    return Health("code", "on", "Python in a sandbox on this machine")


def _stackspot(settings: Settings) -> Health:
    pair = (settings.stackspot_client_id, settings.stackspot_client_secret)
    if all(pair):
        return Health("stackspot", "on", f"realm {settings.stackspot_realm}")
    missing = "STACKSPOT_CLIENT_SECRET" if pair[0] else "STACKSPOT_CLIENT_ID"
    if any(pair):
        return Health("stackspot", "off", f"half set; {missing} is missing")
    return Health("stackspot", "off", "set STACKSPOT_CLIENT_ID and STACKSPOT_CLIENT_SECRET")


Live = Callable[[], Awaitable[Health]]
Changed = Callable[[str], Awaitable[Sequence[Card]]]
PATIENCE = 5.0
"""Seconds that one part may take to tell how it is."""


class Board:
    """`lineup` is what the settings turn on; a part that runs tells for itself."""

    def __init__(self, lineup: Sequence[Health], quick: QuickCommands) -> None:
        self._lineup = tuple(lineup)
        self._quick = quick
        self.live: dict[str, Live] = {}
        self.ledger: Changed | None = None
        """What gives the cards of a conversation, once the stores are open."""

    def asleep(self, names: Collection[str]) -> None:
        """These are set up, but not served by this process."""
        words = "set up; `ponte run` serves it"
        self._lineup = tuple(
            replace(part, state="off", words=words) if part.state == "on" and part.name in names
            else part for part in self._lineup
        )  # fmt: skip

    async def health(self, patience: float = PATIENCE) -> Sequence[Health]:
        return await asyncio.gather(*(self._of(part, patience) for part in self._lineup))

    async def commands(self, person: Person, address: Address) -> Sequence[QuickCommand]:
        return await self._quick.known(person, address)

    async def changes(self, conversation: str) -> Sequence[Card]:
        return await self.ledger(conversation) if self.ledger else ()

    async def _of(self, part: Health, patience: float) -> Health:
        ask = self.live.get(part.name)
        if part.state == "off" or ask is None:
            return part
        try:
            async with asyncio.timeout(patience):
                return await ask()
        except TimeoutError:
            if patience < PATIENCE:
                return Health(part.name, "on", f"{part.words} (not answered yet)")
            return Health(part.name, "failing", f"no answer within {patience:.0f} s")
