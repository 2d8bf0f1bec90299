"""The command `ponte`: what can be typed, and the exit codes.

0: done. 1: a worded failure. 2: wrong usage or settings. This module imports nothing heavy, so
that `ponte version` and `--help` answer at once; each command imports what it needs.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from typer.exceptions import TyperException

from bot import __version__

cli = typer.Typer(
    name="ponte",
    help="Ponte: a chat bot that bridges people to a model and the systems that do the work.",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
threads = typer.Typer(help="Conversations that are kept.", no_args_is_help=True)
changes = typer.Typer(help="What was changed in your systems.", no_args_is_help=True)
cli.add_typer(threads, name="threads")
cli.add_typer(changes, name="changes")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@cli.command()
def run() -> int:
    """Everything that is configured, in one process."""
    from bot import commands

    return commands.run()


@cli.command()
def chat() -> int:
    """Talk here in the terminal; sair, exit, quit or Ctrl-D end it. Also reads a pipe."""
    from bot import commands

    return commands.chat()


@cli.command()
def link() -> int:
    """Print the page's address with its token: who opens it is the owner."""
    from bot import commands

    return commands.link()


@cli.command()
def serve() -> int:
    """Only take events in (the distributed engine)."""
    return _not_built("serve", "run `ponte run`, which does everything in one process")


@cli.command()
def work() -> int:
    """Only run turns (the distributed engine)."""
    return _not_built("work", "run `ponte run`, which does everything in one process")


@cli.command()
def migrate() -> int:
    """Bring what this home keeps to Postgres."""
    return _not_built("migrate", "the home folder goes on working")


@cli.command("slack-manifest")
def slack_manifest(
    link: Annotated[bool, typer.Option("--link", help="A URL that creates the app.")] = False,
) -> int:
    """The manifest to paste into Slack, for Socket Mode or for the HTTP that is set up."""
    from bot import commands

    return commands.slack_manifest(link=link)


@cli.command()
def doctor() -> int:
    """Check every setting against the live service."""
    from bot import commands

    return commands.doctor()


@cli.command()
def sandbox() -> int:
    """Install what Python in the sandbox needs, now instead of with its first use."""
    from bot import commands

    return commands.sandbox()


@cli.command("quick-command")
def quick_command(
    slug: Annotated[str, typer.Argument(help="The command's name.")],
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[TEXT | KEY=VALUE ...]",
            help="Its input; -- goes before one that begins with a dash.",
        ),
    ] = None,
    file: Annotated[Path | None, typer.Option("--file", help="A file to send along.")] = None,
    as_json: AsJson = False,
) -> int:
    """Run a quick command and print its result."""
    from bot import commands

    return commands.quick_command(slug, words or [], file, as_json=as_json)


@threads.command("list")
def threads_list(as_json: AsJson = False) -> int:
    """Each conversation with its number of messages, newest first."""
    from bot import commands

    return commands.threads_list(as_json=as_json)


@threads.command("show")
def threads_show(conversation: str, as_json: AsJson = False) -> int:
    """What was said in one."""
    from bot import commands

    return commands.threads_show(conversation, as_json=as_json)


@threads.command("forget")
def threads_forget(
    conversation: Annotated[str, typer.Argument(help="Its key, as `threads list` shows.")] = "",
    person: Annotated[str, typer.Option("--person", help="All of one person's, by key.")] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> int:
    """Erase one, or all that a person said, everywhere and for good."""
    if bool(conversation) == bool(person):
        raise typer.BadParameter("Give a conversation, or --person and a person's key.")
    if not yes:
        _confirm(f"Erase {conversation or person} for good?")
    from bot import commands

    return commands.threads_forget(conversation, person)


@changes.command("list")
def changes_list() -> int:
    """The latest changes, with their ids."""
    from bot import commands

    return commands.say("changes")


@changes.command("undo")
def changes_undo(id: Annotated[str, typer.Argument(help="Its id, six characters.")]) -> int:
    """Undo one change."""
    from bot import commands

    return commands.undo(id)


@cli.command()
def usage() -> int:
    """What was used today."""
    from bot import commands

    return commands.say("usage")


@cli.command()
def version() -> None:
    """The version of Ponte."""
    typer.echo(__version__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; returns its exit code. Errors go to stderr, one line each."""
    try:
        code = cli(args=arguments, prog_name="ponte", standalone_mode=False)
        sys.stdout.flush()  # here, where it can still be told that nobody reads
    except TyperException as error:
        words = error.format_message()
        is_help = words.startswith("Usage:")  # asked for by giving no command at all
        typer.echo(words if is_help else f"ponte: {words} See `ponte --help`.", err=True)
        return 2
    except (KeyboardInterrupt, typer.Abort):
        typer.echo("Interrupted.", err=True)
        return 1
    except BrokenPipeError:
        # Who read our output has gone (`ponte threads list | head`).
        return _hang_up()
    except Exception as error:
        from bot.telemetry import tell

        return tell(error, sys.stderr)
    return code if isinstance(code, int) else 0


def _confirm(question: str) -> None:
    if not sys.stdin.isatty():
        raise typer.BadParameter("Add --yes to do this without being asked.")
    typer.confirm(question, abort=True)


def _not_built(command: str, instead: str) -> int:
    typer.echo(f"`ponte {command}` is not built yet; {instead}.", err=True)
    return 1


def _hang_up() -> int:
    import os

    # Python flushes stdout once more at its end and would complain (docs of the signal module).
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1
