"""The systems that bring tools, as the settings turn them on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from bot.code import choose_code
from bot.config import Config
from bot.home import Home
from bot.quick import Named
from bot.settings import Settings
from bot.stackspot import StackSpotTooling
from bot.values import plain
from core.change_ports import Applier
from core.http import HttpClient
from core.model.options import Options
from core.openai import Client
from core.ports import QuickCommands, ToolSource
from core.tools.bridge.source import BridgeSource
from core.tools.code.runner import Runner
from core.tools.code.source import CodeSource
from core.tools.nocodb.source import NocoSource
from core.tools.toolbox import Toolbox


class TableSource(ToolSource, Protocol):
    @property
    def rows(self) -> Applier: ...


class Tooling:
    """`sources` by name; each is in `toolbox`, and what writes is among the `appliers`."""

    def __init__(
        self,
        settings: Settings,
        config: Config,
        home: Home,
        named: Named,
        http: HttpClient,
        client: Client,
    ) -> None:
        tables = _tables(settings, config, http)
        self._stackspot = StackSpotTooling(settings, config, named, http)
        self._code = _code(settings, home, client)
        found: Mapping[str, ToolSource | None] = {
            "nocodb": tables, "stackspot": self._stackspot.source, "code": self._code,
        }  # fmt: skip
        self.sources = {name: source for name, source in found.items() if source}
        self.toolbox = Toolbox([*self.sources.values()])
        appliers = (tables.rows if tables else None, self._stackspot.applier)
        self.appliers = [applier for applier in appliers if applier]

    @property
    def quick(self) -> QuickCommands:
        return self._stackspot.commands

    @property
    def runner(self) -> Runner | None:
        """Runs the code blocks that people type."""
        return self._code.runner if self._code else None

    def start(self) -> None:
        """Begin to prove what must be proved before it is offered."""
        if self._code:
            self._code.backend.start()

    async def close(self) -> None:
        await self.toolbox.close()
        await self._stackspot.close()


def _tables(settings: Settings, config: Config, http: HttpClient) -> TableSource | None:
    if settings.nocodb == "off":
        return None
    made: Callable[..., TableSource] = NocoSource if settings.nocodb == "rest" else BridgeSource
    url, token = plain(settings.nocodb_url), plain(settings.nocodb_token)
    base = settings.nocodb_base_id or ""
    return made(url, token, http, base_id=base, rules=config.table_rules)


def _code(settings: Settings, home: Home, client: Client) -> CodeSource | None:
    def pseudonym(name: str) -> str:
        return Options(secret=home.pseudonyms()).pseudonym(name)

    backend = choose_code(settings, home, client, pseudonym)
    return CodeSource(backend, settings.ponte_code_description or "") if backend else None
