"""`make reference`: the pages of docs/reference that are made from the code, and the table of
column types in docs/guides/nocodb.md.

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
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NotRequired, get_args, get_origin, get_type_hints

import typer
from pydantic import SecretStr
from typing_extensions import is_typeddict

from adapters.mcp_server import MCP_PATH
from adapters.web.api.openapi import MOUNTED_ANSWERS, PLATFORM_ANSWERS, answer_type, is_open
from adapters.web.http_io import DeclaredRoute
from adapters.web.visitor import COMPATIBLE_PREFIX
from bot.cli.command_line import cli
from bot.config import ponte_toml as config
from bot.config import toml_values as config_types
from bot.features import load_modules
from bot.integrations import FACES
from bot.settings import Settings
from core.commands.grammar import COMMAND_NAMES, TRANSLATED
from core.tools.nocodb.fieldtypes import FIELD_TYPES, Kind
from core.turn.commands import HELP
from tests.docs.limits import limits
from tests.fakes.web_surfaces import all_routes

ROOT = Path(__file__).parents[2]
MODULES = (config, config_types, *load_modules("feature"))
"""Where the sections of ponte.toml and their types are."""
FOLDER = ROOT / "docs" / "reference"
ROUTES = "routes"
COLUMN_TYPES = "column types"
KINDS: Mapping[Kind, str] = {
    "words": "text",
    "options": "options, in any order",
    "people": "people",
    "number": "number",
    "mixed": "number or text",
    "day": "day",
    "moment": "day and time",
    "check": "yes or no",
    "opaque": "only empty or not",
}
GROUP = re.compile(r"^# --- (.*)$|^#([A-Z_]+)=(.*)$", re.MULTILINE)
TYPED: Mapping[str, tuple[str, str]] = {
    "help": ("show what you can type", ""),
    "status": ("show what is connected and its state", ""),
    "usage": ("show your usage today and what is left; `usage channel`: by person here",
              "usage of others: admins"),
    "new": ("start a new conversation; the old one stays readable",
            "in shared places who started it, and admins"),
    "forget": ("delete this conversation everywhere; in shared places `forget yes`",
               "in shared places who started it, and admins"),
    "stop": ("stop what Ponte is doing here", "in shared places whoever asked, and admins"),
    "changes": ("list the changes made here; at the terminal, all", ""),
    "approvals": ("list requests that wait for you", ""),
    "change": ("`change ID FIELD = VALUE`: change a waiting request; one field a line",
               "who can see the request and could ask for it"),
    "approve": ("`approve ID ID …`: approve requests", "approvers"),
    "deny": ("`deny ID REASON`: deny a request, or add the reason later",
             "approvers, and whoever asked"),
    "again": ("`again ID`: propose a denied, expired or failed request again, with current "
              "rows", "whoever asked"),
    "undo": ("`undo ID`: undo a change, for 7 days", "approvers"),
    "schedules": ("list your and this place's schedules and reminders; `schedules 2`: the "
                  "second page", ""),
    "schedule": ("`schedule ID ACTION`: `show`, `pause`, `resume`, `run` or `delete` it",
                 "its owner; all but `show`: admins too"),
    "alerts": ("list your and this place's alerts, with their last values; `alert ID ACTION`: as "
               "`schedule`", ""),
    "rerun": ("read the rows of the newest answer of tables here again; the button **Run again** "
              "adds whose", ""),
    "save": ("what the form of **Save…** sends", ""),
    "watch": ("what the form of **Alert…** sends", ""),
    "share": ("what the button **Share in #channel** sends", ""),
    "saved": ("list your and this place's saved questions, which `show NAME` shows; "
              "`saved NAME delete`: delete one", "to delete: whoever saved it, and admins"),
    "setup": ("`setup WORD`: prove on the setup page that this account is yours",
              "the person chosen there, in a direct message"),
    "why": ("`why ID`, `why TOOL`, `why RIGHT`: show which rule applies to you", ""),
    "quick-command": ("`quick-command SLUG …`: run a quick command",
                      "with `spend`; for `effect = \"write\"`, `propose` too"),
}  # fmt: skip
"""For each command in a chat: what it does, and who can use it, if not everyone."""


def pages() -> dict[Path, str]:
    """Return the Markdown of each generated page, by its path."""
    http, nocodb = FOLDER / "http.md", ROOT / "docs" / "guides" / "nocodb.md"
    return {
        FOLDER / "settings.md": _page("Settings", _settings()),
        FOLDER / "ponte-toml.md": _page("The file ponte.toml", _file()),
        FOLDER / "commands.md": _page(
            "Commands", ["## In the shell", "", *_shell(), "", "## In a chat", "", *_chat()]
        ),
        FOLDER / "limits.md": _page("Limits", limits()),
        http: with_section(http.read_text("utf-8"), ROUTES, "\n".join(_http()).rstrip()),
        nocodb: with_section(
            nocodb.read_text("utf-8"), COLUMN_TYPES, "\n".join(_list_column_types())
        ),
    }


def _list_column_types() -> Iterator[str]:
    """Yield the rows of a table: NocoDB's types that are written and compared in the same way."""
    groups: dict[tuple[str, str], list[str]] = {}
    for name, type in FIELD_TYPES.items():
        if not type.hidden:
            written = "links" if type.link else "files" if type.file else "values"
            key = ("nothing" if type.is_computed else written, KINDS[type.kind])
            groups.setdefault(key, []).append(name)
    yield from ("| types of NocoDB | written | compared as |", "| --- | --- | --- |")
    for (written, compared), names in groups.items():
        yield f"| {', '.join(names)} | {written} | {compared} |"


