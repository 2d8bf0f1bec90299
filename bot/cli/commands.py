"""The work of each command of `ponte`, which returns the exit code."""

from __future__ import annotations

import asyncio
import base64
import datetime
import json
import os
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from adapters.terminal.screen import DownloadedFile
from adapters.web import add_token
from bot import __version__
from bot.app import start
from bot.cli.client import Json, LocalClient, connect
from bot.home import Start
from bot.operations import OPERATIONS
from core.base import i18n
from core.base.errors import BadInput, PonteError, SettingsError, TooLarge
from core.base.i18n import plural, say
from core.base.json_text import to_json_line
from core.base.markdown import to_plain_text
from core.base.private_files import create_file, make_folder, open_folder
from core.base.text import clean_text, safe_file_name, to_one_line
from core.commands.grammar import TypedCommand, check_slug, render_command
from core.commands.quick_commands import Inputs, check_unique_names, parse_input
from core.integrations import describe_read_error, plain_value

_BLOCK = re.compile(
    r"(?P<mark>`{3,})[^`\n]*\n(?P<code>(?:(?!\n(?P=mark)).)*)\n(?P=mark)", re.DOTALL
)
_PAIR = re.compile(r"([^\W\d][\w.-]*)=(.*)", re.DOTALL)
MAX_PROMPT_BYTES = 1_900_000
"""How much `ponte ask` reads from standard input. The server accepts a message of 2 MB
(MAX_TEXT_BYTES in `adapters/web/http_io.py`), and the argument needs room too."""
T = TypeVar("T")


def chat() -> int:
    """Run `ponte chat`: chat in this terminal with the running Ponte, or with one that this process
    starts for as long.

    `asks_holder`: errors of ponte.toml matter only if no Ponte runs. `prepares`: one that is
    started here also makes ready what only a turn needs, such as a check of the model's server.
    """
    inputs = start(quiet=True, asks_holder=True)
    if sys.stdin.isatty() and sys.stdout.isatty() and not inputs.home.is_served():
        sys.stdout.write(say("Starting Ponte…") + "\n")
        sys.stdout.flush()
    # Loaded here, so that other commands start faster.
    from adapters.terminal.chat import chat as converse
    from bot import app

    async def talk() -> int:
        async with app.local(inputs, prepares=True) as socket_path:
            return await converse(socket_path, sys.stdin, sys.stdout)

    return asyncio.run(talk())


def ask(
    text: str,
    files: Sequence[Path],
    form: str | None,
    output: Path | None,
    table: int,
    saved_question: str = "",
) -> int:
    """Run `ponte ask`: print the answer to `text` and all of standard input, or the result of
    `saved_question`, a name. Return the exit code.

    Stdout gets nothing but the answer, for scripts. With a format (`form`), it gets only the rows
    of the answer's table with the number `table`, unless they go to the file `output`. Cards,
    files, progress and errors go to stderr, and with a format the answer's other words, because
    they say how many of all rows these are. `@name` in `text` attaches that file, as in
    `ponte chat`; on standard input it does not, because that may be somebody else's text.
    """
    # Loaded here, so that other commands start faster.
    from adapters.terminal.chat import decode_input, read_attachments
    from adapters.terminal.screen import Screen

    piped = ""
    if not saved_question and not sys.stdin.isatty():
        data = sys.stdin.buffer.read(MAX_PROMPT_BYTES + 1)
        if len(data) > MAX_PROMPT_BYTES:
            raise BadInput(
                "Standard input is larger than {limit}. Nothing was sent. Send it as a file with "
                "`--file`, or send only a part of it.",
                limit=i18n.format_size(MAX_PROMPT_BYTES),
            )
        if (decoded := decode_input(data)) is None:
            raise BadInput(
                "Standard input isn't UTF-8 text. Nothing was sent. Send a file with `--file`."
            )
        piped = decoded
    prompt = "\n\n".join(filter(None, (text.strip(), piped.strip())))
    if not prompt and not files and not saved_question:
        raise BadInput("The prompt is empty.")
    attached = read_attachments(text) + [_read_attachment(file) for file in files]
    answer, other = Screen(sys.stdout), Screen(sys.stderr, shows_shell_commands=True)

    async def ask_one(one: LocalClient) -> tuple[Json, Sequence[DownloadedFile], bytes | None]:
        grows = None if form else answer
        body, saved = await one.ask(prompt, attached, grows, other, saved_question)
        rows = None
        if form and body["status"] == "done":
            rows = await one.fetch_table(body["turn"], table, form)
        return body, saved, rows

    body, saved, rows = ask_holder(ask_one, prepares=True)
    is_answered = body["status"] == "done"
    if rows is None:  # no format was asked for, or the answer has no such table
        # Text that was streamed to a terminal is completed there, even if the answer failed.
        shows_on_stdout = (is_answered or answer.live) and not form
        (answer if shows_on_stdout else other).show_answer({**body, "cards": ()})
    other.show_extras(body["cards"], saved)
    if rows is not None:
        _write_bytes(rows, output)
        words = re.sub(r"(?m)^\|.*\n*", "", body["response"])  # without the tables
        other.show_answer({"response": words, "cards": ()})
    elif form and is_answered:
        raise PonteError("The answer has no such table. Ask for a list of rows.")
    return 0 if is_answered else 1


