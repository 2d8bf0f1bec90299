"""Webhooks: `[hooks.NAME]` of ponte.toml, and what answers their requests. No code of a webhook is
loaded before its first request.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field

from bot.config.toml_values import (
    Dollars,
    Duration,
    HookPlace,
    KeyPath,
    Many,
    Positive,
    StrictSection,
    VariableName,
    describe_missing_group,
)
from bot.features.base import Feature
from core.base.i18n import say
from core.chat.destinations import Destinations
from core.domain.ports import Inbox, Messenger
from core.integrations import FindHook, HttpHandler, OperatorConfig, SharedSettings, must_match
from core.money.allowances import Allowance
from core.money.usage import NANODOLLARS_PER_DOLLAR
from core.people.rules import StandIns
from core.webhooks.hook import (
    HOOK_PLATFORM,
    HOOK_RIGHTS,
    Hook,
    HookKind,
    WebhookOrigin,
    unfillable_parts,
)

if TYPE_CHECKING:
    from bot.ponte import Ponte
    from core.webhooks.intake import HookIntake

_UNSET = "{where}: {variable} isn't set, so the webhook {name} rejects every request. Set it."
_SHORT = "{where}: {variable} is too short. Use at least 16 characters (`openssl rand -hex 32`)."
_NOT_BASE64 = (
    "{where}: {variable} isn't valid base64. Copy the secret exactly as the sender shows it."
)
_PLATFORM_OFF = "{where}: {platform} is off, so the webhook {name} can't post"

_NEVER_FILLED = "{where}: no request can fill {part} in the template of the webhook {name}"
_REPEATS = (
    "{where}: requests to the webhook {name} have no signed time. Anyone who captures one can "
    "send it again after the time set in `repeats_after`."
)
_NO_REPEATS = (
    "{where}: `repeats_after` has no effect for the webhook {name}, because each delivery of its "
    "kind has an ID"
)

HookName = Annotated[
    str,
    must_match("[a-z0-9][a-z0-9-]{0,39}", "write up to 40 lowercase letters, digits and hyphens"),
]
"""Up to 40 lowercase letters, digits and hyphens."""
GroupName = Annotated[str, Field(alias="as")]
"""The name of a group in `[groups]`."""
HeaderName = Annotated[str, must_match("[A-Za-z][A-Za-z0-9-]{0,99}", "write the name of a header")]
"""The name of an HTTP header."""
FieldPath = Annotated[str, must_match(r"[^{}\n]{1,200}", "write a field's path, as in data.id")]
"""The path of a field in the body, as in `data.id`."""
Selection = Annotated[
    Mapping[FieldPath, tuple[str, ...]],
    BeforeValidator(
        lambda fields: (
            {name: [field] if isinstance(field, str) else field for name, field in fields.items()}
            if isinstance(fields, dict)
            else fields
        )
    ),
]
"""Fields of a body with their values, as in `{ x_github_event = "issues", action = ["opened"] }`.
"""


@dataclass(frozen=True, slots=True)
class HookConfig(StrictSection):
    """A webhook: another program sends `POST /hooks/NAME`, and Ponte posts in one place.

    Set either `template` or `instruction`.
    """

    kind: HookKind
    """how the sender signs: as GitHub, Stripe or Standard Webhooks; `secret`: a header with it"""
    secret: VariableName
    """the environment variable with the secret"""
    post_to: HookPlace
    """a channel, or a person who gets a direct message"""
    as_: GroupName
    """the group whose rights the webhook has"""
    template: str = ""
    """a post with fields of the body, as in `{data.rows.0.Name}`; no model is asked"""
    instruction: str = ""
    """what the model does with the body"""
    header: HeaderName = "X-Hook-Secret"
    """the header that holds the secret, with `kind = "secret"`"""
    id_field: FieldPath = "id"
    """the body's field with the delivery's ID, with `kind = "secret"`; without one, equal bodies
    are one delivery"""
    repeats_after: Duration = 0.0
    """when an equal body without an ID is another delivery, as in `"1h"`; default: never.
    Whoever recorded a request can send it again after that time"""
    only: Selection = field(default_factory=dict)
    """answer only deliveries with one of these values in each field; default: all"""
    per_minute: Positive = 60
    """deliveries a minute, over all processes; more are refused"""
    turns_per_day: Many = 500
    """answers of the model a day; further deliveries are only stored"""
    money_per_day: Dollars | None = None
    """US dollars a day for its answers; default: only `allowances` limit them"""

    def __post_init__(self) -> None:
        if bool(self.template.strip()) == bool(self.instruction.strip()):
            raise ValueError("write either `template` or `instruction`, not both")

    def allowance(self, name: str, location: str) -> Allowance:
        """Return what the webhook's turns may cost in a day. `location` is its line in the file."""
        money = self.money_per_day
        nanodollars = None if money is None else round(money * NANODOLLARS_PER_DOLLAR)
        who = frozenset({f"{HOOK_PLATFORM}:{name}"})
        return Allowance(
            "each person", money=nanodollars, turns=self.turns_per_day, who=who, source=location
        )

    def hook(self, name: str, variable: Callable[[str], str]) -> Hook:
        """`variable` returns the value of an environment variable."""
        return Hook(
            name,
            self.kind,
            variable(self.secret),
            self.post_to,
            self.template,
            self.instruction,
            self.header,
            self.id_field,
            self.per_minute,
            self.repeats_after,
            self.only,
        )


