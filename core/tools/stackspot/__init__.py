"""StackSpot AI: quick commands and agents. The class `StackSpot` can also be used alone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from pydantic import SecretStr

from core.base.errors import PonteError
from core.base.http import HttpClient
from core.base.i18n import say
from core.base.proxies import Proxies
from core.base.value_formats import format_value
from core.changes.kinds import ExternalRun
from core.commands.quick_commands import COMMAND_TOOL
from core.domain.changes import Change, Draft, FormField
from core.domain.ports import QuickCommands
from core.domain.records import Health
from core.integrations import (
    CHECK_TIMEOUT_SECONDS,
    IntegrationDependencies,
    OperatorConfig,
    RuleNames,
    SettingsPart,
    SharedSettings,
    ToolBundle,
    ToolIntegration,
    Url,
    plain_value,
    setting,
)
from core.money.usage import PaidRun
from core.tools.stackspot.api import Clock, StackSpotError, StackSpotUrls, StillRunning
from core.tools.stackspot.client import NO_WAY_BACK, Result, StackSpot

__all__ = ["STACKSPOT", "Proxies", "Result", "StackSpot", "StackSpotError", "StillRunning"]


class StackSpotSettings(SettingsPart):
    """The settings of StackSpot, read from the environment."""

    stackspot_client_id: str | None = setting(None, "StackSpot's client ID")
    stackspot_client_secret: SecretStr | None = setting(None, "StackSpot's client key")
    stackspot_realm: str = setting(
        "stackspot-freemium",
        "realm of the StackSpot account",
        "write the realm's name",
        pattern=r"^[\w.-]+$",
    )
    stackspot_auth_url: Url = setting(
        "https://idm.stackspot.com", "URL of StackSpot's sign-in service"
    )
    stackspot_api_url: Url = setting(
        "https://genai-code-buddy-api.stackspot.com", "URL of StackSpot's quick commands"
    )
    stackspot_agent_url: Url = setting(
        "https://genai-inference-app.stackspot.com", "URL of StackSpot's agents"
    )
    stackspot_files_url: Url = setting(
        "https://data-integration-api.stackspot.com", "URL of StackSpot's file uploads"
    )
    stackspot_deadline: float = setting(
        300.0,
        "maximum seconds to wait for a run at StackSpot",
        "write a number of seconds, 10 to 3600",
        ge=10,
        le=3600,
    )

    @property
    def stackspot(self) -> bool:
        return bool(self.stackspot_client_id and self.stackspot_client_secret)

    def client(self, http: HttpClient, clock: Clock | None = None) -> StackSpot:
        """Return a client of StackSpot with these settings. It shares `http`, which the caller
        closes."""
        # "" is for the type checker: without an ID, StackSpot is not used.
        return StackSpot(
            self.stackspot_client_id or "",
            plain_value(self.stackspot_client_secret),
            realm=self.stackspot_realm,
            deadline=self.stackspot_deadline,
            http=http,
            clock=clock,
            urls=StackSpotUrls(
                self.stackspot_auth_url, self.stackspot_api_url, self.stackspot_agent_url
            ),
        )


class StackSpotIntegration(ToolIntegration[StackSpotSettings]):
    """Builds the tools and the typed commands that run at StackSpot, and checks them for `ponte
    doctor`."""

    name = "stackspot"
    settings = StackSpotSettings
    sent_to: ClassVar = {
        f"stackspot_{service}_url": ("stackspot_client_secret",)
        for service in ("auth", "api", "agent", "files")
    }

    def summary(self, settings: StackSpotSettings, shared: SharedSettings) -> Health:
        pair = (settings.stackspot_client_id, settings.stackspot_client_secret)
        if all(pair):
            return Health("stackspot", "on", say("realm {realm}", realm=settings.stackspot_realm))
        missing = "STACKSPOT_CLIENT_SECRET" if pair[0] else "STACKSPOT_CLIENT_ID"
        if any(pair):
            sentence = say("incomplete: {name} is missing", name=missing)
            return Health("stackspot", "failing", sentence)
        return Health("stackspot", "off", "set STACKSPOT_CLIENT_ID and STACKSPOT_CLIENT_SECRET")

    def build(
        self,
        deps: IntegrationDependencies[StackSpotSettings],
        quick: QuickCommands,
        clock: Clock | None = None,
    ) -> ToolBundle:
        """`quick` only knows the quick commands of ponte.toml. `connect` gives it the function that
        runs one that a person types."""
        # Loaded only if StackSpot is connected.
        from core.tools.stackspot.source import StackSpotCommands, StackSpotRuns, StackSpotSource

        client = deps.own.client(deps.http, clock)
        quick.connect(StackSpotCommands(client).run)
        source = StackSpotSource(client, quick, deps.config)
        return ToolBundle(source, [StackSpotRuns(client, quick)], close=client.close)

    def rule_names(self, settings: StackSpotSettings, config: OperatorConfig) -> RuleNames:
        tools = (COMMAND_TOOL, "stackspot_agent")
        return {"tool": tools, "command": config.quick_commands, "agent": config.known_agents}

    async def check(self, deps: IntegrationDependencies[StackSpotSettings]) -> Sequence[Health]:
        """`ponte doctor` requests a token only: each run of a command costs money. Raise PonteError
        if StackSpot gives none."""
        client, config = deps.own.client(deps.http), deps.config
        try:
            async with asyncio.timeout(CHECK_TIMEOUT_SECONDS):
                await client.check()
        except TimeoutError:
            raise PonteError(
                "StackSpot didn't return a token within {s:.0f} s", s=CHECK_TIMEOUT_SECONDS
            ) from None
        finally:
            # Cancels a request for a token that is under way. The caller closes `deps.http`.
            await client.close()
        sentence = say(
            "it returns a token for the realm {realm}; quick commands in ponte.toml: {count}, "
            "agents: {total}",
            realm=deps.own.stackspot_realm,
            count=len(config.quick_commands),
            total=len(config.known_agents),
        )
        return [Health("stackspot", "on", sentence)]


STACKSPOT = StackSpotIntegration()


_OUTCOMES = {
    "applying": "In progress.",
    "done": "Done.",
    "failed": "No result. {words}",
    "partial": "The result is unknown. Check the data before you ask again. {words}",
}
_FORM_TYPES: Mapping[str, Any] = {"number": "number", "boolean": "checkbox", "choice": "select"}


class QuickCommandRun(ExternalRun):
    """A change that runs a quick command once. The command's input is its only row."""

    title = "Run {title}"
    outcomes = _OUTCOMES
    no_undo = NO_WAY_BACK
    has_end = True
    noun = "quick command"

    def rights_to_propose(self, draft: Draft) -> Sequence[tuple[str, ...]]:
        spends = draft.target.get("effect") == "spend"
        return [("spend",) if spends else ("propose",), ("command", draft.view.slug)]

    def tool_names(self, draft: Draft) -> tuple[str, ...]:
        return (COMMAND_TOOL,)

    def paid_run(self, draft: Draft) -> PaidRun | None:
        return PaidRun("quick_commands", draft.view.slug)

    def form_fields(self, change: Change) -> Sequence[FormField]:
        """Return an input for each one that the command declared when it was proposed; without any,
        one for each value that was given. Return () for a draft whose values were erased, or that
        stores no inputs."""
        # A run has one step, whose `after` has the inputs by name. `inputs` is {} for a command
        # that declares none, None for a draft that stores none.
        given, inputs = change.steps[0].write.after or {}, change.draft.target.get("inputs")
        if inputs is None or not given:
            return ()
        declared = inputs or {name: ["text", []] for name in given}
        return [
            FormField(
                name,
                name,
                _FORM_TYPES.get(type, "lines"),  # a text of several lines
                _type_input(given.get(name)),  # as a person would type it
                tuple(choices),
            )
            for name, (type, choices) in declared.items()
        ]


def _type_input(value: Any) -> str:
    if isinstance(value, bool | list | dict):
        return json.dumps(value, ensure_ascii=False)
    return "" if value is None else format_value(value, "")


QUICK_COMMAND_RUN = QuickCommandRun()