def _write_bytes(data: bytes, file: Path | None) -> None:
    """Write to the file, or to stdout."""
    if file is None:
        sys.stdout.buffer.write(data)
        return
    try:
        with open(file, "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as out:
            out.write(data)
    except OSError as error:
        words = "Can't write to the file {file} ({cause}). Check the path."
        raise PonteError(words, file=file, cause=describe_read_error(error)) from None


def link(*, as_json: bool = False) -> int:
    """Run `ponte link`: print the page's link with the owner's token, from the running Ponte, which
    knows the page's address, or else made from the settings."""
    # An error of ponte.toml matters only if no running Ponte can be asked.
    inputs = start(quiet=True, asks_holder=True)
    settings, home = inputs.settings, inputs.home
    if settings.ponte_web == "off":
        raise PonteError("The page is turned off. Set PONTE_WEB=on to use it.")
    body = ask_holder(lambda one: one.run_operation("link")) if home.is_served() else {"link": ""}
    # Without a running page, the link is made from the stored token, for later. Port 0 stands for
    # one that the system chooses when the page starts, so it is not known yet.
    if not (address := body["link"]):
        token = plain_value(settings.ponte_web_token) or home.kept_web_token()
        if not token or not settings.ponte_web_port:
            raise PonteError("The page isn't running yet. Start it with `ponte run`.")
        # The inner call returns where the page will listen, the outer one how a browser opens it
        # (127.0.0.1 in place of 0.0.0.0).
        address = add_token(settings.page_url(settings.page_url()), token)
        sys.stderr.write(say("The page isn't running. Start it with `ponte run`.") + "\n")
    _print_all([json.dumps({"link": address}) if as_json else address])
    return 0


def doctor(try_model: Callable[[], None] | None, *, as_json: bool = False) -> int:
    """Run `ponte doctor`. `try_model` is called before paid requests are sent to the model; None
    sends none."""
    # Loaded here, so that other commands start faster.
    from bot.cli import doctor

    inputs = start(quiet=True, asks_holder=True)
    code = asyncio.run(doctor.examine(inputs, print, as_json=as_json))
    if try_model is not None:
        code |= asyncio.run(doctor.try_model(inputs, print, try_model, as_json=as_json))
    return code


def sandbox() -> int:
    """Run `ponte sandbox`: install the sandbox's Python packages before their first use."""
    inputs = start(quiet=True)
    from core.tools.code import CODE_INTEGRATION

    inputs.home.path.mkdir(mode=0o700, parents=True, exist_ok=True)
    asyncio.run(CODE_INTEGRATION.prepare(inputs.home.path, inputs.settings.proxies, print))
    return 0


def slack_manifest(*, link: bool) -> int:
    """Run `ponte slack-manifest`: print the description of the Slack app for the way in which Slack
    delivers events, as the running Ponte has it, or else by the settings. `link`: print a URL that
    creates the app instead.
    """
    # Loaded here, so that other commands start faster.
    from adapters.slack import setup

    # An error of ponte.toml is only noted as `fault`: a running Ponte can still answer with the
    # settings that it uses.
    inputs = start(quiet=True, asks_holder=True)
    if inputs.home.is_served():
        values = ask_holder(lambda one: one.run_operation("slack show"), inputs)
        slack, page = str(values["slack"]), str(values["page"])
    elif inputs.fault:
        raise inputs.fault
    else:
        slack, page = inputs.settings.slack, inputs.settings.ponte_web_url or ""
    if slack == "http" and not page:
        raise SettingsError("PONTE_WEB_URL isn't set. Slack needs it to send events.")
    if not page:
        words = "PONTE_WEB_URL isn't set, so the manifest has no address for sign-in with Slack."
        sys.stderr.write(say(words) + "\n")
    app = setup.manifest(
        request_url=f"{page}/slack/events" if slack == "http" else "", page_url=page
    )
    _print_all([setup.link(app) if link else json.dumps(app, indent=2, ensure_ascii=False)])
    return 0


def quick_command(
    slug: str, words: Sequence[str], file: Path | None, *, as_json: bool = False
) -> int:
    """Run `ponte quick-command` and print its result. `words` are its input as the shell passes it:
    pairs KEY=VALUE, or one text."""
    # The shell has removed the quotes, so each argument is one value, whatever spaces it has. The
    # form of the first decides whether all are KEY=VALUE.
    check_slug(slug)
    pairs = [_PAIR.fullmatch(word) for word in words]
    if not pairs or pairs[0] is None:
        values: Inputs = parse_input(" ".join(words))
    elif None in pairs:
        stray = words[pairs.index(None)]
        raise BadInput("`{word}` isn't in the form KEY=VALUE.", word=stray[:40])
    else:
        values = check_unique_names((pair[1], clean_text(pair[2])) for pair in pairs if pair)
    typed = render_command(TypedCommand("quick-command", slug=slug, input=values))
    attached = _read_attachment(file) if file else None

    async def ask(one: LocalClient) -> tuple[Json, str]:
        body = await one.run(typed, attached)
        return body, await one.result(body)

    body, result = ask_holder(ask)
    ok = body.get("status") == "done"
    if as_json:
        _print_all([to_json_line(body)])
        return 0 if ok else 1
    if ok:
        # Programs read code or JSON, so the fence around it is left out.
        block = _BLOCK.fullmatch(result.strip())
        sys.stdout.write(clean_text(block["code"] if block else result) + "\n")
    else:
        sys.stderr.write(to_one_line(to_plain_text(result)) + "\n")
    return 0 if ok else 1


def run_operation(name: str, arguments: Json, *, as_json: bool) -> int:
    """Run an operation in the process that holds the data folder, or in this one if none does, and
    print its result. One that needs only the settings runs here without a Ponte. Return the exit
    code."""
    # Loaded here, so that other commands start faster.
    from adapters.terminal.screen import Screen

    inputs, own = start(quiet=True, asks_holder=True), OPERATIONS[name]
    is_running = inputs.home.is_served()
    # With a database of its own, Ponte may run on another machine.
    if own.needs == "running" and not is_running and inputs.settings.database_url is None:
        raise PonteError(
            "Ponte isn't running with {home}, so there is nothing to reload.", home=inputs.home.path
        )
    if own.needs == "settings" and not is_running:
        from bot.operation_service import describe_offline

        if inputs.fault:
            raise inputs.fault
        return _print_result(asyncio.run(describe_offline(own, inputs, arguments, as_json=as_json)))

    async def print_answer(one: LocalClient) -> int:
        body = await one.run_operation(name, **arguments, linked=sys.stdout.isatty())
        if as_json:
            _print_all([to_json_line(body)])
        else:
            files = await one.save_files(body)
            Screen(sys.stdout, shows_shell_commands=True).show_answer(body, files)
        return int(body["status"] != "done")

    async def print_pages(one: LocalClient) -> int:
        # A long list comes in pages; `next` is where the following one begins.
        output, code, page_arguments = "json" if as_json else "text", 0, dict(arguments)
        while True:
            page = await one.run_operation(name, output=output, **page_arguments)
            code |= _print_result(page)
            if not page["next"]:
                return code
            page_arguments["after"] = page["next"]

    show = print_answer if own.is_chat else print_pages
    is_idle = name == "status" and not is_running and inputs.settings.database_url is None
    if is_idle:
        # The parts are those of this command's own Ponte, which answers nobody.
        words = "Ponte isn't running with {home}. Start it with `ponte run`."
        sys.stderr.write(say(words, home=inputs.home.path) + "\n")
    # "status" fails if nothing runs, so that a script can ask.
    return ask_holder(show, inputs, prepares=own.prepares) or int(is_idle)


def list_values(name: str, field: str) -> Sequence[str]:
    """Return the values of a field in the rows that an operation lists, for the shell's Tab; none
    if Ponte does not run, because a start would take too long."""
    try:
        inputs = start(quiet=True, asks_holder=True)
        if not inputs.home.is_served():
            return ()
        rows = ask_holder(lambda one: one.run_operation(name), inputs)
        return [str(row[field]) for row in rows]
    except PonteError:  # the shell shows no error while somebody types
        return ()


def _print_result(result: Json) -> int:
    _print_all(result["lines"])
    sys.stderr.writelines(f"{line}\n" for line in result["notes"])
    return int(result["failed"])


def ask_holder(
    work: Callable[[LocalClient], Awaitable[T]],
    begun: Start | None = None,
    *,
    prepares: bool = False,
) -> T:
    """Return what `work` gets from the process that holds the data folder, over its socket. If none
    does, this process holds the folder and serves the socket for as long; only then do errors of
    ponte.toml matter. `begun` has the settings if they are read already. `prepares`: this process
    then also checks the model's server and begins what else a turn needs."""
    # Loaded here, so that other commands start faster.
    from bot import app

    async def ask(begun: Start) -> T:
        async with (
            app.local(begun, prepares=prepares) as socket_path,
            connect(str(socket_path), begun) as one,
        ):
            return await work(one)

    return asyncio.run(ask(begun or start(quiet=True, asks_holder=True)))


def _read_attachment(file: Path) -> tuple[str, bytes]:
    """The file may be a pipe. Raises BadInput, TooLarge."""
    # Loaded here, so that other commands start faster.
    from adapters.terminal.chat import MAX_UPLOAD_BYTES

    try:
        with file.open("rb") as opened:
            # One byte more tells a larger file; a device never ends. The size of a pipe is 0, so
            # both are compared.
            data = opened.read(MAX_UPLOAD_BYTES + 1)
            size = max(len(data), os.fstat(opened.fileno()).st_size)
    except OSError as error:
        raise BadInput(
            "Can't read the file {file} ({cause}).", file=file, cause=describe_read_error(error)
        ) from None
    if size > MAX_UPLOAD_BYTES:
        raise TooLarge(size=i18n.format_size(size), limit=i18n.format_size(MAX_UPLOAD_BYTES))
    return file.name, data


def _print_all(lines: Iterable[str]) -> None:
    for line in lines:
        sys.stdout.write(line + "\n")


def person_export(key: str, folder: Path | None) -> int:
    """Run `ponte person export`: write the export of a person's data to stdout, or into
    `person.json` in `folder`, with the person's files beside it."""

    async def ask(one: LocalClient) -> None:
        """Nothing that exists in the folder is overwritten."""
        # The counts name the sections of the export, which are fetched one by one, and `person`,
        # the key that the argument `key` stands for.
        counts = await one.run_operation("person counts", key=key)
        if folder is None:
            async for piece in _export_pieces(one, counts):
                sys.stdout.write(piece)
            return
        try:
            with open_folder(folder) as top:  # its descriptor, in which the files are created
                with _refuse_existing(folder / "person.json"):
                    out = create_file("person.json", top)
                with out:
                    async for piece in _export_pieces(one, counts):
                        out.write(piece.encode())
                count = await _write_files(one, str(counts["person"]), folder, top)
        except OSError as error:
            words = "Can't write to the folder {folder} ({cause})."
            raise PonteError(words, folder=folder, cause=describe_read_error(error)) from None
        words = plural(
            "Saved {folder}/person.json and {count} file.",
            "Saved {folder}/person.json and {count} files.",
            count,
            folder=folder,
        )
        _print_all([words])

    ask_holder(ask)
    return 0


async def _export_pieces(one: LocalClient, known: Json) -> AsyncIterator[str]:
    """Yield the JSON of a person's export in pieces, because it may be larger than the memory.
    `known` is the result of `person counts`, which names the sections. The object's end is cut off
    from the head (`[:-2]`), and the sections follow."""
    person = str(known["person"])
    head = {
        "person": person,
        "names": known["names"],
        "exported": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "version": __version__,
        "conversations_with_others": known["shared"],
        "remembered": known["remembered"],
    }
    yield json.dumps(head, ensure_ascii=False, indent=1)[:-2]
    for section in known["sections"]:
        yield f",\n {json.dumps(section)}: "
        async for piece in _json_array(_fetch_rows(one, person, str(section))):
            yield piece
    yield ',\n "audit": '
    async for piece in _json_array(_fetch_audit_lines(one, person)):
        yield piece
    yield "\n}\n"


async def _json_array(rows: AsyncIterator[Json]) -> AsyncIterator[str]:
    before = "["
    async for row in rows:
        yield f"{before}\n  {to_json_line(row)}"
        before = ","
    yield "[]" if before == "[" else "\n ]"


async def _fetch_rows(one: LocalClient, person: str, section: str) -> AsyncIterator[Json]:
    begin = 0
    while rows := await one.run_operation(
        "person rows", person=person, section=section, begin=begin
    ):
        for row in rows:
            yield row
        begin += len(rows)


async def _fetch_audit_lines(one: LocalClient, person: str) -> AsyncIterator[Json]:
    after = ""
    while True:
        page = await one.run_operation("audit", after=after, person=person)
        for line in page["lines"]:
            yield line
        if not (after := page["next"]):
            return


async def _write_files(one: LocalClient, person: str, folder: Path, top: int) -> int:
    """Write the person's files, each fetched in pieces, into a new folder `files` in `folder`, of
    which `top` is an open descriptor. A name begins with the first digits of the file's id, because
    several can be equal. Return how many there are."""
    count = 0
    with _refuse_existing(folder / "files"), make_folder("files", top) as inner:
        async for row in _fetch_rows(one, person, "files"):
            id, name = str(row["id"]), safe_file_name(str(row["name"]))
            try:
                out = create_file(f"{id[:8]}-{name}", inner)
            except FileExistsError:  # another one begins with the same eight digits
                out = create_file(f"{id}-{name}", inner)
            with out:
                begin = 0
                while piece := await one.run_operation(
                    "person file", person=person, file=id, begin=begin
                ):
                    data = base64.b64decode(piece)
                    out.write(data)
                    begin += len(data)
            count += 1
    return count


@contextmanager
def _refuse_existing(path: Path) -> Iterator[None]:
    try:
        yield
    except FileExistsError:
        raise PonteError(
            "{path} already exists, and an export doesn't overwrite files. Choose another folder.",
            path=path,
        ) from None