def _page(title: str, lines: Iterable[str]) -> str:
    text = "`make reference` writes this page from the code."
    return "\n".join([f"# {title}", "", text, "", *lines]) + "\n"


def with_section(page: str, name: str, text: str) -> str:
    """Return that page with `text` between the comments that mark the section `name`."""
    begin, end = f"<!-- {name} -->\n", f"\n<!-- end of {name} -->"
    before, match, rest = page.partition(begin)
    _, closing, after = rest.partition(end)
    if not (match and closing):
        raise LookupError(f"no section {name} in the page")
    return f"{before}{begin}\n{text}\n{end}{after}"


def _settings() -> Iterator[str]:
    yield (
        "Ponte reads settings from the environment, which wins, then from `.env` in the folder it "
        "is started in. Copy [.env.example](../../.env.example). A value behind `=` is the default."
    )
    values = dict(Settings.model_fields)
    for group, name, view in GROUP.findall((ROOT / ".env.example").read_text("utf-8")):
        if group:
            yield from ("", f"## {group.rstrip('.')}", "")
            continue
        field = values.pop(name.lower())
        secret = " (secret)" if SecretStr in _inside(field.annotation) else ""
        yield f"- `{name}={view}`".replace("=`", "`") + f": {field.description}{secret}"
    if values:
        raise LookupError(f"not in .env.example: {sorted(values)}")


def _inside(annotation: object) -> Iterator[object]:
    yield annotation
    for each in get_args(annotation):
        yield from _inside(each)


def _file() -> Iterator[str]:
    yield (
        "[ponte.toml.example](../../ponte.toml.example) shows every key. Ponte rejects unknown "
        "keys and wrong values, and names the line. `ponte reload` and SIGHUP apply the file "
        "without interrupting any answer; `[slack]` and `[links]` need a restart."
    )
    for path, kind in sections():
        yield from ("", f"## `{path}`", "", _first(kind.__doc__ or ""), "")
        yield from _keys(kind)
    yield from ("", "## `[groups]`", "", "Sets of people, for rules and approvers.", "")
    yield "- a set name: person key list"
    yield from ("", "## `[terms]`", "", "What the team's words mean, for the model.", "")
    yield "- words, in the singular: text"
    yield from ("", "## Types", "")
    forms = {
        name.lower(): words
        for module in MODULES
        for name, words in _attributes(inspect.getsource(module)).items()
    }
    usages = [_split(name) for name in sorted(_FORMS)]
    yield from (f"- *{name}*: {forms[name.replace(' ', '')]}" for name in usages)


