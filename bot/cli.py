"""The command `ponte`: what can be typed, and the exit codes.

0: done. 1: a failure with a message. 2: wrong usage or settings. This module imports nothing heavy,
so that `ponte version` and `--help` answer at once. Each command imports what it needs.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from bot import __version__

_TALK_COMMANDS = (
    "chat", "ask", "quick-command", "link", "changes", "schedules", "threads", "usage",
)  # fmt: skip
_SETUP_COMMANDS = (
    "run", "doctor", "slack-manifest", "sandbox", "sample", "people", "policy", "version",
)  # fmt: skip
_OPERATE_COMMANDS = (
    "status", "turns", "reload", "audit", "person", "backup", "restore", "serve", "work", "migrate",
)  # fmt: skip


class _GroupedCommands(TyperGroup):
    """The command `ponte`. Its help lists the commands in sections and cuts no text."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the name and the whole description of each command."""
        sections = (
            (_say("Talk"), _TALK_COMMANDS),
            (_say("Set up"), _SETUP_COMMANDS),
            (_say("Operate"), _OPERATE_COMMANDS),
        )
        for title, names in sections:
            with formatter.section(title):
                formatter.write_dl(
                    [(name, (self.commands[name].help or "").split("\n\n")[0]) for name in names]
                )


cli = typer.Typer(
    name="ponte",
    cls=_GroupedCommands,
    help=(
        "Ponte: a chat bot that connects people with a language model, their tables, quick "
        "commands and a Python sandbox."
    ),
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
threads = typer.Typer(help="List, show and delete conversations.", no_args_is_help=True)
changes = typer.Typer(
    help="List, approve, deny and undo changes to your data.", no_args_is_help=True
)
schedules = typer.Typer(
    help="List, show, pause, resume, run and delete schedules.", no_args_is_help=True
)
people = typer.Typer(
    help="Manage the people who can use the page besides its owner.", no_args_is_help=True
)
person = typer.Typer(
    help="List, export and delete the data about one person.", no_args_is_help=True
)
sample = typer.Typer(help="Restore the sample tables.", no_args_is_help=True)
policy = typer.Typer(help="Show who can do what, and where.", no_args_is_help=True)
cli.add_typer(threads, name="threads")
cli.add_typer(changes, name="changes")
cli.add_typer(schedules, name="schedules")
cli.add_typer(people, name="people")
cli.add_typer(person, name="person")
cli.add_typer(policy, name="policy")
cli.add_typer(sample, name="sample")

PersonName = Annotated[
    str,
    typer.Argument(
        help=("Lowercase letters, digits, dots, hyphens and underscores, up to 32 characters.")
    ),
]
PersonKey = Annotated[
    str,
    typer.Argument(
        metavar="KEY", help=("For example slack:T1/U1 or web:ana; `person list` shows the keys.")
    ),
]
ChangeId = Annotated[str, typer.Argument(help="The change's ID (six characters).")]
ScheduleId = Annotated[str, typer.Argument(help="The schedule's ID (six characters).")]
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
    """Accept the options that come before a command."""


@cli.command()
def run() -> int:
    """Run everything that is configured, in one process."""
    return _run()


PromptWords = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[TEXT ...]", help="The prompt. Put -- before a prompt that starts with a dash."
    ),
]
PromptFiles = Annotated[
    list[Path] | None, typer.Option("--file", help="Attach this file. Can be repeated.")
]


@cli.command()
def chat(words: PromptWords = None, files: PromptFiles = None) -> int:
    """Chat in this terminal (type exit or press Ctrl-D to quit) or through a pipe, one message per
    line. With TEXT, like `ponte ask`. Lines of a pipe are never commands. Exit code 1 if a message
    fails.
    """
    if words or files:
        return ask(words, files)
    _show_start()
    from bot import cli_commands

    return cli_commands.chat()


@cli.command()
def ask(words: PromptWords = None, files: PromptFiles = None) -> int:
    """Ask once and print the answer. TEXT and all of standard input are one prompt, and never a
    command. Exit code 1 if there is no answer.
    """
    if not words and not files and (sys.stdin is None or sys.stdin.isatty()):
        raise typer.BadParameter(_say("Give a prompt, as text or on standard input."))
    from bot import cli_commands

    return cli_commands.ask(" ".join(words or ()), files or ())


@cli.command()
def link() -> int:
    """Print the page's link with its token. Anyone who opens it is signed in as the owner."""
    from bot import cli_commands

    return cli_commands.link()


@cli.command()
def serve() -> int:
    """Only receive events; `ponte work` answers them (DATABASE_URL)."""
    return _run(works=False)


