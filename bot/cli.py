"""The command `ponte`: what can be typed, and the exit codes.

0: done. 1: a failure with a message. 2: wrong usage or settings. This module imports nothing heavy,
so that `ponte version` and `--help` answer at once. Each command imports what it needs.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.exceptions import TyperException

from bot import __version__

cli = typer.Typer(
    name="ponte",
    help="Ponte: a chat bot that bridges people to a model and the systems that do the work.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
threads = typer.Typer(help="Conversations that are kept.", no_args_is_help=True)
changes = typer.Typer(help="What was changed in your systems.", no_args_is_help=True)
people = typer.Typer(help="Who has a name on the page, beside its owner.", no_args_is_help=True)
person = typer.Typer(help="What is kept of one person.", no_args_is_help=True)
policy = typer.Typer(help="Who may do what, where.", no_args_is_help=True)
cli.add_typer(threads, name="threads")
cli.add_typer(changes, name="changes")
cli.add_typer(people, name="people")
cli.add_typer(person, name="person")
cli.add_typer(policy, name="policy")

PersonName = Annotated[
    str, typer.Argument(help="Small letters, digits, dots, hyphens and underscores, up to 32.")
]
PersonKey = Annotated[
    str, typer.Argument(metavar="KEY", help="As in slack:T1/U1, web:ana; `person list` shows it.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(__version__)
        raise typer.Exit


@cli.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """What stands before a command."""


@cli.command()
def run() -> int:
    """Everything that is configured, in one process."""
    from bot import cli_commands

    return cli_commands.run()


@cli.command()
def chat() -> int:
    """Talk in this terminal (exit or Ctrl-D ends), or through a pipe: exit 1 if a message fails."""
    from bot import cli_commands

    return cli_commands.chat()


@cli.command()
def link() -> int:
    """Print the page's address with its token: who opens it is the owner."""
    from bot import cli_commands

    return cli_commands.link()


@cli.command()
def serve() -> int:
    """Only take events in; `ponte work` answers them (DATABASE_URL)."""
    from bot import cli_commands

    return cli_commands.run(works=False)


@cli.command()
def work() -> int:
    """Only answer what `ponte serve` took in (DATABASE_URL)."""
    from bot import cli_commands

    return cli_commands.run(takes=False)


@cli.command()
def migrate() -> int:
    """Bring what this home keeps to the database of DATABASE_URL."""
    from bot import cli_commands

    return cli_commands.migrate()


@cli.command()
def backup(
    file: Annotated[str, typer.Argument(help="Where it goes: a file, a folder, or - for stdout.")],
    keep: Annotated[
        int, typer.Option("--keep", min=0, help="Of those in that folder, keep the newest.")
    ] = 0,
) -> int:
    """Keep this home as it is now in one file, also while Ponte runs."""
    from bot import cli_commands

    return cli_commands.backup(file, keep)


@cli.command()
def restore(
    file: Annotated[str, typer.Argument(help="What `ponte backup` wrote; - for stdin.")],
    replace: Annotated[
        bool, typer.Option("--replace", help="Lay aside what the home keeps.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Have what was under way go on: nothing ran since.")
    ] = False,
) -> int:
    """Put a backup into this home; Ponte must not run on it."""
    from bot import cli_commands

    return cli_commands.restore(file, replace=replace, resume=resume)


@cli.command()
def status(as_json: AsJson = False) -> int:
    """How each part of the running Ponte is; exit 1 where one fails."""
    from bot import cli_commands

    return cli_commands.status(as_json=as_json)


@cli.command("slack-manifest")
def slack_manifest(
    link: Annotated[bool, typer.Option("--link", help="A URL that creates the app.")] = False,
) -> int:
    """The manifest to paste into Slack, for Socket Mode or for the HTTP that is set up."""
    from bot import cli_commands

    return cli_commands.slack_manifest(link=link)


@cli.command()
def doctor() -> int:
    """Check every setting against the live service."""
    from bot import cli_commands

    return cli_commands.doctor()


@cli.command()
def sandbox() -> int:
    """Install what Python in the sandbox needs, now instead of with its first use."""
    from bot import cli_commands

    return cli_commands.sandbox()


