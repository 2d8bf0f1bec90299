"""Find every sentence of the code that reports a failure, for docs/guides/troubleshooting.md.

These are: what errors say, what `ponte doctor` and the board call failing, what doctor notes or
calls unsafe; and of `TOLD`, modules whose errors are worded by tables and constants, whatever
stands in the catalogue and looks like one.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator

from tests.languages import sentences as catalogue
from tests.languages.sentences import ROOT, Sources, parse_sources
from tests.sources import walk_nodes

TOLD = frozenset(
    {
        "adapters/discord/connection.py", "adapters/slack/adapter.py", "adapters/slack/setup.py",
        "bot/cli/client.py", "core/money/allowances.py", "core/changes/standing.py",
        "core/chat/incoming.py", "core/chat/interactions.py", "core/chat/file_downloads.py",
        "core/turn/run.py", "core/base/http.py",
        "core/people/policy.py", "core/people/rules.py", "core/tools/code/local.py",
        "core/tools/code/environment.py", "core/tools/code/sandbox/sandbox.py",
        "core/tools/nocodb/api.py", "core/tools/nocodb/api_errors.py",
        "core/tools/nocodb/bridge.py", "core/tools/nocodb/bridge_driver.py",
        "core/tools/nocodb/bridge_api.py", "core/tools/stackspot/api.py",
        "core/tools/stackspot/client.py", "core/tools/stackspot/source.py",
    }
)  # fmt: skip
TABLES = {"bot/config/reload.py": {"_SENTENCES"}, "core/changes/cards.py": {"_FAULTS"}}
"""Of other modules only these constants."""
_WORDED = re.compile(r"[^{].*[^{}](\.|\)|: .+)", re.DOTALL)
_NEVER = {"PlatformBusy", "PostRemoved", "Superseded", "TakenOver", "Draining", "RefusedForNow"}
"""Errors that nobody is shown (core/base/errors.py)."""
_FAILING = ("failing", "unsafe", "note")
_NAMES = {"Health": 2, "SafetyFinding": 1}
"""How many arguments stand before the words."""
NO_FAILURES = (
    "Connects your team with",
    "What do you want to know?",
    "Undo creates the rows again",
    "note",
    "off",
    "failing",
    "discord: everyone can chat",
    "the Message Content intent is granted",
    "only this machine can open the page, and it asks for a token",
    "no answer",
    "sends replies; other processes receive messages",
    "messages per day:",
    "people on Discord who aren't in PONTE_ALLOW can send",
    "each message can lead to at most",
    "creating one row at a time needs no approval",
    "Postgres {version}, empty",
)
"""How sentences begin that are found beside the others."""


@functools.cache
def failures() -> dict[str, set[str]]:
    """English sentence with its `{placeholders}` → the files that say it."""
    sources, match = parse_sources(), dict[str, set[str]]()
    for path, tree in sources.trees.items():
        sources.file, name = path, str(path.relative_to(ROOT))
        for node in walk_nodes(tree):
            tables = _of_tables(node, name, sources) if name in TABLES else ()
            for sentence in [*_of(node, sources), *tables]:
                match.setdefault(sentence, set()).add(name)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                for sentence in _of_locals(node, sources):
                    match.setdefault(sentence, set()).add(name)
    for key, files in catalogue.sentences().items():
        sentence = key if isinstance(key, str) else key[1]
        if files & TOLD and sentence[:1].isupper() and _WORDED.fullmatch(sentence):
            match.setdefault(sentence, set()).update(files & TOLD)
    return {
        one: files
        for one, files in match.items()
        if re.search(r"[a-z]{3}", plain(one)) and not one.startswith(NO_FAILURES)
    }


def plain(sentence: str) -> str:
    """With `…` where values stand, in one line."""
    return " ".join(re.sub(r"\{[^}]*\}", "…", sentence).split())


def _of(node: ast.AST, sources: Sources) -> Iterator[str]:
    match node:
        case ast.Call() if _is_error(node, sources):
            for each in (*node.args, *(k.value for k in node.keywords if k.arg == "why")):
                yield from _texts(each, sources)
        case ast.Call() if catalogue.last_name(node.func) == "raises":  # a row of an ErrorTable
            for each in node.args[1:]:
                yield from _texts(each, sources)
        case ast.Call() if _fails(node):
            for each in node.args[_NAMES[catalogue.last_name(node.func)] :]:
                yield from _texts(each, sources)
        case ast.ClassDef() if node.name in sources.errors - _NEVER:
            for statement in node.body:
                match statement:
                    case ast.Assign(targets=[ast.Name(id="sentence")], value=value):
                        yield from catalogue.find_texts(value, sources)


def _is_error(node: ast.Call, sources: Sources) -> bool:
    return catalogue.last_name(node.func) in sources.errors - _NEVER


def _fails(node: ast.Call) -> bool:
    if catalogue.last_name(node.func) not in _NAMES:
        return False
    words = ast.unparse(node)
    return any(f"'{each}'" in words for each in _FAILING)


def _texts(node: ast.expr, sources: Sources) -> Iterator[str]:
    """Also of what `say` is given there."""
    if isinstance(node, ast.Call) and catalogue.last_name(node.func) == "say":
        yield from catalogue.find_texts(node.args[0], sources)
    elif isinstance(node, ast.Constant):
        yield from (str(node.value) for _ in [0] if " " in str(node.value))
    else:
        yield from catalogue.find_texts(node, sources)


def _of_tables(node: ast.AST, file: str, sources: Sources) -> Iterator[str]:
    for name, value in catalogue.find_assignments(node):
        if name in TABLES[file]:
            yield from catalogue.find_texts(value, sources)


def _of_locals(function: ast.FunctionDef | ast.AsyncFunctionDef, sources: Sources) -> Iterator[str]:
    """What a variable of the function held that an error or a failing part was given."""
    sentences_of_file: set[str] = set()
    for node in walk_nodes(function):
        if isinstance(node, ast.Call) and (_is_error(node, sources) or _fails(node)):
            sentences_of_file |= {one.id for one in walk_nodes(node) if isinstance(one, ast.Name)}
    for node in walk_nodes(function):
        for name, value in catalogue.find_assignments(node):
            if name in sentences_of_file - {"hint"}:
                yield from (one for one in _texts(value, sources) if " " in one)
