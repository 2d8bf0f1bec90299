"""Find names that break the rules of CONTRIBUTING.md.

`python -m tests.names [FOLDER …]` prints each finding with its place.
"""

from __future__ import annotations

import ast
import builtins
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from tests.sources import PRODUCT, ROOT, parse, walk_nodes

OUTSIDE_NAMES = frozenset(
    {
        "attachment_size_limit",
        "TS",
        "UsersListArguments",
        "timeout_keep_alive",
        "sun_path",
        "1",
        "2",
        "insufficient_quota",
        "abc234",
        "ponte_next",
        "synchronous_commit",
        "ponte_try_lock",
        "ponte_has_room",
        "ponte_ended",
        "ponte_moved",
        "pt_PT",
        "pyx",
        "nocodb_http_server",
        "py",
        "last_7_days",
    }
)
"""Names of other programs, of fields that others send and of SQL functions that docstrings quote.
"""
EVERYTHING = (*PRODUCT, "benchmarks", "tests")

_PARTICIPLES = """
begun bought bound broken brought built caught chosen come done drawn driven eaten fallen felt
forgotten found given gone grown heard held hidden kept known laid led left lent lost made meant
met paid said seen sent shown slept sold sought spent spoken stolen stood struck sworn taken
taught thought thrown told torn understood woken won worn wound written
"""
IRREGULAR_PARTICIPLES = frozenset(_PARTICIPLES.split())
_OTHER_WORDS = """
bleed breed embed exceed feed indeed need proceed red seed shed shred speed succeed
"""
NOT_PARTICIPLES = frozenset(_OTHER_WORDS.split())


@dataclass(frozen=True)
class Definition:
    """A named thing of a source file; `kind` is "function", "class" or "constant"."""

    kind: str
    name: str
    path: str
    line: int


def read_definitions(folders: Iterable[str]) -> Iterator[Definition]:
    """Return every function, class and module constant of the product's folders, and every
    function of the others: their many files are searched by line, which takes a tenth as long."""
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            place = str(path.relative_to(ROOT))
            if folder.split("/")[0] not in PRODUCT:
                yield from _find_functions(path.read_text(), place)
                continue
            tree = parse(path)
            for node in walk_nodes(tree):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    yield Definition("function", node.name, place, node.lineno)
                elif isinstance(node, ast.ClassDef):
                    yield Definition("class", node.name, place, node.lineno)
            for statement in tree.body:
                for target in _assigned_names(statement):
                    if re.fullmatch(r"_?[A-Z][A-Z0-9_]+", target):
                        yield Definition("constant", target, place, statement.lineno)


def _find_functions(source: str, place: str) -> Iterator[Definition]:
    for number, line in enumerate(source.splitlines(), 1):
        if match := re.match(r" *(?:async )?def (\w+)", line):
            yield Definition("function", match[1], place, number)


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
    match: dict[str, list[Definition]] = defaultdict(list)
    for each in definitions:
        if each.kind == kind and not each.name.startswith("_"):
            match[each.name].append(each)
    return {
        name: places
        for name, places in sorted(match.items())
        if len({each.path for each in places}) > 1
    }


BAD_BEGINNING = re.compile(r"(What|Whether|How|Who|Whose|Where|When|Which|The same)\b")
"""The beginning of a docstring that cannot be understood without the name above it."""
SHORT_BODY_LINES = 5
"""A body so short says what it does."""
EXEMPT_DECORATORS = ("override", "overload", "setter", "deleter")


@dataclass(frozen=True)
class ProductClass:
    """A class of the product. `methods` maps the name of each method to its docstring. `attributes`
    are the names of class variables, dataclass fields and of what methods set on `self`."""

    bases: tuple[str, ...]
    is_protocol: bool
    methods: Mapping[str, str]
    attributes: frozenset[str]


@dataclass(frozen=True)
class DocstringFinding:
    """A public class or function of the product whose docstring is missing or begins badly."""

    path: str
    line: int
    name: str
    problem: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.name}: {self.problem}"


def find_docstring_problems(folders: Iterable[str] = PRODUCT) -> list[DocstringFinding]:
    """Return the docstrings that are missing or begin badly.

    A function of at most `SHORT_BODY_LINES` needs none. A method needs none of its own if a base
    class, or a protocol that the class implements, documents it. Dunder methods and nested
    functions need none either.
    """
    trees = {
        str(path.relative_to(ROOT)): parse(path)
        for folder in folders
        for path in sorted((ROOT / folder).rglob("*.py"))
    }
    classes = {
        node.name: _read_class(node)
        for tree in trees.values()
        for node in walk_nodes(tree)
        if isinstance(node, ast.ClassDef)
    }
    return [
        finding
        for path, tree in trees.items()
        for finding in find_in_scope(path, tree, "", classes)
    ]


