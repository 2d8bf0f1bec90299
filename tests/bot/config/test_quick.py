"""Which quick commands there are, for whom and where, as `ponte.toml` says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from bot.config.ponte_toml import Config, LiveConfig, QuickCommandConfig, QuickCommandInput
from bot.config.quick_registry import QuickCommandRegistry
from core.base.errors import NotAllowed, ToolError, UnknownCommand
from core.base.i18n import use_locale
from core.domain.messages import Address, Person
from core.domain.records import Outcome, QuickCommand, ToolContext
from tests.core.tools.scene import ctx
from tests.fakes.choices import allow_list

ANA, BOB = Person("slack", "U1", "T1", "Ana"), Person("slack", "U2", "T1", "Bob")
WEB = Person("web", "owner")
C1, C2 = Address("slack", "C1", "T1"), Address("slack", "C2", "T1")
COMMANDS = {
    "resumo": QuickCommandConfig(
        title={"en": "Summary", "pt-BR": "Resumo"},
        description={"en": "What happened"},
        inputs={
            "day": QuickCommandInput(required=True),
            "tone": QuickCommandInput("choice", choices=("dry", "warm")),
        },
    ),
    "payroll": QuickCommandConfig(
        title={"en": "Payroll"}, where=("slack:T1:C1", "web"), effect="write"
    ),
    "secret": QuickCommandConfig(title={"fr": "Secret"}, by=("slack:U1", "slack:SGROUP")),
}


async def groups(person: Person, max_age: float) -> frozenset[str]:
    return frozenset({"SGROUP"}) if person.id == "U9" else frozenset()


async def unknown_groups(person: Person, max_age: float) -> None:
    """As Slack while it does not respond."""


def registry(**commands: QuickCommandConfig) -> QuickCommandRegistry:
    policy = allow_list(memberships={"slack": groups})
    return QuickCommandRegistry(
        LiveConfig(Config(quick_commands=commands or COMMANDS)), policy.is_named
    )


async def slugs(person: Person, address: Address) -> list[str]:
    return [one.slug for one in await registry().list_commands(person, address)]


async def test_what_a_person_may_run_here() -> None:
    assert await slugs(ANA, C1) == ["resumo", "payroll", "secret"]
    assert await slugs(ANA, C2) == ["resumo", "secret"]
    assert await slugs(BOB, C1) == ["resumo", "payroll"]
    assert await slugs(Person("slack", "U9", "T1"), C2) == ["resumo", "secret"]
    assert await slugs(WEB, Address("web", "main")) == ["resumo", "payroll"]


async def test_a_command_of_a_group_is_not_listed_while_the_group_is_unknown() -> None:
    policy = allow_list(memberships={"slack": unknown_groups})
    knows = QuickCommandRegistry(LiveConfig(Config(quick_commands=COMMANDS)), policy.is_named)
    assert [one.slug for one in await knows.list_commands(BOB, C2)] == ["resumo"]


async def test_what_surfaces_show_of_it() -> None:
    position = await registry().find(ANA, C1, "resumo")
    assert (position.title, position.description) == ("Summary", "What happened")
    with use_locale("pt-BR"):
        assert position.title_and_description() == ("Resumo", "What happened")
    with use_locale("fr"):
        assert position.title_and_description() == ("Summary", "What happened")
    assert position.inputs["tone"]["choices"] == ("dry", "warm")
    assert (await registry().find(ANA, C1, "payroll")).effect == "write"
    assert (await registry().find(ANA, C1, "secret")).title == "Secret"


async def test_one_without_a_title_is_called_by_its_slug() -> None:
    only = registry(bare=QuickCommandConfig(description={"pt-BR": "Sem título"}))
    (command,) = await only.list_commands(ANA, C1)
    with use_locale("en"):
        assert command.title_and_description() == ("bare", "Sem título")
    with use_locale("pt-BR"):
        assert command.title_and_description() == ("bare", "Sem título")


@pytest.mark.parametrize("slug", ["../../oidc/x", "Sum Up", "", "a" * 101, "x\n"])
async def test_a_slug_that_cannot_exist_is_refused(slug: str) -> None:
    for knows in (QuickCommandRegistry(LiveConfig(Config()), allow_list().is_named), registry()):
        with pytest.raises(UnknownCommand, match="isn't a valid quick command name"):
            await knows.find(ANA, C1, slug)


async def test_the_nearest_slug_is_told() -> None:
    with pytest.raises(UnknownCommand, match="Did you mean `resumo`"):
        await registry().find(ANA, C1, "resume")
    with pytest.raises(UnknownCommand, match="You can run these here: resumo, secret"):
        await registry().find(ANA, C2, "translate")
    only = registry(secret=COMMANDS["secret"])
    with pytest.raises(UnknownCommand, match="You can't run any here"):
        await only.find(BOB, C1, "secrets")


async def test_a_command_is_refused_outside_its_place_and_to_other_people() -> None:
    with pytest.raises(NotAllowed, match="`payroll` can't be run in this channel"):
        await registry().find(ANA, C2, "payroll")
    with pytest.raises(NotAllowed, match="have permission to run `secret`"):
        await registry().find(BOB, C1, "secret")


def test_a_model_knows_of_what_is_everybodys() -> None:
    assert [command.slug for command in registry().everybodys] == ["resumo"]


async def test_it_is_run_where_it_is_known() -> None:
    async def run(ctx: ToolContext, slug: str, input: str | Mapping[str, Any]) -> Outcome:
        return Outcome("ok", f"{slug}: {input}")

    knows = QuickCommandRegistry(
        LiveConfig(Config(quick_commands=COMMANDS)), allow_list().is_named, run
    )
    assert await knows.run(ctx(), "resumo", {"day": "May"}) == Outcome(
        "ok", "resumo: {'day': 'May'}"
    )


async def test_without_a_registry_any_slug_may_run_but_nothing_is_there_to_run_it() -> None:
    empty = QuickCommandRegistry(LiveConfig(Config()), allow_list().is_named)
    position = await empty.find(ANA, C1, "anything")
    assert position == QuickCommand("anything", "anything", effect="spend")
    assert await empty.list_commands(ANA, C1) == []
    with pytest.raises(ToolError, match="Quick commands aren't set up") as error:
        await empty.run(ctx(), "anything", "")
    assert error.value.code == "not_configured"