_FORMS = {
    "Approver",
    "Duration",
    "HookPlace",
    "PersonKey",
    "Place",
    "Right",
    "Selection",
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
    "StrictBool": "boolean", "Count": "0 to 1,000", "Positive": "1 to 1,000",
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


def _keys(kind: type[Any]) -> Iterator[str]:
    words = _attributes(inspect.getsource(kind))
    for field in fields(kind):
        if not field.init:
            continue
        default = ""
        if field.default is MISSING and field.default_factory is MISSING:
            default = ", required"
        elif field.default not in (MISSING, None, (), "") and str(field.type) != "Duration":
            default = f", default {_toml(field.default)}"  # a time that is left out means never
        yield (
            f"- `{field.name.rstrip('_')}` ({_type(str(field.type))}{default}): {words[field.name]}"
        )


def _toml(value: object) -> str:
    match value:
        case bool():
            return f"`{str(value).lower()}`"
        case str():
            return f'`"{value}"`'
    return f"`{value}`"


def _type(source: str) -> str:
    """An annotation in words: `tuple[Who, ...]` is a who list."""
    source = source.removesuffix(" | None")
    if match := re.fullmatch(r"tuple\[(.*), \.\.\.\]", source):
        return f"{_type(match[1])} list"
    if match := re.fullmatch(r"Mapping\[(\w+), (.*)\]", source):
        inner = match[2]
        return f"table: {_type(inner)} by name" if _is_plain(inner) else "tables by name"
    if match := re.fullmatch(r"Literal\[(.*)\]", source):
        options = ast.literal_eval(f"[{match[1]}]")
        return ", ".join(_toml(each) for each in options if each != "")
    literal = {"Access", "CountedBy", "PeriodLength", "Approvals", "HookKind"}
    if source in literal:
        return ", ".join(_toml(each) for each in get_args(_find(source)))
    return _SIMPLE.get(source) or _split(source)


def _is_plain(source: str) -> bool:
    return not is_dataclass(_find(source))


def _find(name: str) -> Any:
    return next((getattr(one, name) for one in MODULES if hasattr(one, name)), None)


def _attributes(source: str) -> dict[str, str]:
    """Name → the words under its definition, for what stands in a module or in its first class."""
    tree = ast.parse(inspect.cleandoc(source) if source[:1].isspace() else source)
    body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else tree.body
    table = {}
    for one, two in pairwise(body):
        target = one.targets[0] if isinstance(one, ast.Assign) else getattr(one, "target", None)
        if isinstance(target, ast.Name) and isinstance(two, ast.Expr):
            table[target.id] = " ".join(str(ast.literal_eval(two.value)).split())
    return table


def _first(docstring: str) -> str:
    """Without what it raises, and the names of our modules, in one line."""
    words = " ".join(docstring.split())
    words = re.split(r"(?:^| )Raises ", words)[0]
    return re.sub(r" \(`core\.[\w.]+`\)", "", words)


def _shell() -> Iterator[str]:
    yield (
        "Exit codes: 0 success, 1 failure, 2 wrong usage or settings. `--help` shows this in your "
        "shell's language (`LANG`). `ponte --install-completion` completes commands in your "
        "shell. Commands that show, list or change something take `--json`."
    )
    commands = list(_commands(typer.main.get_command(cli)))
    counts = Counter(option for _, command in commands for option in _options(command))
    common = [option for option, count in counts.items() if count >= 2]
    yield from ("", "Several commands have:", "")
    yield from (f"- `{usage.strip('[]')}`: {help}" for usage, help in common)
    yield from ("", "All commands:", "")
    for path, command in commands:
        options = _options(command)
        own = [(usage, help) for usage, help in options if help and (usage, help) not in common]
        once = [usage for usage, _ in own if usage.startswith("[--")]
        call = " ".join([path, *(usage for usage, _ in options if usage not in once)])
        helps = [
            _first(command.help or ""),
            *(f"`{usage.strip('[]')}`: {help}" for usage, help in own),
        ]
        yield f"- `{call}`: {' '.join(helps)}"


def _commands(command: Any, path: str = "ponte") -> Iterator[tuple[str, Any]]:
    """Yield each command that has no further ones, with the words to call it."""
    under = getattr(command, "commands", {})
    if not under:
        yield path, command
    for name, each in under.items():
        yield from _commands(each, f"{path} {name}")


def _options(command: Any) -> list[tuple[str, str]]:
    return [_option(each) for each in command.params if each.name != "as_json"]


def _option(parameter: Any) -> tuple[str, str]:
    """How it is written, and its help."""
    if parameter.param_type_name == "argument":
        metavar = parameter.metavar or parameter.name.upper()
        usage = metavar if parameter.required or metavar[:1] == "[" else f"[{metavar}]"
    else:
        usage = parameter.opts[-1] if parameter.required else f"[{parameter.opts[-1]}]"
    return usage, getattr(parameter, "help", None) or ""


def _chat() -> Iterator[str]:
    yield (
        "Type a command alone in a message; `/` or `!` before it is optional. English works for "
        "everyone, Portuguese and French, with or without accents, for people of that language. "
        "In brackets at the end: who can use it, if not everyone."
    )
    yield ""
    for name in sorted(COMMAND_NAMES):
        what, who = TYPED.get(name) or (find_help_line(name), "")
        words = ", ".join(_in_language(name, locale) for locale in TRANSLATED)
        yield f"- `{name}` ({words}): {what}" + (f" ({who})" if who else "")
    yield ""
    yield "A message that is only a fenced Python block runs it, with the permission `code`."


def find_help_line(name: str) -> str:
    """Return what `help` says of a command, "" if it does not name it."""
    match = re.search(rf"`{name}\b[^`]*`: (.+?)(?:; `|$)", HELP, re.MULTILINE)
    return match[1] if match else ""


def _in_language(name: str, locale: str) -> str:
    return (
        ", ".join(
            f"`{word}`"
            for word, english in TRANSLATED[locale].items()
            if english == name or english.startswith(f"{name} ")
        )
        or "–"
    )


ACCESS = (
    ("anyone", "Without a token"),
    ("token", "With a token, or the session of the page"),
    ("API token", "With an API token, too"),
    ("socket", "Over the socket"),
    ("MCP token", "With an MCP token"),
    ("signature", "With the sender's own signature"),
)
"""Who can use a route → the heading of its list."""


def _http() -> Iterator[str]:
    lines: dict[str, list[str]] = {access: [] for access, _ in ACCESS}
    for route in all_routes():
        access = "token"
        if is_open(route.path):
            access = "anyone"
        elif route.path.startswith(COMPATIBLE_PREFIX):
            access = "API token"
        elif route.path.startswith("/operator/"):
            access = "socket"
        own = route.declaration
        if "text/html" in own.media or own.path.startswith("/page/"):
            continue  # the page's own
        request = f"{own.method} {route.path.replace(':path', '')}{_request_fields(route)}"
        lines[access].append(_line(request, _answer(route), own.refuses))
    for path, (_, statuses) in {"/slack/events": PLATFORM_ANSWERS, **MOUNTED_ANSWERS}.items():
        outcome = _numbers(status for status in statuses if status < 300)
        access = "MCP token" if path == MCP_PATH else "signature"
        refusals = [status for status in statuses if status >= 300]
        lines[access].append(_line(f"POST {path}", outcome, refusals))
    for access, heading in ACCESS:
        yield from (f"### {heading}", "", *lines[access], "")


def _line(request: str, answer: str, refused: Iterable[int]) -> str:
    statuses = _numbers(refused)
    return f"- `{request}`: {answer}" + (f" ({statuses})" if statuses else "")


DONE = '`{"status", "text"?}`'
"""The answer of a route that has nothing else to say."""


def _numbers(statuses: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(statuses)))


