"""Lets people of a sign-in provider in again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from bot.operation_results import Json
from bot.operations import PersonName, ShellArgument, operation

if TYPE_CHECKING:
    from bot.ponte import Ponte
    from core.domain.messages import Person


@operation(
    "people readmit", right="own", admin_page=True, example="slack:T1:U1", shown_by="people list"
)
async def readmit_person(ponte: Ponte, name: PersonName, actor: Person) -> Json:
    """Let a removed person sign in with Slack or a company account again."""
    await ponte.accounts.admit_sign_in(name, actor)
    return {"name": name, "person": name}


@operation("people move-provider", right="own", example="acme", shown_by="people list")
async def move_provider(
    ponte: Ponte,
    name: Annotated[str, ShellArgument("The NAME of `[sign_in.NAME]` in ponte.toml.")],
    actor: Person,
) -> Json:
    """Accept the new issuer of a sign-in provider. Whoever has the same ID there is the same
    person."""
    from core.base.errors import BadInput, NotFound

    if words := ponte.live.current.describe_newer_file():
        raise BadInput(words)
    if (provider := ponte.live.section("sign_in").get(name)) is None:
        raise NotFound("Sign-in {name} not found in ponte.toml. Check the name.", name=name)
    await ponte.accounts.move_provider(name, provider.issuer, actor)
    return {"name": name, "issuer": provider.issuer}
