"""The shape of the product in numbers: `python -m benchmarks.structure [--list NAME] [FOLDER]`.

FOLDER is another checkout to compare with. `--list` prints the lines, files or names behind one
number. The numbers come from reading the source; `benchmarks.flows` counts what runs.

- lines that ask for an origin or a kind: lines that name one case or compare with one, in files
  that are not about that case. They have to change if a case is added. Lines that ask a case for a
  fact or a step do not count.
- an implementation of a protocol: a class that has all its members. A double is one in the tests.
- private functions used once: their name appears twice in the product, at the definition and the
  use.
- nested transactions: functions inside functions that take a `connection`.
"""

from __future__ import annotations

import argparse
import ast
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from benchmarks.measure import measure_size
from tests.sources import PRODUCT, ROOT

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Subject:
    """Something that has several cases. `own`: the beginnings of the paths that may name one.
    `named`: patterns of the names. Both hold older ones, too, for comparisons."""

    own: Sequence[str]
    named: Sequence[str]


ORIGINS = Subject(
    # The origins, and the files where messages of one alone are made.
    own=(
        "core/schedules/",
        "core/webhooks/",
        "core/turn/origins.py",
        "bot/config/toml_values.py",
        "adapters/web/api/openai_api.py",
        # Before 2026-11-26:
        "core/conversation/origins.py",
        "core/conversation/scheduled_turns.py",
        "core/domain/schedule",
        "core/domain/hooks.py",
        "core/chat/hooks.py",
        "core/store/schedules.py",
        "adapters/web/openai_api.py",
        "bot/schedules.py",
        "bot/hook_config.py",
    ),
    named=(
        r"(?<!: MessageOrigin = )\bPERSON\b",
        r"\bPROGRAM\b",
        r"\bPEOPLE\b",
        r"\bMessageOrigin\(",
        r"\borigin\.(name|data)\b",
        r"\b(Schedule|Webhook)Origin\b",
        r"\bschedules\.origin\b",
        r"\bHOOK_(PLATFORM|RIGHTS|EFFECTS|PREFACE)\b",
        r"platform [!=]= \"hook\"",
        r"\bONE_REQUEST_PREFIX\b",
        # Before 2026-11-26:
        r"\bscheduled_run\b",
        r"\bclass (ScheduledRun|HookDelivery)\b",
        r"\bis_scheduled\b",
        r"\bis_typed( and|: bool = True|=request)",
        r"\b_?[Ss]cheduled_?[Tt]urns\b",
        r"\bschedules\.turns\b",
        r"\bHookDelivery\b",
        r"\b(message|self)\.hook\b",
        r"\b(of_hook|is_hook and)\b",
        r"\brule_book\(\)\.hooks\b",
        r"\bSCHEDULED_PREFACE\b",
        r"\bsent_by_program\b",
        r"if scheduled\b",
    ),
)
KINDS = Subject(
    # The kinds, and the features that make and apply changes of one kind alone.
    own=(
        "core/changes/kinds.py",
        "core/tools/nocodb/",
        "core/tools/sample/",
        "core/schedules/",
        "core/tools/stackspot/",
        "core/tools/posting",
        # Before 2026-11-26:
        "core/chat/elsewhere.py",
        "core/conversation/schedules.py",
        "core/domain/schedules.py",
        "core/store/schedules.py",
        "bot/schedules.py",
    ),
    named=(
        r"\bdraft\.kind (not in|in|==|!=) ",
        r"\bmatch draft\.kind\b",
        r"\bkind (=|==|!=) [\"'](create|update|delete|run|post|schedule)\b",
        r"\bkind=\"(create|update|delete|run|post|schedule)\"",
        r"\bkinds\[\"",
        r"\b(TABLE_KINDS|WriteKind)\b",
        r"\bget\(\"kind\"\) [!=]= \"",
        r"\bLiteral\[\"proposal\", \"change\", ",
        r"\b(ROW_KINDS|QUICK_COMMAND_RUN|PLACE_POST|[A-Z]+_SCHEDULE)\b",
    ),
)
KIND_COMPARISON = r"\b(change\.)?draft\.kind (==|!=|in|not in) |\bmatch (change\.)?draft\.kind:"
ENGINE = (
    r"\b(database|peers|stores)\.is_shared\b|database_url (is|==|!=)|\bif .*database_url\b"
    r"|\bif .*self\._shared\b|isinstance\(.*\b(Sqlite|Postgres)|\bis_postgres\b"
    r"|\bif .*\.lock_key\(|\bdialect\b"
)


