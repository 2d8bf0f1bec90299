"""Find names that break the rules of docs/contributing.md.

`python -m tests.names [FOLDER …]` prints each finding with its place.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PRODUCT = ("adapters", "bot", "core")
EVERYTHING = (*PRODUCT, "benchmarks", "tests")

IRREGULAR_PARTICIPLES = frozenset(
    [
        "begun",
        "bought",
        "bound",
        "broken",
        "brought",
        "built",
        "caught",
        "chosen",
        "come",
        "done",
        "drawn",
        "driven",
        "eaten",
        "fallen",
        "felt",
        "forgotten",
        "found",
        "given",
        "gone",
        "grown",
        "heard",
        "held",
        "hidden",
        "kept",
        "known",
        "laid",
        "led",
        "left",
        "lent",
        "lost",
        "made",
        "meant",
        "met",
        "paid",
        "said",
        "seen",
        "sent",
        "shown",
        "slept",
        "sold",
        "sought",
        "spent",
        "spoken",
        "stolen",
        "stood",
        "struck",
        "sworn",
        "taken",
        "taught",
        "thought",
        "thrown",
        "told",
        "torn",
        "understood",
        "woken",
        "won",
        "worn",
        "wound",
        "written",
    ]
)
NOT_PARTICIPLES = frozenset(
    [
        "bleed",
        "breed",
        "embed",
        "exceed",
        "feed",
        "indeed",
        "need",
        "proceed",
        "red",
        "seed",
        "shed",
        "shred",
        "speed",
        "succeed",
    ]
)


@dataclass(frozen=True)
class Definition:
    """A named thing of a source file; `kind` is "function", "class" or "constant"."""

    kind: str
    name: str
    path: str
    line: int


def read_definitions(folders: Iterable[str]) -> Iterator[Definition]:
    """Return every function, class and module constant of those folders."""
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            place = str(path.relative_to(ROOT))
            tree = ast.parse(path.read_text())
            for node in ast.walk(tree):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    yield Definition("function", node.name, place, node.lineno)
                elif isinstance(node, ast.ClassDef):
                    yield Definition("class", node.name, place, node.lineno)
            for statement in tree.body:
                for target in _assigned_names(statement):
                    if re.fullmatch(r"_?[A-Z][A-Z0-9_]+", target):
                        yield Definition("constant", target, place, statement.lineno)


def _assigned_names(statement: ast.stmt) -> Iterator[str]:
    if isinstance(statement, ast.Assign):
        targets = statement.targets
    elif isinstance(statement, ast.AnnAssign):
        targets = [statement.target]
    else:
        return
    for target in targets:
        for node in ast.walk(target):
            if isinstance(node, ast.Name):
                yield node.id


def is_participle(name: str) -> bool:
    """Tell whether a name is a past participle and nothing else: `told`, `_replaced`."""
    word = name.strip("_")
    if word in NOT_PARTICIPLES or "_" in word:
        return False
    return word in IRREGULAR_PARTICIPLES or (word.endswith("ed") and len(word) > 3)


def find_participles(definitions: Iterable[Definition]) -> list[Definition]:
    """Return the functions, methods and properties whose name is a bare participle."""
    return [each for each in definitions if each.kind == "function" and is_participle(each.name)]


def find_repeated(definitions: Iterable[Definition], kind: str) -> Mapping[str, list[Definition]]:
    """Return the public names of that kind that stand in more than one module."""
    found: dict[str, list[Definition]] = defaultdict(list)
    for each in definitions:
        if each.kind == kind and not each.name.startswith("_"):
            found[each.name].append(each)
    return {
        name: places
        for name, places in sorted(found.items())
        if len({each.path for each in places}) > 1
    }


def main(folders: Iterable[str]) -> None:
    """Print what `folders` hold; a repeated name is printed where one of its places is there."""
    chosen = tuple(folders) or ("",)
    everything = list(read_definitions(EVERYTHING))
    product = [each for each in everything if each.path.startswith(PRODUCT)]
    for each in find_participles(everything):
        if each.path.startswith(chosen):
            print(f"{each.path}:{each.line}: participle {each.name}")
    for kind in ("class", "constant"):
        for name, places in find_repeated(product, kind).items():
            if any(each.path.startswith(chosen) for each in places):
                where = ", ".join(f"{each.path}:{each.line}" for each in places)
                print(f"{kind} {name} in {len(places)} modules: {where}")


if __name__ == "__main__":
    main(sys.argv[1:])
