"""NocoDB: over its REST API (v3 for rows and schema, v2 where there is no v3), or a bridge's."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, SecretStr

from core.domain.errors import PonteError
from core.domain.records import Health
from core.integrations.integration import (
    CHECK_TIMEOUT_SECONDS,
    IntegrationDependencies,
    OperatorConfig,
    QuickRegistry,
    RuleNames,
    SharedSettings,
    ToolBundle,
    ToolIntegration,
)
from core.integrations.settings import SettingsPart, add_scheme, parse_url, plain_value, setting
from core.text.i18n import say

if TYPE_CHECKING:
    from core.tools.nocodb.api import Named


def _origin_or_bridge(value: SecretStr) -> SecretStr:
    """What stands in a browser's address bar is NocoDB's own: `/dashboard/#/nc/…`, `/#/…`."""
    value = SecretStr(add_scheme(plain_value(value)))
    parts = parse_url(plain_value(value), "https", "http")
    path = parts.path.rstrip("/")
    if parts.fragment.startswith("/") or path == "/dashboard":
        return SecretStr(f"{parts.scheme}://{parts.netloc}")
    if path and not path.endswith("/execute"):
        raise ValueError("write an origin (https://host), or a bridge's URL ending in /execute")
    return value


class NocodbSettings(SettingsPart):
    nocodb_url: Annotated[SecretStr, AfterValidator(_origin_or_bridge)] | None = setting(
        None, "NocoDB's origin, or the URL of a bridge, which ends in /execute"
    )
    nocodb_token: SecretStr | None = setting(None, "NocoDB's API token (a bridge: its bearer)")
    nocodb_base_id: str | None = setting(None, "the base; needed where the token sees several")

    @property
    def nocodb(self) -> Literal["off", "rest", "bridge"]:
        """How NocoDB is spoken with: a bridge may ask for no token, NocoDB itself does."""
        if urlsplit(plain_value(self.nocodb_url)).path.rstrip("/"):
            return "bridge"
        return "rest" if self.nocodb_url and self.nocodb_token else "off"


_REST_TOOLS = frozenset({
    "nocodb_tables", "nocodb_query", "nocodb_summarize", "nocodb_get",
    "nocodb_create", "nocodb_update", "nocodb_delete", "nocodb_link",
})  # fmt: skip
_BRIDGE_TOOLS = frozenset({"nocodb_execute"})
_NOT_CHECKED = (
    "it does not list its tables, so the names of tables in {path} are not checked: a misspelt one "
    "protects nothing"
)


class NocoDB(ToolIntegration[NocodbSettings]):
    name = "nocodb"
    settings = NocodbSettings
    sent_to: ClassVar = {"nocodb_url": ("nocodb_token",)}

    def summary(self, own: NocodbSettings, shared: SharedSettings) -> Health:
        if own.nocodb == "bridge":
            return Health("nocodb", "on", "over the bridge")
        if own.nocodb == "rest":
            return Health("nocodb", "on", "over its REST API")
        if own.nocodb_url:
            return Health("nocodb", "off", "NOCODB_TOKEN is missing; set it too")
        return Health("nocodb", "off", "set NOCODB_URL")

    def build(
        self, deps: IntegrationDependencies[NocodbSettings], quick: QuickRegistry
    ) -> ToolBundle | None:
        from core.tools.nocodb.bridge import BridgeSource
        from core.tools.nocodb.source import NocoSource

        own = deps.own
        if own.nocodb == "off":
            return None
        made = NocoSource if own.nocodb == "rest" else BridgeSource
        source = made(
            plain_value(own.nocodb_url), plain_value(own.nocodb_token), deps.http,
            base_id=own.nocodb_base_id or "", rules=lambda: deps.config.table_rules,
        )  # fmt: skip
        return ToolBundle(source, [source.rows])

    def rule_names(self, own: NocodbSettings, config: OperatorConfig) -> RuleNames:
        """Where NocoDB is off: those of both ways to speak with it."""
        match own.nocodb:
            case "rest":
                return {"tool": _REST_TOOLS}
            case "bridge":
                return {"tool": _BRIDGE_TOOLS}
            case "off":
                return {"tool": _REST_TOOLS | _BRIDGE_TOOLS}

    async def check(self, deps: IntegrationDependencies[NocodbSettings]) -> Sequence[Health]:
        from core.tools.nocodb.api import NocoApi
        from core.tools.nocodb.bridge import list_table_names
        from core.tools.nocodb.bridge_api import BridgeApi
        from core.tools.nocodb.schema import Schemas, names_of
        from core.tools.nocodb.source import look

        own = deps.own
        url, token = plain_value(own.nocodb_url), plain_value(own.nocodb_token)
        if own.nocodb == "bridge":
            bridge = BridgeApi(url, token, deps.http, pauses=())
            tools = await bridge.tools(timeout=CHECK_TIMEOUT_SECONDS)
            if tools is None:
                await bridge.alive(timeout=CHECK_TIMEOUT_SECONDS)
                words = say("the bridge answers; it does not say which tools it has")
            else:
                words = say("the bridge answers; tools: {count}", count=len(tools))
            rules, base = deps.config.table_rules, own.nocodb_base_id or ""
            if rules.names_tables:
                tables = await list_table_names(bridge, base, timeout=CHECK_TIMEOUT_SECONDS)
                if tables is None:
                    words += "; " + say(_NOT_CHECKED, path=deps.shared.ponte_config.name)
                else:
                    _check_names(deps, rules.find_unknown(names_of(tables)), tables)
            return [Health("nocodb", "on", words)]
        api = NocoApi(url, token, deps.http, pauses=(), timeout=CHECK_TIMEOUT_SECONDS)
        known = await look(api, Schemas(api, own.nocodb_base_id or ""))
        seen = known.sight(deps.config.table_rules)
        _check_names(deps, seen.unknown, known.every)
        words = say("NocoDB answers; {sight}", sight=seen.words())
        if seen.only_read:
            words += "; " + say("it can change nothing")
        return [Health("nocodb", "on", words)]


def _check_names(
    deps: IntegrationDependencies[NocodbSettings], unknown: Sequence[str], tables: Sequence[Named]
) -> None:
    """Raise PonteError where rules are for tables that do not exist."""
    if unknown:
        raise PonteError(
            "{path} has rules for tables that are not there, which protect nothing: {names}",
            path=deps.shared.ponte_config.name,
            names=", ".join(_with_nearest(name, tables) for name in unknown),
        )  # fmt: skip


def _with_nearest(name: str, tables: Sequence[Named]) -> str:
    """`name`, with the title of the table that is most like it."""
    near = difflib.get_close_matches(name, [table.title for table in tables], 1)
    return say("{name} (did you mean {near}?)", name=name, near=near[0]) if near else name


NOCODB = NocoDB()