@dataclass(frozen=True)
class ClassShape:
    place: str
    bases: Sequence[str]
    members: frozenset[str]

    @property
    def is_protocol(self) -> bool:
        return "Protocol" in self.bases


@dataclass
class Checkout:
    """The sources of one checkout. Each measure returns what it counts as lines of text."""

    root: Path
    trees: dict[str, ast.Module] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for path in sorted(p for name in PRODUCT for p in (self.root / name).rglob("*.py")):
            name = path.relative_to(self.root).as_posix()
            self.texts[name] = path.read_text(encoding="utf-8")
            self.trees[name] = ast.parse(self.texts[name])

    @cached_property
    def code_lines(self) -> int:
        return sum(measure_size(text).lines for text in self.texts.values())

    @cached_property
    def functions(self) -> Sequence[tuple[str, Function]]:
        return [
            (f"{path}:{node.lineno}", node)
            for path, tree in self.trees.items()
            for node in ast.walk(tree)
            if isinstance(node, Function)
        ]

    def find_lines(self, pattern: str, own: Sequence[str] = ()) -> list[str]:
        """Return the lines of code with the pattern, without imports, outside the files `own`."""
        return [
            f"{path}:{number}: {line.strip()}"
            for path, tree in self.trees.items()
            if not path.startswith(tuple(own))
            for number, line in read_code_lines(self.texts[path], tree)
            if re.search(pattern, line)
        ]

    def find_files(self, word: str) -> list[str]:
        return [path for path in self.trees if word in path]

    def find_settings_users(self) -> list[str]:
        """Return the files in which a function or class takes the settings of the whole Ponte."""
        return [
            path
            for path, tree in self.trees.items()
            if path != "bot/settings.py"
            and any(
                node.annotation and ast.unparse(node.annotation) == "Settings"
                for node in ast.walk(tree)
                if isinstance(node, ast.arg | ast.AnnAssign)
            )
        ]

    def find_largest_constructors(self) -> list[str]:
        """Return each constructor and its number of parameters, the largest first."""
        counts = {
            place: len([*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]) - 1
            for place, node in self.functions
            if node.name == "__init__"
        }
        return [f"{count}: {place}" for place, count in Counter(counts).most_common()]

    def find_largest_bags(self) -> list[str]:
        """Return each dataclass and its number of fields, the largest first."""
        counts = Counter(
            {
                f"{path}:{node.name}": sum(isinstance(one, ast.AnnAssign) for one in node.body)
                for path, tree in self.trees.items()
                for node in ast.walk(tree)
                if isinstance(node, ast.ClassDef)
                and any("dataclass" in ast.unparse(one) for one in node.decorator_list)
            }
        )
        return [f"{count}: {place}" for place, count in counts.most_common()]

    def find_lonely_protocols(self) -> list[str]:
        """Return the protocols with one implementation in the product or none."""
        paths = (self.root / "tests").rglob("*.py")
        tests = {str(one): ast.parse(one.read_bytes()) for one in paths}
        product = read_classes(self.trees)
        doubles = {**product, **read_classes(tests)}
        found = []
        for name, shape in product.items():
            members = all_members(name, product) - {"__call__"}
            if shape.is_protocol and members and count_implementations(members, product) < 2:
                has_double = count_implementations(members, doubles) > 1
                found.append(f"{shape.place}: {name}" + ("" if has_double else " (no double)"))
        return found

    def find_private_used_once(self) -> list[str]:
        words = Counter(
            word for text in self.texts.values() for word in re.findall(r"\b_\w+", text)
        )
        return [
            f"{place}: {node.name}"
            for place, node in self.functions
            if re.match(r"_(?!_)", node.name) and words[node.name] <= 2
        ]

    def find_nested_transactions(self) -> list[str]:
        inner = {
            f"{place}: {each.name}"
            for place, node in self.functions
            for each in ast.walk(node)
            if each is not node
            and isinstance(each, Function)
            and "connection" in {one.arg for one in each.args.args}
        }
        return sorted(inner)

    def find_late_imports(self) -> list[str]:
        path_lines = {
            (place.partition(":")[0], each.lineno)
            for place, node in self.functions
            for each in ast.walk(node)
            if isinstance(each, ast.Import | ast.ImportFrom)
        }
        return [f"{path}:{number}" for path, number in sorted(path_lines)]


