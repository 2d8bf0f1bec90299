"""The commands that copy the data of a Ponte, with their help."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from bot.cli.command_line import cli

if TYPE_CHECKING:
    from bot.home import Start


@cli.command(epilog="Example: DATABASE_URL=postgresql://db/ponte ponte migrate")
def migrate() -> int:
    """Copy this data folder into the database that DATABASE_URL points to."""
    import asyncio

    from bot.app import start  # slow to load
    from bot.features.backup.migrate import migrate as move
    from core.base import errors

    inputs = start()
    if inputs.settings.database_url is None:
        raise errors.SettingsError(
            "Set DATABASE_URL to the database that will receive this data folder."
        )
    return asyncio.run(move(inputs.settings, inputs.home))


@cli.command(epilog="Example: ponte backup /backups --keep 7")
def backup(
    file: Annotated[
        str, typer.Argument(help="Where to write the backup: a file, a folder, or - for stdout.")
    ],
    keep: Annotated[
        int, typer.Option("--keep", min=0, help="Keep only the newest backups in that folder.")
    ] = 0,  # 0: keep all
    secrets: Annotated[
        bool, typer.Option("--secrets", help="Include the setup page's settings.env.")
    ] = False,
) -> int:
    """Back up this data folder to a file, even while Ponte is running."""
    from bot.features.backup.backup import backup as write_backup  # slow to load

    return write_backup(_start_without_postgres(), file, keep, with_secrets=secrets)


@cli.command(epilog="Example: ponte restore ponte-2026-11-01.tar.gz")
def restore(
    file: Annotated[
        str, typer.Argument(help=("The file that `ponte backup` wrote, or - for stdin."))
    ],
    replace: Annotated[
        bool, typer.Option("--replace", help="Move the current data aside and replace it.")
    ] = False,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Continue unfinished work. Use this only if Ponte hasn't run since the backup.",
        ),
    ] = False,
) -> int:
    """Restore a backup into this data folder. Ponte must not be running."""
    from bot.features.backup.backup import restore as restore_backup  # slow to load

    return restore_backup(_start_without_postgres(), file, replace=replace, resume=resume)


def _start_without_postgres() -> Start:
    """Read the settings for a command that works only on a database in the data folder. Raises
    StoredInPostgres if DATABASE_URL is set."""
    from bot.app import start
    from bot.features.backup.backup import StoredInPostgres

    inputs = start(quiet=True)
    if inputs.settings.database_url is not None:
        raise StoredInPostgres
    return inputs
