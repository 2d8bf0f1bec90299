"""`make reference`: the pages of docs/reference that are made from the code.

Settings come from their fields, `ponte.toml` from the classes that read it, `ponte` from its
command line, chat commands from their grammar, routes from the application.
`python -m tests.watching.tables` writes the pages of metrics and of the log.
What a thing means stands where it is defined; what has no words there stops the making of it.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NotRequired, get_args, get_origin, get_type_hints

import typer
from pydantic import SecretStr
from typing_extensions import is_typeddict

from adapters.web.api.openapi import HOOK_STATUSES, PLATFORM_STATUSES, answer_type, is_open
from adapters.web.http_io import DeclaredRoute
from adapters.web.hub import HOOKS_PATH
from adapters.web.sign_in import COMPATIBLE_PREFIX
from bot.cli.main import cli
from bot.config import ponte_toml as config
from bot.config import toml_values as config_types
from bot.integrations import FACES
from bot.settings import Settings
from core.commands.grammar import COMMAND_NAMES, TRANSLATED
from tests.docs.limits import limits
from tests.fakes.web_surfaces import all_routes

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "reference"
ROUTES = "routes"
GROUP = re.compile(r"^# --- (.*)$|^#([A-Z_]+)=(.*)$", re.MULTILINE)
TYPED: Mapping[str, tuple[str, str]] = {
    "help": ("show what you can type", "everyone"),
    "status": ("show what is connected and its state", "everyone"),
    "usage": ("show your usage today and what is left; `usage channel`: usage by person here",
              "everyone; the usage of others: admins"),
    "new": ("start a new conversation; the old one can still be read",
            "everyone; in shared places the person who started it, and admins"),
    "forget": ("delete this conversation everywhere; in shared places `forget yes`",
               "everyone; in shared places the person who started it, and admins"),
    "stop": ("stop what Ponte is doing here",
             "everyone; in shared places the person who asked, and admins"),
    "changes": ("list the changes made here; at the terminal, the changes of all places",
                "everyone"),
    "approvals": ("list the requests that wait for you", "everyone"),
    "change": (
        "`change ID FIELD = VALUE`: change a request that waits; one field a line",
        "anyone who can see the request and could ask for it",
    ),
    "approve": ("`approve ID`: approve a request; `approve ID ID …`: several",
                "anyone who can approve it"),
    "deny": ("`deny ID`, `deny ID REASON`: deny a request; also adds the reason of your denial",
             "anyone who can approve it, and the person who asked"),
    "again": (
        "`again ID`: propose a denied, expired or failed request again, with rows as they are now",
        "the person who asked",
    ),
    "undo": ("`undo ID`: undo a change, for 7 days", "anyone who can approve it"),
    "schedules": ("list your schedules and reminders, and those of this place; `schedules 2`: "
                  "the second page", "everyone"),
    "schedule": ("`schedule ID ACTION`: `show`, `pause`, `resume`, `run` or `delete` "
                 "a schedule",
                 "its owner; `pause`, `resume`, `run`, `delete`: admins too"),
    "why": ("`why ID`, `why TOOL`, `why RIGHT`: show which rule applies",
            "everyone, about themselves"),
    "quick-command": ("`quick-command SLUG …`: run a quick command",
                      "anyone with `spend`; for `effect = \"write\"`, `propose` too"),
}  # fmt: skip
"""For each command in a chat: what it does, and who can use it."""
Row = Sequence[str]


def pages() -> dict[Path, str]:
    """Return the Markdown of each generated page, by its path."""
    http = FOLDER / "http.md"
    return {
        FOLDER / "settings.md": _page("Settings", _settings()),
        FOLDER / "ponte-toml.md": _page("The file ponte.toml", _file()),
        FOLDER / "commands.md": _page(
            "Commands", ["## In the shell", "", *_shell(), "", "## In a chat", "", *_chat()]
        ),
        FOLDER / "limits.md": _page("Limits", limits()),
        http: with_section(http.read_text("utf-8"), ROUTES, "\n".join(_http())),
    }


def _page(title: str, lines: Iterable[str]) -> str:
    made = "`make reference` writes this page from the code, and a test compares the two."
    return "\n".join([f"# {title}", "", made, "", *lines]) + "\n"


def with_section(page: str, name: str, text: str) -> str:
    """Return that page with `text` between the comments that mark the section `name`."""
    begin, end = f"<!-- {name} -->\n", f"\n<!-- end of {name} -->"
    before, found, rest = page.partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise LookupError(f"no section {name} in the page")
    return f"{before}{begin}\n{text}\n{end}{after}"


def _table(head: Row, rows: Iterator[Row] | Sequence[Row]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in lines]


def _settings() -> Iterator[str]:
    yield (
        "Ponte reads settings from the environment and from the file `.env` in the folder it is "
        "started in. The environment wins. [.env.example](../../.env.example) is a file to copy; "
        "it has the settings in this order."
    )
    rows: list[Row] = []
    known = dict(Settings.model_fields)
    for group, name, shown in GROUP.findall((ROOT / ".env.example").read_text("utf-8")):
        if group:
            yield from (["", *_table(("setting", "default", "meaning"), rows)] if rows else [])
            rows = []
            yield from ("", f"## {group.rstrip('.')}")
            continue
        field = known.pop(name.lower())
        secret = " (secret)" if SecretStr in _inside(field.annotation) else ""
        rows.append((f"`{name}`", f"`{shown}`" if shown else "–", f"{field.description}{secret}"))
    yield from ["", *_table(("setting", "default", "meaning"), rows)]
    if known:
        raise LookupError(f"not in .env.example: {sorted(known)}")


def _inside(annotation: object) -> Iterator[object]:
    yield annotation
    for each in get_args(annotation):
        yield from _inside(each)


def _file() -> Iterator[str]:
    yield (
        "Keys with a default are optional. Ponte rejects unknown keys and wrong values, and names "
        "the line. `ponte reload` and SIGHUP apply the file without interrupting any answer. "
        "Changes to integrations (`[slack]`) and `[links]` need a restart. "
        "[ponte.toml.example](../../ponte.toml.example) shows every key."
    )
    for path, kind in sections():
        yield from ("", f"## `{path}`", "", _first(kind.__doc__ or ""), "")
        yield from _table(("key", "type", "default", "meaning"), list(_keys(kind)))
    yield from ("", "## `[groups]`", "", "Sets of people, for rules and approvers.", "")
    yield from _table(("key", "type"), [("a set name", "list of person key")])
    yield from ("", "## Types", "")
    forms = {
        name.lower(): words
        for module in (config, config_types)
        for name, words in _attributes(inspect.getsource(module)).items()
    }
    used = [_split(name) for name in sorted(_FORMS)]
    yield from _table(
        ("type", "is written"), [(name, forms[name.replace(" ", "")]) for name in used]
    )


_FORMS = {
    "Approver",
    "Duration",
    "HookPlace",
    "PersonKey",
    "Place",
    "Right",
    "SetName",
    "Slug",
    "Texts",
    "Where",
    "Who",
}
_SIMPLE = {
    "AgentId": "text", "BotId": "text", "FieldPath": "text", "GroupName": "text",
    "HeaderName": "text", "Host": "text", "Language": "text", "VariableName": "text", "str": "text",
    "Days": "number", "Dollars": "number", "Many": "number",
    "StrictBool": "true or false", "Count": "0 to 1,000", "Positive": "1 to 1,000",
}  # fmt: skip
"""Types whose meaning the key says."""


_NAMED = {"Place": '"PLACE"', "Slug": "SLUG"}
"""How the names under a table are written in a heading."""


def _split(name: str) -> str:
    return re.sub(r"(?<=[a-z])([A-Z])", r" \1", name).lower()


def sections() -> Iterator[tuple[str, type[Any]]]:
    """Each table of ponte.toml as it is written, with the class that reads it."""
    own = get_type_hints(config.Config)
    for field in fields(config.Config):
        if field.init:
            name = _NAMED.get(str(field.type).partition(",")[0].partition("[")[2], "NAME")
            yield from _under(field.name, own[field.name], name)
    for face in FACES:
        if face.section:
            yield f"[{face.name}]", face.section


def _under(path: str, annotation: object, name: str = "NAME") -> Iterator[tuple[str, type[Any]]]:
    if is_dataclass(annotation) and isinstance(annotation, type):
        yield f"[{path}]", annotation
        hints = get_type_hints(annotation)
        for field in fields(annotation):
            yield from _under(f"{path}.{field.name}", hints[field.name])
        return
    inner = get_args(annotation)
    if getattr(annotation, "__origin__", None) is tuple:
        yield from ((f"[{each}]", kind) for each, kind in _under(path, inner[0]))
    elif inner and is_dataclass(inner[-1]):
        yield from _under(f"{path}.{name}", inner[-1])


def _keys(kind: type[Any]) -> Iterator[Row]:
    words = _attributes(inspect.getsource(kind))
    for field in fields(kind):
        if not field.init:
            continue
        default = "needed"
        if field.default is not MISSING:
            default = _toml(field.default)
        elif field.default_factory is not MISSING:
            default = "–"
        if str(field.type) == "Duration":
            default = "–"  # a time that is left out means never
        yield f"`{field.name.rstrip('_')}`", _type(str(field.type)), default, words[field.name]


def _toml(value: object) -> str:
    match value:
        case None | () | "":
            return "–"
        case bool():
            return f"`{str(value).lower()}`"
        case str():
            return f'`"{value}"`'
    return f"`{value}`"


def _type(source: str) -> str:
    """An annotation in words: `tuple[Who, ...]` is a list of who."""
    source = source.removesuffix(" | None")
    if found := re.fullmatch(r"tuple\[(.*), \.\.\.\]", source):
        return f"list of {_type(found[1])}"
    if found := re.fullmatch(r"Mapping\[(\w+), (.*)\]", source):
        inner = found[2]
        return f"table: {_type(inner)} by name" if _is_plain(inner) else "tables by name"
    if found := re.fullmatch(r"Literal\[(.*)\]", source):
        options = ast.literal_eval(f"[{found[1]}]")
        return " or ".join(_toml(each) for each in options if each != "")
    literal = {"Access", "CountedBy", "PeriodLength", "Approvals", "HookKind"}
    if source in literal:
        return " or ".join(_toml(each) for each in get_args(getattr(config, source)))
    return _SIMPLE.get(source) or _split(source)


def _is_plain(source: str) -> bool:
    return not is_dataclass(getattr(config, source, None))


def _attributes(source: str) -> dict[str, str]:
    """Name → the words under its definition, for what stands in a module or in its first class."""
    tree = ast.parse(inspect.cleandoc(source) if source[:1].isspace() else source)
    body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else tree.body
    found = {}
    for one, two in pairwise(body):
        target = one.targets[0] if isinstance(one, ast.Assign) else getattr(one, "target", None)
        if isinstance(target, ast.Name) and isinstance(two, ast.Expr):
            found[target.id] = " ".join(str(ast.literal_eval(two.value)).split())
    return found


def _first(docstring: str) -> str:
    """Without what it raises, and the names of our modules, in one line."""
    words = " ".join(docstring.split())
    words = re.split(r"(?:^| )Raises ", words)[0]
    return re.sub(r" \(`core\.[\w.]+`\)", "", words)


def _shell() -> Iterator[str]:
    yield (
        "Exit codes: 0 success, 1 a failure with a message, 2 wrong usage or settings. Add "
        "`--help` to a command to read this in the language of `PONTE_LOCALE`. "
        "`ponte --install-completion` teaches your shell to complete commands."
    )
    commands = list(_commands(typer.main.get_command(cli)))
    counts = Counter(option for _, command in commands for option in _options(command))
    common = [option for option, count in counts.items() if count >= 3 and option[0][0] == "["]
    yield ""
    yield from (f"- `{usage}`: {help}" for usage, help in common)
    yield ""
    rows: list[Row] = []
    for path, command in commands:
        options = _options(command)
        told = [
            f"`{usage}` {help}" for usage, help in options if help and (usage, help) not in common
        ]
        call = " ".join([path, *(usage for usage, _ in options)])
        rows.append((f"`{call}`", "<br>".join([_first(command.help or ""), *told])))
    yield from _table(("command", "what it does"), rows)


def _commands(command: Any, path: str = "ponte") -> Iterator[tuple[str, Any]]:
    """Yield each command that has no further ones, with the words to call it."""
    under = getattr(command, "commands", {})
    if not under:
        yield path, command
    for name, each in under.items():
        yield from _commands(each, f"{path} {name}")


def _options(command: Any) -> list[tuple[str, str]]:
    return [_option(each) for each in command.params]


def _option(parameter: Any) -> tuple[str, str]:
    """How it is written, and its help."""
    if parameter.param_type_name == "argument":
        metavar = parameter.metavar or parameter.name.upper()
        usage = metavar if parameter.required or metavar[:1] == "[" else f"[{metavar}]"
    else:
        name = parameter.opts[-1]
        usage = f"[{name}]" if parameter.is_flag else f"[{name} {parameter.name.upper()}]"
        usage = usage[1:-1] if parameter.required else usage
    return usage, getattr(parameter, "help", None) or ""


def _chat() -> Iterator[str]:
    yield (
        "Type a command alone in a message, with or without `/` or `!` before it. Everyone can "
        "use the English words. People whose language is Portuguese or French can also use the "
        "translated words, with or without accents."
    )
    yield ""
    rows: list[Row] = []
    for name in sorted(COMMAND_NAMES):
        what, who = TYPED[name]
        words = [_in_language(name, locale) for locale in TRANSLATED]
        rows.append((f"`{name}`", *words, what, who))
    yield from _table(("English", *TRANSLATED, "what it does", "who can use it"), rows)
    yield ""
    yield "A message that is only a fenced Python block runs it. This needs the permission `code`."


def _in_language(name: str, locale: str) -> str:
    return ", ".join(
        f"`{word}`" for word, english in TRANSLATED[locale].items()
        if english == name or english.startswith(f"{name} ")
    ) or "–"  # fmt: skip


def _http() -> Iterator[str]:
    rows: list[Row] = []
    for route in all_routes():
        who = "token"
        if is_open(route.path):
            who = "anyone"
        elif route.path.startswith(COMPATIBLE_PREFIX):
            who = "API token"
        elif route.path.startswith("/operator/"):
            who = "the socket"
        own = route.declaration
        request = f"`{own.method} {route.path.replace(':path', '')}`"
        rows.append((request, who, _request_fields(route), _answer(route), _numbers(own.refuses)))
    for path, statuses in (("/slack/events", PLATFORM_STATUSES), (HOOKS_PATH, HOOK_STATUSES)):
        done, refused = (_numbers(s for s in statuses if (s < 300) == ok) for ok in (True, False))
        rows.append((f"`POST {path}`", "its own signature", "", done, refused))
    yield from _table(("request", "who", "sends", "answer", "refusals"), rows)


def _numbers(statuses: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(statuses)))


def _request_fields(route: DeclaredRoute) -> str:
    """Return the fields of the body and the parameters of the query."""
    parts = [f"`?{name}=`" for name in route.declaration.query]
    if (body := route.body_model) is not None:
        fields = [
            f'"{name}"' + ("" if field.is_required() else "?")
            for name, field in body.model_fields.items()
        ]
        parts.insert(0, f"`{{{', '.join(fields)}}}`" if fields else "JSON")
    return " ".join(parts)


def _answer(route: DeclaredRoute) -> str:
    """Return the status of a success and the form of its body."""
    media = [f"`{kind}`" for kind in route.declaration.media]
    shape = [f"`{_shape(kind)}`"] if (kind := answer_type(route)) is not None else []
    return " ".join([str(route.declaration.status), " or ".join(shape + media)]).strip()


def _shape(kind: Any) -> str:
    """Return the keys of an object, and those of the objects in its only list."""
    if get_origin(kind) is list:
        return f"[{_shape(get_args(kind)[0])}]"
    if not is_typeddict(kind):
        return "{…}"
    keys = []
    for name, of in get_type_hints(kind, include_extras=True).items():
        inside = get_args(of)[0] if get_origin(of) is list else None
        listed = (
            f": [{_shape(inside)}]"
            if is_typeddict(inside) and len(kind.__annotations__) == 1
            else ""
        )
        keys.append(f'"{name}"' + ("?" if get_origin(of) is NotRequired else "") + listed)
    return f"{{{', '.join(keys)}}}"


def main() -> int:
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