@cli.command()
def work() -> int:
    """Only answer messages that `ponte serve` received (DATABASE_URL)."""
    return _run(takes=False)


@cli.command()
def migrate() -> int:
    """Copy this data folder into the database of DATABASE_URL."""
    from bot import cli_commands

    return cli_commands.migrate()


@cli.command()
def backup(
    file: Annotated[
        str, typer.Argument(help=("Where to write it: a file, a folder, or - for stdout."))
    ],
    keep: Annotated[
        int, typer.Option("--keep", min=0, help="Keep only the newest backups in that folder.")
    ] = 0,
) -> int:
    """Back up this data folder to one file, even while Ponte is running."""
    from bot import cli_commands

    return cli_commands.backup(file, keep)


@cli.command()
def restore(
    file: Annotated[str, typer.Argument(help="The file written by `ponte backup`; - for stdin.")],
    replace: Annotated[
        bool, typer.Option("--replace", help="Move the current data aside and replace it.")
    ] = False,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help=(
                "Continue the work that was in progress. Use this only if Ponte has not run since."
            ),
        ),
    ] = False,
) -> int:
    """Restore a backup into this data folder. Ponte must not be running."""
    from bot import cli_commands

    return cli_commands.restore(file, replace=replace, resume=resume)


@cli.command()
def status(as_json: AsJson = False) -> int:
    """Show the state of each part of the running Ponte. Exit code 1 if one is failing."""
    from bot import cli_commands

    return cli_commands.status(as_json=as_json)


@cli.command("slack-manifest")
def slack_manifest(
    link: Annotated[bool, typer.Option("--link", help="Print a URL that creates the app.")] = False,
) -> int:
    """Print the manifest to paste into Slack, for Socket Mode or for your HTTP settings."""
    from bot import cli_commands

    return cli_commands.slack_manifest(link=link)


@cli.command()
def doctor(
    model: Annotated[
        bool,
        typer.Option("--model", help="Also send the model three short requests, which cost money."),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
) -> int:
    """Check every setting against the live services."""
    from bot import cli_commands

    def confirm() -> None:
        if not yes and sys.stdin.isatty():  # a script has confirmed with --model
            typer.confirm(_say("Send them?"), abort=True)

    return cli_commands.doctor(confirm if model else None)


@cli.command()
def sandbox() -> int:
    """Install the sandbox's Python packages now, instead of on first use."""
    from bot import cli_commands

    return cli_commands.sandbox()


@cli.command()
def turns(
    failed: Annotated[bool, typer.Option("--failed", help="Only turns that failed.")] = False,
    as_json: AsJson = False,
) -> int:
    """List the turns that run, wait or have failed, without their texts."""
    from bot import cli_commands

    return cli_commands.turns(failed=failed, as_json=as_json)


@cli.command()
def reload() -> int:
    """Apply the current ponte.toml to the running Ponte, without interrupting any answer."""
    from bot import cli_commands

    return cli_commands.reload()


@cli.command("quick-command")
def quick_command(
    slug: Annotated[str, typer.Argument(help="The quick command's name.")],
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[TEXT | KEY=VALUE ...]",
            help="Its input. Put -- before input that starts with a dash.",
        ),
    ] = None,
    file: Annotated[Path | None, typer.Option("--file", help="Attach this file.")] = None,
    as_json: AsJson = False,
) -> int:
    """Run a quick command and print its result."""
    from bot import cli_commands

    return cli_commands.quick_command(slug, words or [], file, as_json=as_json)


@threads.command("list")
def threads_list(as_json: AsJson = False) -> int:
    """List conversations with their number of messages, newest first."""
    from bot import cli_commands

    return cli_commands.threads_list(as_json=as_json)


@threads.command("show")
def threads_show(conversation: str, as_json: AsJson = False) -> int:
    """Show the messages of one conversation, given by its key as `threads list` shows it."""
    from bot import cli_commands

    return cli_commands.threads_show(conversation, as_json=as_json)


@threads.command("forget")
def threads_forget(
    conversation: Annotated[
        str, typer.Argument(help=("The conversation's key, as shown by `threads list`."))
    ],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
) -> int:
    """Delete one conversation. This cannot be undone."""
    if not yes:
        _confirm(_say("Delete {what} permanently?", what=conversation))
    from bot import cli_commands

    return cli_commands.threads_forget(conversation)


@people.command("add")
def people_add(name: PersonName, as_json: AsJson = False) -> int:
    """Let a person use the page. Prints their sign-in link once."""
    from bot import cli_commands

    return cli_commands.people_add(name, as_json=as_json)


