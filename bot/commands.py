"""What the commands do, apart from reading the command line. Each returns its exit code."""

from __future__ import annotations

import asyncio
import datetime
import json
import re
import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from adapters.web import with_token
from bot.app import Start, start
from bot.client import Json, LocalClient, local_client
from core.conversation.grammar import Command, check_slug, parse, typed
from core.errors import BadInput, PonteError, SettingsError
from core.quick_commands import Inputs, named_once, parse_input
from core.settings import cause, plain
from core.text import clean, one_line

_BLOCK = re.compile(
    r"(?P<mark>`{3,})[^`\n]*\n(?P<code>(?:(?!\n(?P=mark)).)*)\n(?P=mark)", re.DOTALL
)
_PAIR = re.compile(r"([^\W\d][\w.-]*)=(.*)", re.DOTALL)
Shown = Mapping[str, Any]
T = TypeVar("T")


def threads_lines(threads: Iterable[Shown]) -> Iterator[str]:
    """One line each: when it was last used (UTC), how many messages it has, its key."""
    for thread in threads:
        used = _when(thread.get("used_at"))
        count = thread.get("messages", 0)
        yield f"{used:<16}  {count:>6}  {one_line(str(thread.get('conversation', '')))}"


def thread_lines(thread: Shown) -> Iterator[str]:
    """Each message: when and who in one line, its text in the next ones, indented."""
    for message in thread.get("messages", ()):
        who = message.get("name") or message.get("role", "")
        yield f"{_when(message.get('at'))}  {one_line(str(who))}"
        for line in clean(str(message.get("text", ""))).splitlines():
            yield f"    {line}"


def run() -> int:
    """Raises what it cannot start for: SettingsError, HomeTaken, HomeUnusable."""
    begun = start()
    from bot import app

    return asyncio.run(app.run(begun.settings, begun.config, begun.home))


def chat() -> int:
    begun = start(quiet=True)
    from adapters.terminal.chat import chat as converse
    from bot import app

    async def talk() -> int:
        async with app.local(begun.settings, begun.config, begun.home) as socket_path:
            locale = begun.settings.ponte_locale
            return await converse(socket_path, locale, sys.stdin, sys.stdout)

    return asyncio.run(talk())


def link() -> int:
    begun = start(quiet=True)
    settings, home = begun.settings, begun.home
    if settings.ponte_web == "off":
        raise PonteError("There is no page: PONTE_WEB is off. Set it to on.")
    if home.is_served() and (known := _with_holder(lambda one: one.link())):
        _print_all([known])
        return 0
    token = plain(settings.ponte_web_token) or home.kept_web_token()
    if not token or not settings.ponte_web_port:
        raise PonteError("The page is not there yet. Start it with `ponte run`.")
    _print_all([with_token(settings.page(settings.page()), token)])
    sys.stderr.write("The page is not served now. Start it with `ponte run`.\n")
    return 0


def doctor() -> int:
    from bot.doctor import examine

    begun = start(quiet=True)
    return asyncio.run(examine(begun, print))


def sandbox() -> int:
    """Make the sandbox's own Python, ahead of its first use."""
    begun = start(quiet=True)
    from core.tools.code import CODE

    begun.home.path.mkdir(mode=0o700, parents=True, exist_ok=True)
    asyncio.run(CODE.prepare(begun.home.path, begun.settings.proxies, print))
    return 0


def slack_manifest(*, link: bool) -> int:
    from adapters.slack import setup

    settings = start(quiet=True).settings
    url = f"{settings.ponte_web_url}/slack/events" if settings.slack == "http" else ""
    if settings.slack == "http" and not settings.ponte_web_url:
        raise SettingsError("PONTE_WEB_URL: set it, so that Slack knows where to send its events.")
    made = setup.manifest(request_url=url)
    _print_all([setup.link(made) if link else json.dumps(made, indent=2, ensure_ascii=False)])
    return 0


