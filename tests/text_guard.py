"""Check that a change of docstrings and comments changes nothing else, and loses no reason.

`python -m tests.text_guard compare OLD NEW [PATH …]` compares two commits, or the files as they are
(`.`), and prints each file whose code or pragmas differ. `reasons [COMMIT]` prints, as JSON lines,
the sentences with a source, a quantity or a word such as "otherwise". `lost FILE [MARKS …]` prints
those of FILE that are nowhere in the product now and have no line with their `id` in MARKS.
"""

from __future__ import annotations

import argparse
import ast
import io
import json
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

from tests.sources import PRODUCT, ROOT

PRAGMA = re.compile(r"#\s*(noqa|type:|fmt:|pragma)")
SOURCE = re.compile(
    r"https?://|document(ed|ation|s)\b|\bRFC ?\d|\bdocs?\b|[a-z]\.(com|org|dev|io)\b"
)
QUANTITY = re.compile(
    r"\d[\d,._]*\s?(%|m?s|[kKMG]i?B|(milli)?seconds?|minutes?|hours?|days?|bytes?|megabytes?"
    r"|characters?|levels?|digits?|tokens?|rows?|times|requests?|places?|bits?|pixels?)\b"
)
REASON = re.compile(
    r"\b(because|otherwise|races?|crash\w*|kill\w*|twice|before|after|since|so that)\b", re.I
)
SENTENCE_END = re.compile(r"(?<=[.!?:;])[\"'`)]*\s+(?=[\"'`(A-Z0-9-])|\n\s*\n|\n\s*(?=- )")
NO_CODE = {
    *(tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT),
}
LAYOUT = {"(", ")", ",", "...", "pass"}
"""Tokens that the formatter moves, or that stand in place of a docstring. `ast` compares them."""
NEAR = 0.8
"""Share of a sentence's words in another one that says the same."""


@dataclass(frozen=True)
class Text:
    """A docstring, a string that explains a field (`is_comment` false) or a block of comments."""

    qualname: str
    line: int
    text: str
    is_comment: bool


@dataclass(frozen=True)
class Reason:
    """A sentence that says why, from where or how much."""

    id: str
    file: str
    qualname: str
    line: int
    sentence: str


def read_files(commit: str, paths: Sequence[str] = ()) -> Mapping[str, str]:
    """Return the Python files of a commit, or of the work tree for ".", by their path."""
    folders = paths or PRODUCT
    if commit == ".":
        files = [p for each in folders for p in (ROOT / each).rglob("*.py")]
        files += [ROOT / each for each in folders if each.endswith(".py")]
        return {str(path.relative_to(ROOT)): path.read_text("utf-8") for path in sorted(files)}
    names = _git("ls-tree", "-r", "--name-only", commit, "--", *folders).splitlines()
    return {name: _git("show", f"{commit}:{name}") for name in names if name.endswith(".py")}


