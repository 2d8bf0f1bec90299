"""The commands of `ponte` that people type, with their help.

This module imports nothing heavy, so that `ponte version` and `--help` answer at once. Each command
imports what it needs.
"""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from bot import __version__
from bot.cli import run_process, say
from bot.features import load_modules
from bot.operations import (
    COMMAND_GROUPS,
    OPERATIONS,
    Operation,
    PersonKey,
    ShellArgument,
    ShellOption,
)

_TALK_COMMANDS = (
    "chat", "ask", "quick-command", "link", "changes", "schedules", "alerts", "threads", "usage",
)  # fmt: skip
_SETUP_COMMANDS = (
    "run", "doctor", "setup", "slack-manifest", "sandbox", "sample", "people", "policy", "hooks",
    "version",
)  # fmt: skip
_OPERATE_COMMANDS = (
    "status", "turns", "reload", "audit", "person", "backup", "restore", "serve", "work", "migrate",
)  # fmt: skip


class _GroupedCommands(TyperGroup):
    """All commands of `ponte`. Its help lists them in sections and cuts no text."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """For the help, write a section for each group of names, with the first paragraph of each
        description. Commands of operations that no section names are at the end."""
        listed = {*_TALK_COMMANDS, *_SETUP_COMMANDS, *_OPERATE_COMMANDS}
        added = tuple(name for name in self.commands if name not in listed)
        sections = (
            (say("Talk"), _TALK_COMMANDS),
            (say("Set up"), _SETUP_COMMANDS),
            (say("Operate"), _OPERATE_COMMANDS + added),
        )
        for title, names in sections:
            with formatter.section(title):
                commands = [(name, self.commands[name]) for name in names if name in self.commands]
                helps = ((name, command.help or "") for name, command in commands)
                formatter.write_dl([(name, help.split("\n\n")[0]) for name, help in helps])


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
_GROUPS = {name: typer.Typer(help=help) for name, help in COMMAND_GROUPS.items()}
"""Commands that have commands below them."""
for _name, _group in _GROUPS.items():
    cli.add_typer(_group, name=_name, no_args_is_help=True)
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Yes = Annotated[bool, typer.Option("--yes", help="Don't ask for confirmation.")]


def add_operations() -> None:
    """Add a command for each operation that people can type and that has none yet. An operation
    such as "people add" becomes the command `add` of the group `people`."""
    for each in OPERATIONS.values():
        if not each.in_shell:
            continue
        *above, name = each.name.split()
        group = cli
        if above:
            group = _GROUPS.setdefault(above[0], typer.Typer())
            if group not in [group.typer_instance for group in cli.registered_groups]:
                cli.add_typer(group, name=above[0], no_args_is_help=True)
        if name not in [command.name for command in group.registered_commands]:
            example = f"Example: ponte {each.name} {each.example}".rstrip()
            group.command(name, epilog=example)(_make_command(each))


def _make_command(operation: Operation) -> Callable[..., int]:
    """Return a function that runs an operation. Typer makes a command of its signature: the
    parameters that people can type, `--yes` if it asks first, and `--json`."""
    typed = dict[str, tuple[Any, Any]]()
    for name, (annotation, default) in operation.parameters.items():
        for parameter in getattr(annotation, "__metadata__", ()):
            kind, value_type = annotation.__origin__, _make_typed(name, parameter)
            if kind == Sequence[str]:  # Typer knows only lists, and needs None as the default
                kind, default = list[str] | None, None
            typed[name] = (Annotated[kind, value_type], default)
    if operation.confirm:
        typed["yes"] = (Yes, False)
    typed["as_json"] = (AsJson, False)

    def command(**values: Any) -> int:
        """An operation with a question (`confirm`) asks it first, after its preview if it has one.
        A script must pass --yes."""
        # A command that does not ask has no `--yes`.
        as_json, yes = values.pop("as_json"), values.pop("yes", True)
        arguments = {name: value for name, value in values.items() if value is not None}
        from bot.cli import commands as cli_commands  # slow to load

        if not yes:
            # The preview shows what would happen. One that fails has printed why.
            if operation.preview and (
                code := cli_commands.run_operation(operation.preview, arguments, as_json=False)
            ):
                raise typer.Exit(code)
            if not sys.stdin.isatty():
                typer.echo(say("Add `--yes` to confirm."), err=True)
                raise typer.Exit(2)
            if not typer.confirm(say(operation.confirm, **values)):
                typer.echo(say("Nothing was changed."), err=True)
                raise typer.Exit(1)
        return cli_commands.run_operation(operation.name, arguments, as_json=as_json)

    own: Any = command
    own.__doc__ = operation.help
    own.__annotations__ = {name: kind for name, (kind, _) in typed.items()}
    own.__signature__ = inspect.Signature(
        [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=kind, default=value)
            for name, (kind, value) in typed.items()
        ]
    )
    return command


def _make_typed(name: str, parameter: ShellArgument | ShellOption) -> Any:
    """Return Typer's description of a parameter: a positional argument, which the shell completes
    if an operation lists its values, or an option."""
    if isinstance(parameter, ShellArgument):
        if not parameter.values:
            return typer.Argument(help=parameter.help)
        operation, field = parameter.values  # the operation that lists the values

        def complete(incomplete: str) -> list[str]:
            from bot.cli import commands as cli_commands  # slow to load

            values = cli_commands.list_values(operation, field)
            return [value for value in values if value.startswith(incomplete)]

        return typer.Argument(help=parameter.help, autocompletion=complete)
    file: Any = {"parser": _read_text_file, "metavar": "FILE"} if parameter.is_file else {}
    return typer.Option(parameter.flag or f"--{name}", help=parameter.help, **file)


def _read_text_file(path: str) -> str:
    try:
        return Path(path).read_text("utf-8") if path else ""
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(say("Can't read the file {file}.", file=path)) from error


add_operations()
PersonKeyArgument = Annotated[str, _make_typed("key", PersonKey.__metadata__[0])]


def _print_version(asked: bool) -> None:
    """Print the version, in a Git checkout also the commit (with "-dirty" if files differ from it),
    and end the command. Typer calls this with each command: `asked` is False without
    `--version`."""
    if not asked:
        return
    root, commit = Path(__file__).parents[2], ""
    if (root / ".git").exists():
        # `--exclude=*`: name no tag, only the commit.
        with suppress(OSError):  # git is not installed
            command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--exclude=*"]
            done = subprocess.run(command, capture_output=True, text=True)  # noqa: S603
            commit = done.stdout.strip()
    typer.echo(f"{__version__} ({commit})" if commit else __version__)
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


@cli.command(epilog="Example: ponte run")
def run() -> int:
    """Run everything that is configured, in one process."""
    return run_process()


PromptWords = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[TEXT ...]", help="The prompt. Put -- before a prompt that starts with a dash."
    ),
]
PromptFiles = Annotated[
    list[Path] | None, typer.Option("--file", help="Attach this file. Can be repeated.")
]


@cli.command(epilog="Example: ponte chat")
def chat(words: PromptWords = None, files: PromptFiles = None) -> int:
    """Chat in this terminal (type exit or press Ctrl-D to quit) or through a pipe, one message per
    line. With TEXT, like `ponte ask`. Lines of a pipe are never commands. Exit code 1 if a message
    fails.
    """
    if words or files:
        return ask(words, files)
    from bot.cli import commands as cli_commands  # slow to load

    return cli_commands.chat()


@cli.command(epilog="Example: git diff | ponte ask review this")
def ask(
    words: PromptWords = None,
    files: PromptFiles = None,
    form: Annotated[
        Literal["csv", "xlsx", "json"] | None,
        typer.Option(
            "--format",
            help="Print only the rows of the answer's table: csv, xlsx or json. Exit code "
            "1 without a table.",
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", help="With --format: write the rows to this file.")
    ] = None,
    table: Annotated[
        int,
        typer.Option(
            "--table", min=1, help="With --format: which table, if the answer has several."
        ),
    ] = 1,
    saved: Annotated[
        str, typer.Option("--saved", help="Show this saved question instead of sending a prompt.")
    ] = "",
) -> int:
    """Ask once and print the answer. TEXT and all of standard input form one prompt, never a
    command. Exit code 1 if there is no answer.
    """
    if saved and (words or files):
        raise typer.BadParameter(say("Use `--saved` without a prompt."))
    if not words and not files and not saved and sys.stdin.isatty():
        raise typer.BadParameter(say("Specify a prompt, as text or on standard input."))
    if output and not form:
        raise typer.BadParameter(say("Use `--output` together with `--format`."))
    if form == "xlsx" and not output and sys.stdout.isatty():
        raise typer.BadParameter(say("A terminal can't show XLSX. Add `--output FILE`."))
    from bot.cli import commands as cli_commands  # slow to load

    prompt = " ".join(words or ())
    return cli_commands.ask(prompt, files or (), form, output, table, saved)


@cli.command(epilog="Example: ponte link")
def link(as_json: AsJson = False) -> int:
    """Print the page's link with its token. Anyone who opens it is signed in as the owner."""
    from bot.cli import commands as cli_commands  # slow to load

    return cli_commands.link(as_json=as_json)