@people.command("list")
def people_list(as_json: AsJson = False) -> int:
    """List the people who can sign in to the page, with date added, last visit and name."""
    from bot import cli_commands

    return cli_commands.people_list(as_json=as_json)


@people.command("renew")
def people_renew(name: PersonName, as_json: AsJson = False) -> int:
    """Create a new sign-in link for a person; the old link and its sessions stop working."""
    from bot import cli_commands

    return cli_commands.people_renew(name, as_json=as_json)


@people.command("token")
def people_token(
    name: PersonName,
    label: Annotated[
        str, typer.Option("--name", help="What the token is for, as in 'notebook'.")
    ] = "",
    days: Annotated[
        int, typer.Option("--days", help="Days until the token expires; 0 for never.")
    ] = 0,
    as_json: AsJson = False,
) -> int:
    """Create an API token for a person, or for `owner`. It works only for programs that use /v1,
    and is printed once."""
    from bot import cli_commands

    return cli_commands.people_token(name, label, days, as_json=as_json)


@people.command("tokens")
def people_tokens(
    name: Annotated[str, typer.Argument(help="Only the tokens of this person.")] = "",
    as_json: AsJson = False,
) -> int:
    """List API tokens: id, person, what for, date added, expiry and last use."""
    from bot import cli_commands

    return cli_commands.people_tokens(name, as_json=as_json)


@people.command("revoke")
def people_revoke(
    id: Annotated[str, typer.Argument(help="The id that `ponte people tokens` lists.")],
) -> int:
    """Revoke an API token. Programs that use it are refused at once."""
    from bot import cli_commands

    return cli_commands.people_revoke(id)


@people.command("remove")
def people_remove(
    name: PersonName,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
) -> int:
    """Remove a person from the page. Their sessions end and their running work stops."""
    if not yes:
        _confirm(_say("Remove {name} from the page?", name=name))
    from bot import cli_commands

    return cli_commands.people_remove(name)


@person.command("list")
def person_list(as_json: AsJson = False) -> int:
    """List everyone with stored data: first and last seen, amount, key and name."""
    from bot import person_commands

    return person_commands.person_list(as_json=as_json)


@person.command("export")
def person_export(
    key: PersonKey,
    files: Annotated[
        Path | None,
        typer.Option(
            "--files", metavar="FOLDER", help=("Write the export to this folder, with its files.")
        ),
    ] = None,
) -> int:
    """Export all data about one person as JSON."""
    from bot import person_commands

    return person_commands.person_export(key, files)


@person.command("forget")
def person_forget(
    key: PersonKey,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
) -> int:
    """Delete all data about one person, here and on the model's server. This cannot be undone."""
    if not (yes or sys.stdin.isatty()):
        raise typer.BadParameter(_say("Add --yes to confirm."))
    from bot import person_commands

    return person_commands.person_forget(key, None if yes else _confirm)


@sample.command("reset")
def sample_reset(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
) -> int:
    """Restore the sample tables to their first rows. This cannot be undone."""
    if not yes:
        _confirm(_say("Restore the sample tables? All changes to them are lost."))
    from bot import cli_commands

    return cli_commands.sample_reset()