@dataclass(slots=True)
class ConfiguredHooks:
    """Finds what answers requests to the webhooks of ponte.toml, which a reload can change. The
    code that receives them (`_intake`) is loaded with the first request."""

    settings: SharedSettings
    config: OperatorConfig
    messengers: Mapping[str, Messenger]
    inbox: Inbox
    _intake: HookIntake | None = field(default=None, init=False)

    def find_handler(self, name: str) -> HttpHandler | None:
        """Return the function that answers a request to the webhook `name`, also if there is none:
        it then answers as to a wrong secret, so that nobody learns which names exist. None if
        ponte.toml has no webhook now."""
        if not self.config.section("hooks"):
            return None
        if self._intake is None:
            from core.webhooks.intake import HookIntake

            self._intake = HookIntake(self._find, Destinations(self.messengers), self.inbox)
        return partial(self._intake.receive, name)

    def _find(self, name: str) -> Hook | None:
        hook = self.config.section("hooks").get(name)
        return hook.hook(name, self.settings.variable) if hook else None


class WebhookFeature(Feature):
    """A webhook is the author of its deliveries. It has the rights of its group that are among
    HOOK_RIGHTS: it can neither decide nor run code or quick commands. No person pays for its turns,
    so each has an allowance of its own."""

    def stand_ins(self, config: Any) -> Mapping[str, StandIns]:
        groups = {name: hook.as_ for name, hook in config.hooks.items()}
        return {HOOK_PLATFORM: StandIns(HOOK_RIGHTS, groups)}

    def allowances(self, config: Any) -> Iterator[Allowance]:
        for name, hook in config.hooks.items():
            yield hook.allowance(name, config.location("hooks", name))

    def check_file(self, config: Any) -> Iterator[tuple[KeyPath, str]]:
        for name, hook in config.hooks.items():
            if hook.as_ not in config.groups:
                yield describe_missing_group(config.groups, ("hooks", name, "as"), hook.as_)

    def list_secrets(self, config: Any) -> Iterator[tuple[str, bool]]:
        for hook in config.hooks.values():
            yield hook.secret, hook.kind == "secret"

    def check_secrets(self, config: Any, settings: Any) -> Iterator[str]:
        if config.hooks:
            from core.webhooks.intake import secret_fault  # not loaded without a webhook
        for name, hook in config.hooks.items():
            secret = settings.variable(hook.secret)
            if secret and (fault := secret_fault(hook.kind, secret)):
                words = _NOT_BASE64 if fault == "encoding" else _SHORT
                yield say(words, where=config.location("hooks", name), variable=hook.secret)

    def find_faults(self, config: Any, settings: Any) -> Iterator[str]:
        # `settings` has an integration's own and the shared ones.
        used = {
            integration.name
            for integration in settings.faces
            if integration.is_used(settings, settings)
        }
        for name, own in config.hooks.items():
            hook, where = own.hook(name, settings.variable), config.location("hooks", name)
            if not hook.secret:
                yield say(_UNSET, where=where, variable=own.secret, name=name)
            if (platform := hook.post_to.partition(":")[0]) not in used:
                yield say(_PLATFORM_OFF, where=where, platform=platform, name=name)
            for part in unfillable_parts(hook):
                yield say(_NEVER_FILLED, where=where, part=part, name=name)
            if hook.repeats_after:
                # Only the kind "secret" uses that time: deliveries of the others have an id.
                words = _REPEATS if hook.kind == "secret" else _NO_REPEATS
                yield say(words, where=where, name=name)

    def find_hook(self, ponte: Ponte) -> FindHook:
        conversations, platforms = ponte.engine.conversations, ponte.engine.platforms
        hooks = ConfiguredHooks(
            ponte.settings, ponte.live, platforms.messengers, conversations.inbox
        )
        return hooks.find_handler


FEATURE = WebhookFeature(
    sections={"hooks": Mapping[HookName, HookConfig]},
    origins={"webhook": lambda engine: WebhookOrigin(engine.people)},
    audit_sentences={"webhook-received": "An event arrived from {asker}"},
)