def say(message: str) -> int:
    """One of the words that a person can type, to whoever holds the home."""
    body = _with_holder(lambda one: one.say(message))
    return _print_answer(body, as_json=False)


def undo(id: str) -> int:
    """Raises BadInput for what is no id: it would be a message for the model."""
    wanted = parse(f"undo {id}")
    if wanted is None or wanted.id != id.lower():
        raise BadInput("{id} is no change. `ponte changes list` shows the ids.", id=repr(id[:40]))
    return say(typed(wanted))


def quick_command(
    slug: str, words: Sequence[str], file: Path | None, *, as_json: bool = False
) -> int:
    typed = _typed(slug, words)
    attached = _attached(file) if file else None

    async def ask(one: LocalClient) -> tuple[Json, str]:
        body = await one.run(typed, attached)
        return body, await one.result(body)

    body, result = _with_holder(ask)
    if as_json:
        return _print_answer(body, as_json=True)
    done = body.get("status") == "done"
    (sys.stdout if done else sys.stderr).write(
        (clean(_bare(result)) if done else one_line(result)) + "\n"
    )
    return 0 if done else 1


def threads_list(*, as_json: bool = False) -> int:
    threads = _with_holder(lambda one: one.threads())
    _print_all([json.dumps(threads, ensure_ascii=False)] if as_json else threads_lines(threads))
    return 0


def threads_show(conversation: str, *, as_json: bool = False) -> int:
    thread = _with_holder(lambda one: one.thread(conversation))
    whole = json.dumps(thread, ensure_ascii=False)
    _print_all([whole] if as_json else thread_lines(thread))
    return 0


def threads_forget(conversation: str, person: str) -> int:
    whom = {"person": person} if person else {"conversation": conversation}
    done = _with_holder(lambda one: one.forget(whom))
    _print_all([f"Forgotten: {done.get('messages', 0)} messages."])
    return 0


def _with_holder(work: Callable[[LocalClient], Awaitable[T]]) -> T:
    async def ask(begun: Start) -> T:
        async with local_client(begun) as one:
            return await work(one)

    return asyncio.run(ask(start(quiet=True)))


def _when(at: object) -> str:
    if not isinstance(at, int | float) or not at:
        return ""
    moment = datetime.datetime.fromtimestamp(at, datetime.UTC)
    return f"{moment:%Y-%m-%d %H:%M}"


def _typed(slug: str, words: Sequence[str]) -> str:
    """The line that a person would write in a chat. Raises BadInput, UnknownCommand.

    The shell has already taken the quotes away, and each of its arguments is one thing as it was
    given: where the first has the form KEY=VALUE, one input, whatever spaces are in its value.
    """
    check_slug(slug)
    pairs = [_PAIR.fullmatch(word) for word in words]
    if not pairs or pairs[0] is None:
        given: Inputs = parse_input(" ".join(words))
    elif None in pairs:
        stray = words[pairs.index(None)]
        raise BadInput("I read KEY=VALUE here, but {word} is none.", word=repr(stray[:40]))
    else:
        given = named_once((pair[1], clean(pair[2])) for pair in pairs if pair)
    return typed(Command("quick-command", slug=slug, input=given))


def _bare(result: str) -> str:
    """What a program that reads it wants: the code or JSON without the fence around it."""
    block = _BLOCK.fullmatch(result.strip())
    return block["code"] if block else result


def _attached(file: Path) -> tuple[str, bytes]:
    try:
        return file.name, file.read_bytes()
    except OSError as error:
        raise BadInput(
            "The file {file} cannot be read ({cause}).", file=file, cause=cause(error)
        ) from None


def _print_answer(body: Json, *, as_json: bool) -> int:
    text = str(body.get("response", ""))
    _print_all([json.dumps(body, ensure_ascii=False)] if as_json else [clean(text)])
    return 0 if body.get("status") == "done" else 1


def _print_all(lines: Iterable[str]) -> None:
    for line in lines:
        sys.stdout.write(line + "\n")
