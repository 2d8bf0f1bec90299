"""Restores the sample tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from bot.operation_results import Json
from bot.operations import ShellOption, add_command_group, operation

if TYPE_CHECKING:
    from bot.ponte import Ponte
    from core.domain.messages import Person

add_command_group("sample", "Restore the sample tables.", after="hooks")


@operation(
    "sample reset",
    example="--yes",
    shown_by="audit --event sample-reset",
    confirm="Restore the sample tables? All changes to them will be lost.",
    sentence="Restored the sample tables. Earlier changes to them can no longer be approved or "
    "undone.",
)
async def reset_sample(
    ponte: Ponte,
    actor: Person,
    language: Annotated[
        Literal["", "en", "pt-BR", "fr"], ShellOption("Language of the tables: en, pt-BR or fr.")
    ] = "",
) -> Json:
    """Restore the sample tables to their original rows. This can't be undone."""
    # `withdrawn` counts the open requests to change the tables, which end. A language "" keeps the
    # present one.
    import asyncio

    from core.base.errors import PonteError
    from core.domain.changes import SAMPLE_APPLIER
    from core.tools.sample import SAMPLE_INTEGRATION, open_sample_base

    settings = ponte.settings  # the integration's own and those that all integrations share
    if not SAMPLE_INTEGRATION.is_used(settings, settings):
        raise PonteError(
            "Ponte has no sample tables, because NocoDB or Postgres is configured, or a chat "
            "platform is configured without PONTE_SAMPLE=on."
        )
    base = open_sample_base(ponte.home.path, settings.ponte_timezone, settings.ponte_locale)
    await asyncio.to_thread(base.reset, language)
    withdrawn = await ponte.engine.changes.proposals.withdraw_drafts_of(SAMPLE_APPLIER)
    ponte.engine.people.audit.note("sample-reset", actor)
    return {"withdrawn": withdrawn}
