"""The sections `[hooks.NAME]` of ponte.toml, and the webhooks that they configure."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import AfterValidator, ConfigDict, Field
from pydantic_core.core_schema import ValidationInfo

from bot.config.toml_values import STRICT, Dollars, Duration, Many, Positive
from bot.integrations import FACES, Faces
from core.integrations.integration import ChatIntegration
from core.integrations.settings import must_match
from core.money.allowances import Allowance
from core.money.usage import NANODOLLARS_PER_DOLLAR
from core.webhooks.hook import HOOK_PLATFORM, Hook, HookKind


def _check_hook_place(value: str, info: ValidationInfo) -> str:
    faces: Faces = (info.context or {}).get("faces", FACES)
    chats = [face.name for face in faces if isinstance(face, ChatIntegration)]
    if not re.fullmatch(rf"({'|'.join(chats)})(:[A-Za-z0-9]+){{1,2}}", value):
        raise ValueError(f"write {chats[0]}:WORKSPACE:CHANNEL, or {chats[0]}:ID for a person")
    return value


VariableName = Annotated[
    str, must_match("[A-Z][A-Z0-9_]{2,99}", "the name of an environment variable, as HOOK_SECRET")
]
"""The name of an environment variable, as in `HOOK_SECRET`."""
HookName = Annotated[
    str, must_match("[a-z0-9][a-z0-9-]{0,39}", "up to 40 lowercase letters, digits and hyphens")
]
"""Up to 40 lowercase letters, digits and hyphens."""
HookPlace = Annotated[str, AfterValidator(_check_hook_place)]
"""A channel (`slack:T1:C1`) or a person (`slack:U1`) of a chat platform."""
GroupName = Annotated[str, Field(alias="as")]
"""The name of a group in `[groups]`."""
HeaderName = Annotated[str, must_match("[A-Za-z][A-Za-z0-9-]{0,99}", "the name of a header")]
"""The name of an HTTP header."""
FieldPath = Annotated[str, must_match(r"[^{}\n]{1,200}", "the path of a field, as in data.id")]
"""The path of a field in the body, as in `data.id`."""


@dataclass(frozen=True, slots=True)
class HookConfig:
    """A webhook: another program sends `POST /hooks/NAME`, and Ponte posts in one place.

    Either `template` or `instruction` is set.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    kind: HookKind
    """how the sender proves who it is: `github`, `stripe`, `standard` (Standard Webhooks) or
    `secret` (a header with the secret)"""
    secret: VariableName
    """the name of the environment variable that holds the secret"""
    post_to: HookPlace
    """a channel (`slack:T1:C1`), or a person who gets a direct message (`slack:U1`)"""
    as_: GroupName
    """the group whose rights the webhook has"""
    template: str = ""
    """a post with fields of the body, as in `{data.rows.0.Name}`; no model is asked"""
    instruction: str = ""
    """what the model does with the body"""
    header: HeaderName = "X-Hook-Secret"
    """the header that holds the secret, with `kind = "secret"`"""
    id_field: FieldPath = "id"
    """the field of the body with the delivery's ID, with `kind = "secret"`; without one,
    equal bodies are one delivery"""
    repeats_after: Duration = 0.0
    """when an equal body without an ID is another delivery, as in `"1h"`; left out: never.
    Somebody who recorded a request can then send it again"""
    per_minute: Positive = 60
    """deliveries a minute, over all processes; more are refused"""
    turns_per_day: Many = 500
    """answers of the model a day; further deliveries are stored and not answered"""
    money_per_day: Dollars | None = None
    """US dollars a day for its answers; left out: only `allowances` limit them"""

    def __post_init__(self) -> None:
        if bool(self.template.strip()) == bool(self.instruction.strip()):
            raise ValueError("write template or instruction, and not both")

    def allowance(self, name: str, location: str) -> Allowance:
        """Return what the webhook of this name may spend. `location` is its place in the file."""
        money = self.money_per_day
        nanodollars = None if money is None else round(money * NANODOLLARS_PER_DOLLAR)
        who = frozenset({f"{HOOK_PLATFORM}:{name}"})
        return Allowance(
            "each person", money=nanodollars, turns=self.turns_per_day, who=who, source=location
        )

    def hook(self, name: str, variable: Callable[[str], str]) -> Hook:
        """Return the webhook. `variable` returns the value of an environment variable."""
        platform, *place = self.post_to.split(":")
        workspace, channel = place if len(place) == 2 else ("", "")
        person = "" if channel else place[0]
        return Hook(
            name, self.kind, variable(self.secret), platform, workspace, channel, person,
            self.template, self.instruction, self.header, self.id_field, self.per_minute,
            self.repeats_after,
        )  # fmt: skip