@cli.command()
def reload() -> int:
    """Have a running Ponte take ponte.toml as it is now, without dropping an answer."""
    from bot import cli_commands

    return cli_commands.reload()


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
    from bot import cli_commands

    return cli_commands.quick_command(slug, words or [], file, as_json=as_json)


@threads.command("list")
def threads_list(as_json: AsJson = False) -> int:
    """Each conversation with its number of messages, newest first."""
    from bot import cli_commands

    return cli_commands.threads_list(as_json=as_json)


@threads.command("show")
def threads_show(conversation: str, as_json: AsJson = False) -> int:
    """What was said in one."""
    from bot import cli_commands

    return cli_commands.threads_show(conversation, as_json=as_json)


@threads.command("forget")
def threads_forget(
    conversation: Annotated[str, typer.Argument(help="Its key, as `threads list` shows.")] = "",
    person: Annotated[str, typer.Option("--person", help="All of one person's, by key.")] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> int:
    """Erase one, or all that a person said, everywhere and for good."""
    if bool(conversation) == bool(person):
        raise typer.BadParameter(_say("Give a conversation, or --person and a person's key."))
    if not yes:
        _confirm(_say("Erase {what} for good?", what=conversation or person))
    from bot import cli_commands

    return cli_commands.threads_forget(conversation, person)


@people.command("add")
def people_add(name: PersonName, as_json: AsJson = False) -> int:
    """Let somebody in by the page; prints the address that opens it as them, once."""
    from bot import cli_commands

    return cli_commands.people_add(name, as_json=as_json)


@people.command("list")
def people_list(as_json: AsJson = False) -> int:
    """Who there is: since when, when they were last there, their name."""
    from bot import cli_commands

    return cli_commands.people_list(as_json=as_json)


@people.command("renew")
def people_renew(name: PersonName, as_json: AsJson = False) -> int:
    """Another address for somebody; the former one and its sessions end at once."""
    from bot import cli_commands

    return cli_commands.people_renew(name, as_json=as_json)


@people.command("remove")
def people_remove(
    name: PersonName,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> int:
    """Let somebody in no more: their sessions end at once, and what runs for them is stopped."""
    if not yes:
        _confirm(_say("Let {name} in no more?", name=name))
    from bot import cli_commands

    return cli_commands.people_remove(name)


@person.command("list")
def person_list(as_json: AsJson = False) -> int:
    """Everybody of whom something is kept: first and last seen, how much, key and name."""
    from bot import person_commands

    return person_commands.person_list(as_json=as_json)


@person.command("export")
def person_export(
    key: PersonKey,
    files: Annotated[
        Path | None, typer.Option("--files", metavar="FOLDER", help="Write it there, files too.")
    ] = None,
) -> int:
    """All that is kept of one person, as JSON."""
    from bot import person_commands

    return person_commands.person_export(key, files)


@person.command("forget")
def person_forget(
    key: PersonKey,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> int:
    """Erase one person here and on the model's server, for good; says what stays elsewhere."""
    if not (yes or sys.stdin.isatty()):
        raise typer.BadParameter(_say("Add --yes to do this without being asked."))
    from bot import person_commands

    return person_commands.person_forget(key, None if yes else _confirm)


@policy.command("check")
def policy_check(
    person: Annotated[str, typer.Option("--person", help="As in slack:U1, web:ana.")],
    channel: Annotated[
        str, typer.Option("--channel", help="As in C2 or slack:T1:C2; left out: a direct message.")
    ] = "",
    group: Annotated[
        list[str] | None,
        typer.Option("--group", help="A user group or role that they are in, as in slack:S1."),
    ] = None,
    guest: Annotated[bool, typer.Option("--guest", help="They are only a guest.")] = False,
    right: Annotated[
        list[str] | None,
        typer.Option("--right", help="This right alone, as in read:Orders; may be repeated."),
    ] = None,
    as_json: AsJson = False,
) -> int:
    """What somebody may do somewhere, and which rule says so; no service is asked."""
    from bot import cli_commands

    return cli_commands.policy_check(
        person, channel, group or [], right or [], guest=guest, as_json=as_json
    )


@changes.command("list")
def changes_list() -> int:
    """The latest changes, with their ids."""
    from bot import cli_commands

    return cli_commands.say("changes")


@changes.command("undo")
def changes_undo(id: Annotated[str, typer.Argument(help="Its id, six characters.")]) -> int:
    """Undo one change."""
    from bot import cli_commands

    return cli_commands.undo(id)


@cli.command()
def usage(
    by: Annotated[
        str, typer.Option("--by", help="Rows by person, channel, model, tool or day.")
    ] = "",
    since: Annotated[
        str, typer.Option("--since", help="The first day, as in 2026-11-01; else of this month.")
    ] = "",
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
) -> int:
    """What was used today; with an option, since then, in rows."""
    from bot import cli_commands

    if not (by or since or as_json or as_csv):
        return cli_commands.say("usage")
    return cli_commands.usage(by or "person", since, as_json=as_json, as_csv=as_csv)


@cli.command()
def audit(
    since: Annotated[str, typer.Option(help="From this day or moment on, as in 2026-11-01.")] = "",
    until: Annotated[str, typer.Option(help="Up to the end of this day, or to a moment.")] = "",
    person: Annotated[str, typer.Option(help="Of this person alone, as in slack:U1.")] = "",
    event: Annotated[str, typer.Option(help="Of this kind alone, as in approved.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object a line.")] = False,
) -> int:
    """Who did what, by which rule, and who approved it."""
    from bot import cli_commands

    asked = {"since": since, "until": until, "person": person, "event": event}
    return cli_commands.audit(asked, as_json=as_json)


@cli.command()
def version() -> None:
    """The version of Ponte."""
    typer.echo(__version__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code. Errors go to stderr, one line each."""
    command = typer.main.get_command(cli)
    try:
        if _choose_language():
            _translate(command)
        code = command.main(args=arguments, prog_name="ponte", standalone_mode=False)
        sys.stdout.flush()  # here, where it can still be told that nobody reads
    except TyperException as error:
        words = error.format_message()
        is_help = words.startswith("Usage:")  # asked for by giving no command at all
        typer.echo(words if is_help else f"ponte: {words} {_say('See `ponte --help`.')}", err=True)
        return 2
    except (KeyboardInterrupt, typer.Abort):
        typer.echo(_say("Interrupted."), err=True)
        return 1
    except BrokenPipeError:
        # Who read our output has gone (`ponte threads list | head`).
        return _close_stdout()
    except ImportError as error:
        return _report_import_error(error)
    except Exception as error:
        from bot.logs import report_error

        return report_error(error, sys.stderr)
    return code if isinstance(code, int) else 0


def _choose_language() -> bool:
    """Set the language for all messages from now on. Return whether it is another one than English.

    This module reads PONTE_LOCALE itself, besides POSIX's variables: help and errors of usage are
    printed before, or without, loading the settings, which takes long and may fail.
    """
    names = ("PONTE_LOCALE", "LC_ALL", "LC_MESSAGES", "LANG")
    chosen = next(filter(None, map(os.environ.get, names)), "")
    if chosen[:2].lower() in ("en", "c", "c.", "po", ""):
        return False
    from core.text.i18n import LANGUAGE, nearest_locale

    LANGUAGE.set(nearest_locale(chosen))
    return LANGUAGE.get() != "en"


def _translate(command: Any) -> None:
    """Translate the help texts of a command and of all commands below it."""
    command.help = _say(command.help or "")
    for parameter in command.params:
        if help := getattr(parameter, "help", None):
            parameter.help = _say(help)
    for under in getattr(command, "commands", {}).values():
        _translate(under)


def _report_import_error(error: ImportError) -> int:
    """Report that a package is missing, too old or of another distribution, after checking all of
    them."""
    from bot import installation

    found = installation.inspect_installation()
    words = str(error) if found.is_complete else installation.describe(found, _say)
    typer.echo(f"ponte: {words}", err=True)
    return 1


def _say(sentence: str, **values: object) -> str:
    try:
        from core.text.i18n import say
    except ImportError:  # `core` is somebody else's
        return sentence.format(**values)
    return say(sentence, **values)


def _confirm(question: str) -> None:
    if not sys.stdin.isatty():
        raise typer.BadParameter(_say("Add --yes to do this without being asked."))
    typer.confirm(question, abort=True)


def _close_stdout() -> int:
    import os

    # Python flushes stdout once more at its end and would complain (docs of the signal module).
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1