def find_unknown_names(folders: Iterable[str] = PRODUCT) -> list[str]:
    """Return the names in backticks, and after "Raise", that nothing in the product has."""
    texts = [
        (path, path.read_text())
        for folder in folders
        for path in sorted((ROOT / folder).rglob("*.py"))
    ]
    names = {*dir(builtins), *OUTSIDE_NAMES}
    exceptions = {name for name in dir(builtins) if name[0].isupper()}
    for path, text in texts:
        code = re.sub(r'""".*?"""', "", text, flags=re.DOTALL)
        names.update(re.findall(r"[A-Za-z_]\w*", code), path.parts, [path.stem])
        exceptions.update(re.findall(r"^class (\w+)", code, re.MULTILINE))
    matches = []
    for path, _ in texts:
        for node in walk_nodes(parse(path)):
            if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
                continue
            words, place = str(node.value.value), f"{path.relative_to(ROOT)}:{node.lineno}"
            quotation = re.findall(r"`([A-Za-z_][\w.]*)(?:\(\))?`", words)
            matches += [
                f"{place}: {name}"
                for name in quotation
                if any(part and part not in names for part in name.split("."))
            ]
            for group in re.findall(r"Raises? ((?:[A-Z]\w+(?:, or |, | or | and )?)+)", words):
                matches += [
                    f"{place}: {name}"
                    for name in re.findall(r"[A-Z]\w+", group)
                    if name not in exceptions
                ]
    return matches


def _read_class(node: ast.ClassDef) -> ProductClass:
    bases = tuple(ast.unparse(base).split("[")[0].split(".")[-1] for base in node.bases)
    methods = {
        each.name: ast.get_docstring(each) or ""
        for each in node.body
        if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    attributes = {target for each in node.body for target in _assigned_names(each)}
    attributes |= {
        each.attr
        for each in ast.walk(node)
        if isinstance(each, ast.Attribute)
        and isinstance(each.ctx, ast.Store)
        and ast.unparse(each.value) == "self"
    }
    return ProductClass(bases, "Protocol" in bases, methods, frozenset(attributes))


def find_in_scope(
    path: str, scope: ast.AST, prefix: str, classes: Mapping[str, ProductClass]
) -> Iterator[DocstringFinding]:
    for node in ast.iter_child_nodes(scope):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            if not isinstance(node, ast.expr):  # an `if` or `try` around definitions
                yield from find_in_scope(path, node, prefix, classes)
            continue
        if node.name.startswith("_"):
            continue
        docstring = ast.get_docstring(node) or ""
        name = f"{prefix}{node.name}"
        if BAD_BEGINNING.match(docstring):
            problem = f"begins with {docstring.split()[0]!r}"
            yield DocstringFinding(path, node.lineno, name, problem)
        elif not docstring and not _is_exempt(node, prefix.rstrip("."), classes):
            yield DocstringFinding(path, node.lineno, name, "no docstring")
        if isinstance(node, ast.ClassDef):
            yield from find_in_scope(path, node, f"{name}.", classes)


def _is_exempt(
    node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef,
    owner: str,
    classes: Mapping[str, ProductClass],
) -> bool:
    decorators = {ast.unparse(each).split("(")[0].split(".")[-1] for each in node.decorator_list}
    if decorators.intersection(EXEMPT_DECORATORS):
        return True
    if isinstance(node, ast.ClassDef):
        return False
    if (node.end_lineno or node.lineno) - node.body[0].lineno < SHORT_BODY_LINES:
        return True
    own = classes.get(owner.split(".")[-1])
    if own is None:
        return False
    ancestors = list(_ancestors(own, classes))
    inherited = {name for each in (own, *ancestors) for name in (*each.methods, *each.attributes)}
    implemented = [
        each
        for each in classes.values()
        if each.is_protocol
        and each is not own
        and each.methods
        and each.methods.keys() <= inherited
    ]
    bases = [*ancestors, *implemented]
    bases += [base for each in implemented for base in _ancestors(each, classes)]
    return any(each.methods.get(node.name) for each in bases)


def _ancestors(own: ProductClass, classes: Mapping[str, ProductClass]) -> Iterator[ProductClass]:
    for base in own.bases:
        if base in classes:
            yield classes[base]
            yield from _ancestors(classes[base], classes)


def main(folders: Iterable[str]) -> None:
    """Print what `folders` hold; a repeated name is printed where one of its places is there."""
    choice = tuple(folders) or ("",)
    everything = list(read_definitions(EVERYTHING))
    product = [each for each in everything if each.path.startswith(PRODUCT)]
    for each in find_participles(everything):
        if each.path.startswith(choice):
            print(f"{each.path}:{each.line}: participle {each.name}")
    for kind in ("class", "constant"):
        for name, places in find_repeated(product, kind).items():
            if any(each.path.startswith(choice) for each in places):
                where = ", ".join(f"{each.path}:{each.line}" for each in places)
                print(f"{kind} {name} in {len(places)} modules: {where}")
    for finding in find_docstring_problems():
        if finding.path.startswith(choice):
            print(finding)


if __name__ == "__main__":
    main(sys.argv[1:])