def _git(*arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout


def read_code(source: str) -> tuple[str, list[str], list[str]]:
    """Return the tree of a file without its texts, its tokens without those, and its pragmas."""
    tree = ast.parse(source)
    lines: set[int] = set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for statement in node.body:
            if _is_text(statement):
                lines.update(range(statement.lineno, (statement.end_lineno or 0) + 1))
        node.body = [each for each in node.body if not _is_text(each) and not _is_filler(each)]
    tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    code = [
        token.string
        for token in tokens
        if token.type not in NO_CODE and token.start[0] not in lines and token.string not in LAYOUT
    ]
    pragmas = [token.string.strip() for token in tokens if PRAGMA.match(token.string)]
    return ast.dump(tree), code, pragmas


def _is_text(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _is_filler(node: ast.stmt) -> bool:
    return isinstance(node, ast.Pass) or (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and node.value.value is ...
    )


def compare(old: str, new: str, paths: Sequence[str]) -> list[str]:
    """Return what differs besides docstrings and comments, by file."""
    before, after = read_files(old, paths), read_files(new, paths)
    problems = [f"{name}: only in one of both" for name in sorted(before.keys() ^ after.keys())]
    for name in sorted(before.keys() & after.keys()):
        if before[name] == after[name]:
            continue
        parts = zip(read_code(before[name]), read_code(after[name]), strict=True)
        for what, (first, second) in zip(("tree", "tokens", "pragmas"), parts, strict=True):
            if first != second:
                problems.append(f"{name}: other {what}")
    return problems


def list_texts(source: str) -> Iterator[Text]:
    """Return all texts of a file, with the name of the definition that holds each."""
    tree = ast.parse(source)
    spans: list[tuple[int, int, str]] = []
    texts: list[Text] = []

    def visit(node: ast.AST, prefix: str) -> None:
        for child in ast.iter_child_nodes(node):
            name = prefix
            if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                name = f"{prefix}.{child.name}".lstrip(".")
                spans.append((child.lineno, child.end_lineno or child.lineno, name))
            if isinstance(child, ast.stmt) and _is_text(child):
                text = str(ast.literal_eval(ast.unparse(child)))
                texts.append(Text(prefix, child.lineno, text, is_comment=False))
            visit(child, name)

    visit(tree, "")
    yield from texts

    def qualname(line: int) -> str:
        inside = [span for span in spans if span[0] <= line <= span[1]]
        return max(inside)[2] if inside else ""

    block: list[tokenize.TokenInfo] = []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT and not PRAGMA.match(token.string):
            is_next = block and token.start == (block[-1].start[0] + 1, block[-1].start[1])
            if block and not (is_next and token.line.lstrip().startswith("#")):
                yield _join(block, qualname(block[0].start[0]))
                block = []
            block.append(token)
    if block:
        yield _join(block, qualname(block[0].start[0]))


def _join(block: Sequence[tokenize.TokenInfo], qualname: str) -> Text:
    text = "\n".join(token.string.lstrip("# ") for token in block)
    return Text(qualname, block[0].start[0], text, is_comment=True)


def split_sentences(text: str) -> list[str]:
    """Return the sentences of a text, each on one line."""
    pieces = [" ".join(piece.split()) for piece in SENTENCE_END.split(text) if piece]
    return [piece for piece in pieces if piece]


def list_reasons(files: Mapping[str, str]) -> Iterator[Reason]:
    """Return the sentences that say why, from where or how much. Docstrings count only with a
    source."""
    for file, source in files.items():
        for text in list_texts(source):
            for sentence in split_sentences(text.text):
                is_reason = SOURCE.search(sentence) or (
                    text.is_comment and (QUANTITY.search(sentence) or REASON.search(sentence))
                )
                if is_reason:
                    key = sha256(f"{file} {text.qualname} {sentence}".encode()).hexdigest()[:10]
                    yield Reason(key, file, text.qualname, text.line, sentence)


def find_lost(reasons: Iterable[Reason], files: Mapping[str, str]) -> list[Reason]:
    """Return the reasons that no sentence of the product says now, in equal or nearly equal words.

    A longer sentence says a shorter one if it has its numbers and `NEAR` of its words."""
    sentences = [
        (sentence, _words(sentence))
        for source in files.values()
        for text in list_texts(source)
        for sentence in split_sentences(text.text)
    ]
    exact = {sentence for sentence, _ in sentences}
    places: dict[str, set[int]] = {}
    for number, (_, words) in enumerate(sentences):
        for word in words:
            places.setdefault(word, set()).add(number)
    lost = []
    for reason in reasons:
        if reason.sentence in exact:
            continue
        words = _words(reason.sentence)
        counts: dict[int, int] = {}
        for word in words:
            for number in places.get(word, ()):
                counts[number] = counts.get(number, 0) + 1
        numbers = {word for word in words if word[0].isdigit()}
        if not any(
            count >= NEAR * len(words) and numbers <= sentences[number][1]
            for number, count in counts.items()
        ):
            lost.append(reason)
    return lost


def _words(sentence: str) -> frozenset[str]:
    return frozenset(re.findall(r"[\w']+", sentence.lower()))


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    modes = parser.add_subparsers(dest="mode", required=True)
    both = modes.add_parser("compare")
    both.add_argument("old")
    both.add_argument("new")
    both.add_argument("paths", nargs="*")
    modes.add_parser("reasons").add_argument("commit", nargs="?", default=".")
    lost = modes.add_parser("lost")
    lost.add_argument("file", type=Path)
    lost.add_argument("marks", nargs="*", type=Path)
    choice = parser.parse_args(arguments)
    if choice.mode == "compare":
        problems = compare(choice.old, choice.new, choice.paths)
        print("\n".join(problems) or "equal but for docstrings and comments")
        return bool(problems)
    if choice.mode == "reasons":
        for reason in list_reasons(read_files(choice.commit)):
            print(json.dumps(asdict(reason), ensure_ascii=False))
        return 0
    lines = choice.file.read_text("utf-8").splitlines()
    reasons = [Reason(**json.loads(line)) for line in lines]
    marks = {
        json.loads(line)["id"]
        for path in choice.marks
        if path.exists()
        for line in path.read_text("utf-8").splitlines()
    }
    for reason in find_lost((one for one in reasons if one.id not in marks), read_files(".")):
        print(json.dumps(asdict(reason), ensure_ascii=False))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