def _request_fields(route: DeclaredRoute) -> str:
    """Return the parameters of the query and the fields of the body, as they follow a path."""
    query = "&".join(f"{name}=" for name in route.declaration.query)
    parts = [f"?{query}" if query else ""]
    if (body := route.body_model) is not None:
        fields = [
            f'"{name}"' + ("" if field.is_required() else "?")
            for name, field in body.model_fields.items()
        ]
        parts.append(f"{{{', '.join(fields)}}}" if fields else "JSON")
    return " ".join(parts)


def _answer(route: DeclaredRoute) -> str:
    """Return the form of the body of a success, and its status if that is not 200."""
    media = [f"`{kind}`" for kind in route.declaration.media]
    shape = [f"`{_shape(kind)}`"] if (kind := answer_type(route)) is not None else []
    status = route.declaration.status
    body = " or ".join(shape + media)
    return "done" if body == DONE else f"{'' if status == 200 else status} {body}".strip()


def _shape(kind: Any) -> str:
    """Return the keys of an object, and those of the objects in its only list."""
    if get_origin(kind) is list:
        return f"[{_shape(get_args(kind)[0])}]"
    if not is_typeddict(kind):
        return "{…}"
    keys = []
    for name, of in get_type_hints(kind, include_extras=True).items():
        inside = get_args(of)[0] if get_origin(of) is list else None
        listing = (
            f": [{_shape(inside)}]"
            if is_typeddict(inside) and len(kind.__annotations__) == 1
            else ""
        )
        keys.append(f'"{name}"' + ("?" if get_origin(of) is NotRequired else "") + listing)
    return f"{{{', '.join(keys)}}}"


def main() -> int:
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