@cli.command(epilog="Example: ponte serve")
def serve() -> int:
    """Only receive messages, for `ponte work` to answer (needs DATABASE_URL)."""
    return run_process(works=False)


@cli.command(epilog="Example: ponte work")
def work() -> int:
    """Only answer messages that `ponte serve` receives (needs DATABASE_URL)."""
    return run_process(takes=False)


# Here, because the documents have all commands in this order.
load_modules("commands")


@cli.command("slack-manifest", epilog="Example: ponte slack-manifest --link")
def slack_manifest(
    link: Annotated[bool, typer.Option("--link", help="Print a URL that creates the app.")] = False,
) -> int:
    """Print the manifest to paste into Slack, for Socket Mode or for your HTTP settings."""
    from bot.cli import commands as cli_commands  # slow to load

    return cli_commands.slack_manifest(link=link)


@cli.command(epilog="Example: ponte doctor --model")
def doctor(
    model: Annotated[
        bool,
        typer.Option("--model", help=("Also send a few requests to the model, which cost money.")),
    ] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> int:
    """Check every setting against the live services."""
    from bot.cli import commands as cli_commands  # slow to load

    def confirm() -> None:
        if not yes and sys.stdin.isatty():  # a script has confirmed with --model
            typer.confirm(say("Send them?"), abort=True)

    return cli_commands.doctor(confirm if model else None, as_json=as_json)


@cli.command(epilog="Example: ponte sandbox")
def sandbox() -> int:
    """Install the sandbox's Python packages now, instead of on first use."""
    from bot.cli import commands as cli_commands  # slow to load

    return cli_commands.sandbox()


@cli.command("quick-command", epilog="Example: ponte quick-command summarize days=7")
def quick_command(
    slug: Annotated[str, typer.Argument(help="The quick command's name.")],
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[TEXT | KEY=VALUE ...]",
            help="The quick command's input. Put -- before input that starts with a dash.",
        ),
    ] = None,
    file: Annotated[Path | None, typer.Option("--file", help="Attach this file.")] = None,
    as_json: AsJson = False,
) -> int:
    """Run a quick command and print its result."""
    from bot.cli import commands as cli_commands  # slow to load

    return cli_commands.quick_command(slug, words or [], file, as_json=as_json)