@policy.command("check")
def policy_check(
    person: Annotated[str, typer.Option("--person", help="For example slack:U1 or web:ana.")],
    channel: Annotated[
        str,
        typer.Option(
            "--channel", help=("For example C2 or slack:T1:C2; if omitted, a direct message.")
        ),
    ] = "",
    group: Annotated[
        list[str] | None,
        typer.Option("--group", help="A user group or role of this person, for example slack:S1."),
    ] = None,
    guest: Annotated[bool, typer.Option("--guest", help="The person is a guest.")] = False,
    right: Annotated[
        list[str] | None,
        typer.Option(
            "--right", help=("Only this permission, for example read:Orders. Can be repeated.")
        ),
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Show a person's permissions in a channel, and which rule decides. Contacts no service."""
    from bot import cli_commands

    return cli_commands.policy_check(
        person, channel, group or [], right or [], guest=guest, as_json=as_json
    )


@changes.command("list")
def changes_list() -> int:
    """List the latest changes with their IDs."""
    from bot import cli_commands

    return cli_commands.send_command("changes")


@changes.command("pending")
def changes_pending() -> int:
    """List the changes that wait for your approval."""
    from bot import cli_commands

    return cli_commands.send_command("approvals")


@changes.command("approve")
def changes_approve(id: ChangeId) -> int:
    """Approve one change, which is then made."""
    from bot import cli_commands

    return cli_commands.decide("approve", id)


@changes.command("deny")
def changes_deny(id: ChangeId) -> int:
    """Deny one change."""
    from bot import cli_commands

    return cli_commands.decide("deny", id)


@changes.command("undo")
def changes_undo(id: ChangeId) -> int:
    """Undo one change."""
    from bot import cli_commands

    return cli_commands.decide("undo", id)


@schedules.command("list")
def schedules_list(as_json: AsJson = False) -> int:
    """List everybody's schedules."""
    from bot import schedule_commands

    return schedule_commands.list_schedules(as_json=as_json)


@schedules.command("show")
def schedules_show(id: ScheduleId, as_json: AsJson = False) -> int:
    """Show one schedule and its last runs."""
    from bot import schedule_commands

    return schedule_commands.show_schedule(id, as_json=as_json)


@schedules.command("pause")
def schedules_pause(id: ScheduleId) -> int:
    """Pause one schedule until somebody resumes it."""
    from bot import schedule_commands

    return schedule_commands.change_schedule("pause", id)


@schedules.command("resume")
def schedules_resume(id: ScheduleId) -> int:
    """Resume one paused schedule. Runs that were due meanwhile are not made up for."""
    from bot import schedule_commands

    return schedule_commands.change_schedule("resume", id)


@schedules.command("run")
def schedules_run(id: ScheduleId) -> int:
    """Run one schedule now, with its owner's permissions. Its times stay as they are."""
    from bot import schedule_commands

    return schedule_commands.change_schedule("run", id)


@schedules.command("delete")
def schedules_delete(
    id: ScheduleId,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
) -> int:
    """Delete one schedule."""
    if not yes:
        _confirm(_say("Delete the schedule {id}?", id=id))
    from bot import schedule_commands

    return schedule_commands.change_schedule("delete", id)


@cli.command()
def usage(
    by: Annotated[
        str, typer.Option("--by", help="Group by person, channel, model, tool or day.")
    ] = "",
    since: Annotated[
        str,
        typer.Option(
            "--since",
            help=(
                "First day, for example 2026-11-01 or yesterday. Default: the first day of this "
                "month."
            ),
        ),
    ] = "",
    as_json: AsJson = False,
) -> int:
    """Show today's usage, or a report since a date (see the options)."""
    from bot import cli_commands

    if not (by or since or as_json):
        return cli_commands.usage("person", "today", with_limits=True)
    return cli_commands.usage(by or "person", since, as_json=as_json)


@cli.command()
def audit(
    since: Annotated[
        str, typer.Option(help="From this date or time on, for example 2026-11-01 or yesterday.")
    ] = "",
    until: Annotated[
        str, typer.Option(help="Up to the end of this date, or up to this time.")
    ] = "",
    person: Annotated[str, typer.Option(help="Only this person, for example slack:U1.")] = "",
    event: Annotated[str, typer.Option(help="Only this event, for example change-approved.")] = "",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per line.")
    ] = False,
) -> int:
    """Show who did what, which rule allowed it, and who approved it."""
    from bot import cli_commands

    asked = {"since": since, "until": until, "person": person, "event": event}
    return cli_commands.audit(asked, as_json=as_json)


@cli.command()
def version() -> None:
    """Print the version of Ponte."""
    typer.echo(__version__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code. Errors go to stderr, one line each."""
    typed = sys.argv[1:] if arguments is None else arguments
    if typed and typed[0] in ("run", "serve", "work"):
        for number in (signal.SIGTERM, signal.SIGINT):  # loading the modules takes a second
            signal.signal(number, lambda *_: sys.exit(0))
    command = typer.main.get_command(cli)
    try:
        if _choose_language():
            _translate(command)
        code = command.main(args=arguments, prog_name="ponte", standalone_mode=False)
        sys.stdout.flush()  # here, where it can still be told that nobody reads
    except TyperException as error:
        words = error.format_message()
        is_help = words.startswith("Usage:")  # asked for by giving no command at all
        typer.echo(
            words if is_help else f"ponte: {words} {_say('Run `ponte --help` for help.')}", err=True
        )
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


def _run(*, takes: bool = True, works: bool = True) -> int:
    from bot import cli_commands

    return cli_commands.run(takes=takes, works=works)


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
        raise typer.BadParameter(_say("Add --yes to confirm."))
    typer.confirm(question, abort=True)


def _show_start() -> None:
    """Tell a person at a terminal that the command has begun. To load it takes about a second."""
    if sys.stdin and sys.stdin.isatty() and sys.stdout.isatty():
        sys.stdout.write(_say("Starting Ponte…") + "\n")
        sys.stdout.flush()


def _close_stdout() -> int:
    import os

    # Python flushes stdout once more at its end and would complain (docs of the signal module).
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1
