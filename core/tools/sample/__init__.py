"""The sample base: tables of an invented shop, for trying Ponte before NocoDB is connected.

It is offered only while neither NocoDB nor Postgres is configured: to the owner while no chat
platform is configured either, and with PONTE_SAMPLE to the people whom the owner invited.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from core.base.i18n import plural, say
from core.domain.ports import QuickCommands
from core.domain.records import Health
from core.domain.rights import PlaceRights
from core.integrations import (
    IntegrationDependencies,
    OperatorConfig,
    RuleNames,
    SharedSettings,
    ToolBundle,
    ToolIntegration,
)
from core.tools.nocodb import REST_TOOLS, NocodbSettings, check_names

if TYPE_CHECKING:
    from core.tools.sample.base import SampleApi

SAMPLE_FILE = "sample.db"
SAMPLE_SENTENCE = "sample tables of a small shop; set NOCODB_URL to use your own"


def open_sample_base(home: Path, zone: str, language: str = "en") -> SampleApi:
    """The dates count back from today in the time zone `zone`. A file that does not exist yet gets
    its content in `language`."""
    from core.tools.sample.base import SampleApi
    from core.tools.sample.shop import BASE_TITLE, SHOP_TABLES, make_shop

    file, make_content = home / SAMPLE_FILE, lambda: make_shop(zone)
    return SampleApi(file, BASE_TITLE, SHOP_TABLES, make_content, language)


def may_use_sample(rights: PlaceRights, *, for_invited: bool) -> bool:
    return rights.is_owner or (for_invited and rights.is_invited)


class SampleIntegration(ToolIntegration[NocodbSettings]):
    """Builds the tools over the sample tables and checks them for `ponte doctor`. Its settings are
    those of NocoDB."""

    name = "sample"
    settings = NocodbSettings

    def is_used(self, settings: NocodbSettings, shared: SharedSettings) -> bool:
        """Return True if neither real tables nor several processes are configured, and either no
        chat platform is connected or PONTE_SAMPLE is on."""
        others = (
            settings.nocodb_url,
            settings.nocodb_token,
            settings.nocodb_base_id,
            shared.database_url,
        )
        if any(others) or settings.ponte_sample == "off":
            return False
        return shared.is_personal or settings.ponte_sample == "on"

    def summary(self, settings: NocodbSettings, shared: SharedSettings) -> Health | None:
        """Return the line about the sample base on the start screen; None if it is off. If it is
        off only because a chat platform is connected, the line says how to turn it on."""
        if not self.is_used(settings, shared):
            # Would PONTE_SAMPLE=on suffice?
            on = settings.model_copy(update={"ponte_sample": "on"})
            is_unset = settings.ponte_sample != "off" and self.is_used(on, shared)
            return Health(self.name, "off", "set PONTE_SAMPLE=on") if is_unset else None
        return Health(self.name, "on", SAMPLE_SENTENCE)

    def build(
        self, deps: IntegrationDependencies[NocodbSettings], quick: QuickCommands
    ) -> ToolBundle:
        """The file with the tables is opened when it is first used."""
        # Loaded only with sample tables. `quick` is for integrations that provide commands.
        from core.tools.sample.base import SampleSource
        from core.tools.sample.shop import BASE_TITLE

        # PONTE_SAMPLE=on: people that the owner invited may use the tables, too. If it is not set,
        # only the owner may; with "off", this is not called.
        admits = partial(may_use_sample, for_invited=deps.own.ponte_sample == "on")
        source = SampleSource(_open(deps), BASE_TITLE, deps.config)
        return ToolBundle(source, [source.rows], titles=source.titles, tables=source, admits=admits)

    def rule_names(self, settings: NocodbSettings, config: OperatorConfig) -> RuleNames:
        return {"tool": REST_TOOLS if settings.nocodb == "off" else ()}

    async def check(self, deps: IntegrationDependencies[NocodbSettings]) -> Sequence[Health]:
        """The file is not created. Raise NocoError if it cannot be used, PonteError if a rule names
        a table that does not exist."""
        # Loaded only with sample tables.
        from core.tools.nocodb.schema import ids_and_titles

        base = _open(deps)
        rules, tables = deps.config.table_rules, base.name_tables()
        unknown = rules.find_unknown(ids_and_titles(tables))
        check_names(deps.shared.ponte_config.name, unknown, tables)
        count = await base.count_all_rows()
        if not count:
            return [Health(self.name, "on", say("sample tables; created when they're first used"))]
        sentence = plural("sample tables: {count} row", "sample tables: {count} rows", count)
        return [Health(self.name, "on", sentence)]


def _open(deps: IntegrationDependencies[NocodbSettings]) -> SampleApi:
    shared = deps.shared
    return open_sample_base(deps.home.path, shared.ponte_timezone, shared.ponte_locale)


SAMPLE_INTEGRATION = SampleIntegration()