@_GROUPS["person"].command("export", epilog="Example: ponte person export web:ana")
def person_export(
    key: PersonKeyArgument,
    files: Annotated[
        Path | None,
        typer.Option(
            "--files", metavar="FOLDER", help="Write the export and its files to this folder."
        ),
    ] = None,
) -> int:
    """Export all data about a person as JSON."""
    from bot.cli import commands as person_commands  # slow to load

    return person_commands.person_export(key, files)


@cli.command(epilog="Example: ponte version")
def version() -> None:
    """Print the version of Ponte and, in a Git checkout, its commit."""
    _print_version(True)


def run_command(arguments: Sequence[str], is_english: bool) -> int:
    """Run one command line and return its exit code. Wrong usage is reported on stderr. If
    `is_english`, the help needs no translation."""
    add_operations()
    command = typer.main.get_command(cli)
    if not is_english:
        _translate(command)
    # `standalone_mode=False`: otherwise Typer prints errors itself, in English, and exits.
    try:
        code = command.main(args=arguments, prog_name="ponte", standalone_mode=False)
    except TyperException as error:
        words = error.format_message()
        # Without any command, the words are the help, which begins with "Usage:".
        if not words.startswith("Usage:"):
            # Some errors have no `ctx`, or None, and so no name of a command.
            name = getattr(getattr(error, "ctx", None), "command_path", "ponte")
            advice = say("Run `{command} --help` for help.", command=name)
            words = f"{name}: {_translate_usage_error(words)} {advice}"
        # As command-line tools do, 2 tells a wrong use and 1 another failure.
        typer.echo(words, err=True)
        return 2
    except typer.Abort:  # Ctrl-C at a question
        raise KeyboardInterrupt from None
    return code if isinstance(code, int) else 0


def _translate(command: Any) -> None:
    command.help = say(command.help or "")
    if example := getattr(command, "epilog", None):
        command.epilog = example.replace("Example:", say("Example:"))
    for parameter in command.params:
        if help := getattr(parameter, "help", None):
            parameter.help = say(help)
    for under in getattr(command, "commands", {}).values():
        _translate(under)


def _translate_usage_error(words: str) -> str:
    """Translate an error of Typer, which has English texts only. A text that no pattern matches
    stays."""
    sentences = {
        r"Missing argument (?P<name>.+)\.$": say("Missing argument {name}."),
        r"Missing option (?P<name>.+)\.$": say("Missing option {name}."),
        r"Missing command\.$": say("Missing command."),
        r"No such command (?P<name>.+)\.$": say("No such command {name}."),
        r"No such option: (?P<name>\S+)( .*|$)": say("No such option: {name}."),
        r"Option (?P<name>.+) requires an argument\.$": say("Option {name} requires an argument."),
        r"Got unexpected extra .* \((?P<name>.*)\)": say("Unexpected arguments: {name}."),
        r"Invalid value for (?P<name>[^:]+): Input should be a valid integer.*": say(
            "Invalid value for {name}: enter a whole number."
        ),
        r"Invalid value for (?P<name>[^:]+): (?P<why>.*)": say("Invalid value for {name}: {why}"),
        r"Invalid value: (?P<why>.*)": say("Invalid value: {why}"),
    }
    for pattern, sentence in sentences.items():
        if match := re.fullmatch(pattern, words, re.DOTALL):
            return sentence.format(**match.groupdict())
    return words