def read_code_lines(source: str, tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield the numbered lines without imports, docstrings and comments."""
    passed: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom) or (
            isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        ):
            passed.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    for number, line in enumerate(source.splitlines(), 1):
        if number not in passed and line.strip()[:1] not in ("", "#"):
            yield number, line.partition("  # ")[0]


def read_classes(trees: Mapping[str, ast.Module]) -> dict[str, ClassShape]:
    """Return the classes by their name."""
    return {
        node.name: ClassShape(
            f"{path}:{node.lineno}",
            [ast.unparse(base).partition("[")[0] for base in node.bases],
            frozenset(read_members(node)),
        )
        for path, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    }


def read_members(node: ast.ClassDef) -> Iterator[str]:
    """Yield the names of members, of fields, and of attributes that a method sets."""
    for each in ast.walk(node):
        match each:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield name
            case ast.AnnAssign(target=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)]):
                yield name
            case ast.Attribute(value=ast.Name(id="self"), attr=name, ctx=ast.Store()):
                yield name


def all_members(name: str, classes: Mapping[str, ClassShape]) -> frozenset[str]:
    """Return the members of a class and of those that it inherits from."""
    if (shape := classes.get(name)) is None:
        return frozenset()
    return shape.members.union(
        *(all_members(base, classes) for base in shape.bases if base != name)
    )


def count_implementations(members: frozenset[str], classes: Mapping[str, ClassShape]) -> int:
    return sum(
        not shape.is_protocol and members <= all_members(name, classes)
        for name, shape in classes.items()
        if members & shape.members
    )


def count_lines_and_files(lines: Iterable[str]) -> str:
    found = list(lines)
    return f"{len(found)} in {len({line.partition(':')[0] for line in found})} files"


def count_files_and_folders(paths: Iterable[str]) -> str:
    found = list(paths)
    return f"{len(found)} / {len({path.rpartition('/')[0] for path in found})}"


def count(lines: Iterable[str]) -> str:
    return f"{len(list(lines)):,}"


def first(lines: Sequence[str]) -> str:
    return lines[0]


Measure = tuple[Callable[[Checkout], Sequence[str]], Callable[[Sequence[str]], str]]
MEASURES: Mapping[str, Measure] = {
    "files": (lambda one: list(one.trees), count),
    "files and folders about schedules":
        (lambda one: one.find_files("schedul"), count_files_and_folders),
    "files and folders about webhooks":
        (lambda one: one.find_files("hook"), count_files_and_folders),
    "files and folders about accounts":
        (lambda one: one.find_files("account"), count_files_and_folders),
    "lines that ask for an origin":
        (lambda one: one.find_lines("|".join(ORIGINS.named), ORIGINS.own), count_lines_and_files),
    "lines that ask for a kind of change":
        (lambda one: one.find_lines("|".join(KINDS.named), KINDS.own), count_lines_and_files),
    "comparisons of .kind": (lambda one: one.find_lines(KIND_COMPARISON), count),
    "files that take Settings": (Checkout.find_settings_users, count),
    "constructor with the most parameters": (Checkout.find_largest_constructors, first),
    "largest bag": (Checkout.find_largest_bags, first),
    "lines that branch by the engine":
        (lambda one: one.find_lines(ENGINE), count_lines_and_files),
    "protocols with one implementation or none": (Checkout.find_lonely_protocols, count),
    "private functions used once": (Checkout.find_private_used_once, count),
    "nested transactions": (Checkout.find_nested_transactions, count),
    "late imports": (Checkout.find_late_imports, count),
    "fmt: skip": (lambda one: [
        f"{path}:{number}" for path, text in one.texts.items()
        for number, line in enumerate(text.splitlines(), 1) if "# fmt: skip" in line
    ], count),
    "files in bot/ itself":
        (lambda one: [path for path in one.trees if re.fullmatch(r"bot/\w+\.py", path)], count),
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("root", type=Path, nargs="?", default=ROOT)
    parser.add_argument("--list", choices=MEASURES, help="print what one number counts")
    given = parser.parse_args()
    checkout = Checkout(given.root)
    if given.list:
        print(*MEASURES[given.list][0](checkout), sep="\n")
        return
    print(f"lines of code: {checkout.code_lines:,}")
    per_hundred = 100 * len(checkout.functions) / checkout.code_lines
    print(f"functions for 100 lines of code: {per_hundred:.1f}")
    for name, (find, describe) in MEASURES.items():
        print(f"{name}: {describe(find(checkout))}")


if __name__ == "__main__":
    main()
