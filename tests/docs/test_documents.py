"""What README and docs/ show is so: each block is run, loaded or parsed, and each command, setting,
target and file that they name is there. A document that is added is tested without a word here.

A line of a shell that cannot run in a test stands in `ELSEWHERE` with the reason; a document whose
commands have a test of their own stands in `OWN`.
"""

from __future__ import annotations

import ast
import io
import json
import os
import re
import shlex
import subprocess
import textwrap
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer
from dotenv.parser import parse_stream

from bot.cli.command_line import cli
from bot.config.ponte_toml import read_config
from bot.settings import Settings, load
from tests.docs.conftest import ROOT, Machine
from tests.docs.site import DOUBLES, document_paths, parser

DOCUMENTS = [path for path in document_paths() if path != "CHANGELOG.md"]
HISTORY = {"docs/dev/decisions.md"}
"""Names what was there on its day."""
OWN = {
    "docs/guides/install.md": "tests/docs/test_install_document.py",
    "docs/guides/operations.md": "tests/test_operations.py",
    "docs/guides/upgrade.md": "tests/test_operations.py",
    "docs/explanation/privacy.md": "tests/bot/test_privacy_document.py",
    "docs/guides/stackspot.md": "tests/docs/test_tutorials.py",
    "docs/guides/watching.md": "tests/watching/test_tables.py",
}
"""Document → the test that runs its commands; here they are only looked at."""
ELSEWHERE = {
    r"make [a-z-]+\b.*": "writes into the checkout, takes minutes, or until it is stopped",
    r"\.ci/run": "is what runs this",
    r"claude mcp add .*": "is another program's",
    r"\.venv/bin/python -m pytest .*": "a test in a test",
    r"(sudo |\w+=\S+ )*(apt-get|apt|systemctl|docker|sysctl|useradd|install|nginx|caddy)\b.*": (
        "changes the machine"
    ),
    r"(\S+/pip|pip|pipx|uv|npm|npx|git|python3? -m venv)\b.*": "needs the network",
    r"(\.venv/bin/)?ponte (run|serve|work|chat|sandbox)\b.*": "goes on until it is stopped",
    r"ponte migrate\b.*": "needs a Postgres: tests/contract/test_postgres.py",
}
"""A statement of a shell → why it is not run here."""
REPLACED = {"/var/lib/node_exporter/": "$HOME/"}
"""Folders that only root can write."""
REPORTS = {"ponte doctor", "ponte status"}
"""They exit with 1 where something is not set up, as on the test's machine."""
SHOWN = {
    "text": "is output",
    "chat": "tests/docs/test_tutorials.py",
    "js": "others' pages",
    "caddy": "no Caddy is here",
    "nginx": "no nginx is here",
    "ini": "systemd's: tests/test_units.py",
    "dockerfile": "tests/test_deploy.py",
    "promql": "tests/watching",
    "http": "is no code",
    "sql": "tests/contract/test_postgres.py",
}
"""Languages of blocks that are neither run nor read, and why."""
READ = {"sh", "bash", "env", "toml", "json", "python", "yaml"}
NO_SETTINGS = {"PONTE_STORM", "PONTE_TOKEN", "PONTE_URL"}
"""Names that look like settings, and are those of tests and of others' programs."""
BEFORE = {";", "|", "&&", "||", "sudo"}
"""After these a command begins."""
_SETTING = re.compile(r"(?:PONTE|OPENAI|SLACK|DISCORD|NOCODB|STACKSPOT)_[A-Z_]*[A-Z]")
_PATH = re.compile(r"(?:adapters|benchmarks|bot|core|deploy|docs|tests)/[\w./-]+(?:::\w+)?")
_TARGET = re.compile(r"^([a-z-]+):", re.MULTILINE)
_YAML = re.compile(r"(?: {2})*(?:- )*(?:[\w./${}\"'-]+:(?: .+)?|[^:#]+|#.*)?")


@dataclass(frozen=True, slots=True)
class Block:
    document: str
    line: int
    language: str
    text: str
    in_message: bool = False
    """Whether it is a part of a message that another block shows."""

    def __str__(self) -> str:
        return f"{self.document}:{self.line}"


def read_blocks(name: str, text: str) -> Iterator[Block]:
    """Yield the blocks of a document, and those inside a block that shows a whole message.

    Every test process reads all documents to know its tests, so text inside lines is not parsed.
    """
    for token in parser().disable("inline").parse(text):
        if token.type in ("fence", "code_block"):
            line, language = (token.map or [0])[0] + 1, token.info.strip()
            yield Block(name, line, language, token.content)
            if language in SHOWN:
                for inner in read_blocks(name, token.content):
                    if inner.language:
                        yield replace(inner, line=line + inner.line, in_message=True)


@cache
def blocks() -> tuple[Block, ...]:
    """Return the blocks of all documents."""
    return tuple(
        block for name in DOCUMENTS for block in read_blocks(name, (ROOT / name).read_text("utf-8"))
    )


@cache
def spans(document: str) -> tuple[str, ...]:
    """What stands between backticks in its text."""
    tokens = parser().parse((ROOT / document).read_text("utf-8"))
    inner = [one for token in tokens for one in token.children or ()]
    return tuple(one.content for one in inner if one.type == "code_inline")


def of(*languages: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        "block", [one for one in blocks() if one.language in languages], ids=str
    )


def test_every_block_says_what_it_is() -> None:
    unknown = [
        f"{one}: {one.language!r}" for one in blocks() if one.language not in READ | {*SHOWN}
    ]
    assert unknown == []


def test_documents_with_a_test_of_their_own_have_it() -> None:
    assert [two for one, two in OWN.items() if one in DOCUMENTS and not (ROOT / two).exists()] == []


@of("toml", "json", "yaml", "python")
def test_each_code_block_can_be_parsed(block: Block, tmp_path: Path) -> None:
    match block.language:
        case "toml":
            read_toml(block, tmp_path)
        case "json":
            json.loads(block.text)
        case "yaml":
            read_yaml(block)
        case "python":
            read_python(block)


def read_toml(block: Block, folder: Path) -> None:
    """As ponte.toml; where a document has a test of its own, it may be another program's."""
    tomllib.loads(block.text)
    if block.document not in OWN:
        path = folder / "ponte.toml"
        path.write_text(block.text, encoding="utf-8")
        read_config(path)


def read_yaml(block: Block) -> None:
    """No parser of YAML is among our packages: keys, lists, even indentation, closed brackets."""
    assert [line for line in block.text.splitlines() if not _YAML.fullmatch(line)] == []
    assert all(block.text.count(one) == block.text.count(two) for one, two in ("[]", "{}"))


def read_python(block: Block) -> None:
    """It compiles, and what it imports is there; what it calls needs a service."""
    flags = ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    tree = compile(block.text, str(block), "exec", flags)
    assert isinstance(tree, ast.Module)
    if block.in_message or block.document == "docs/dev/extend.md":
        return  # the sandbox runs it, with packages of its own; tests/docs/test_extend.py
    imports: list[ast.stmt] = [
        node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    exec(compile(ast.Module(imports, []), str(block), "exec"), {})


@pytest.mark.parametrize(
    "block",
    [one for one in blocks() if one.document == DOUBLES and one.language == "python"],
    ids=str,
)
async def test_the_examples_of_the_doubles_run(block: Block) -> None:
    code = compile(block.text, str(block), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    await eval(code, {})


@of("env")
def test_settings_are_taken(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [one for one in os.environ if one.lower() in Settings.model_fields]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    text = textwrap.dedent(block.text).replace("…", "x")
    (tmp_path / ".env").write_text(text, encoding="utf-8")
    settings = load()
    names = {one.key.lower() for one in parse_stream(io.StringIO(text)) if one.key}
    assert names <= settings.model_fields_set
    assert settings.notes == ()


@pytest.mark.slow
@of("sh", "bash")
def test_a_shell_s_lines_run(block: Block, request: pytest.FixtureRequest) -> None:
    """What earlier blocks of the document set is set, and the people that they add are there."""
    run = []
    for statement in statements(block.text):
        check(statement)
        if not any(re.fullmatch(one, statement, re.DOTALL) for one in ELSEWHERE):
            run.append(f"{statement} || [ $? = 1 ]" if statement in REPORTS else statement)
    if block.document in OWN or not run:
        return
    before = [one for one in blocks() if one.document == block.document and one.line < block.line]
    options = [
        f"{one} || true"
        for earlier in before
        if earlier.language in ("sh", "bash")
        for one in statements(earlier.text)
        if re.fullmatch(r"export .*|\w+=\S+|\w+=.*ponte people add .*", one)
    ]
    script = "\n".join([*options, *run])
    for folder, instead in REPLACED.items():
        script = script.replace(folder, instead)
    machine: Machine = request.getfixturevalue("machine")
    env = machine.folder / ".env"
    env.touch()
    result = machine.run(script)
    env.unlink(missing_ok=True)  # else doctor says that it is newer than the machine's Ponte
    assert result.returncode == 0, f"{script}\n{result.stdout}\n{result.stderr}"


@cache
def statements(text: str) -> list[str]:
    """Each command with the lines that belong to it, without comments."""
    waiting, complete = "", list[str]()
    for line in text.splitlines():
        waiting = f"{waiting}\n{line}" if waiting else line
        result = subprocess.run(["bash", "-n"], input=waiting, capture_output=True, text=True)
        if result.returncode == 0 and "here-document" not in result.stderr and line[-1:] != "\\":
            words = re.sub(r"(^|\s)#\s.*$", "", waiting) if "\n" not in waiting else waiting
            complete += [words.strip()] if words.strip() else []
            waiting = ""
    assert not waiting, f"not a shell's: {waiting}"
    return complete


def check(statement: str) -> None:
    """That the commands of ours in it are there."""
    lexer = shlex.shlex(statement, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    try:
        words = list(lexer)
    except ValueError:  # a text within, which bash alone reads
        words = statement.split()
    for index, word in enumerate(words):
        before = words[index - 1] if index else ";"
        if word.rpartition("/")[2] == "ponte" and (before in BEFORE or re.match(r"\w+=", before)):
            check_ponte(words[index + 1 :])
        elif word == "make" and before in BEFORE and words[index + 1 :]:
            assert words[index + 1] in targets(), statement
        elif _PATH.fullmatch(word):
            assert is_there(word), statement


@cache
def ponte_command() -> Any:
    """Building it takes 15 ms."""
    return typer.main.get_command(cli)


def check_ponte(words: list[str]) -> None:
    command = ponte_command()
    while words and words[0] in getattr(command, "commands", {}):
        command = command.commands[words.pop(0)]
    places = [word for word in words if word[:1] not in ("-", "…", "<", ">", "|", ";", "&")]
    if hasattr(command, "commands"):
        assert not places, f"no command of ponte: {places[0]}"
    names = {option for each in command.params for option in getattr(each, "opts", ())}
    for word in words:
        if word in ("|", ">", ";", "&&", "||"):
            break
        if word.startswith("--") and word != "--":
            name = word.partition("=")[0]
            assert name in names | {"--help", "--install-completion", "--version"}, name


@cache
def targets() -> frozenset[str]:
    return frozenset(_TARGET.findall((ROOT / "Makefile").read_text("utf-8")))


def is_there(path: str) -> bool:
    name, _, test = path.partition("::")
    file = ROOT / name.rstrip("/.")
    return file.exists() and (not test or f"def {test}(" in file.read_text("utf-8"))


@pytest.mark.parametrize("document", sorted({*DOCUMENTS} - HISTORY))
def test_what_a_document_names_is_there(document: str) -> None:
    names = {name.upper() for name in Settings.model_fields} | NO_SETTINGS
    for span in spans(document):
        if span.startswith("ponte "):
            check_ponte(re.sub(r"[\[\]]|\\?\|\S*", " ", span.partition(" ")[2]).split())
        elif match := re.fullmatch(r"make ([a-z-]+)", span):
            assert match[1] in targets(), span
        elif _PATH.fullmatch(span) and "." in span:
            assert is_there(span), span
        for name in _SETTING.findall(span):
            assert name in names or any(one.startswith(f"{name}_") for one in names), span


@pytest.mark.parametrize("document", DOCUMENTS)
def test_a_reader_is_told_to_run_whole_commands(document: str) -> None:
    """Where the text says "Run `ponte …`", the command has what it requires."""
    text = (ROOT / document).read_text("utf-8")
    for words in re.findall(r"\bRun\s+`ponte ([^`]+)`", text):
        assert missing_parameters(words.split()) == [], words


def missing_parameters(words: list[str]) -> list[str]:
    """Return the names of the required options and arguments that a command lacks."""
    command = ponte_command()
    while words and words[0] in getattr(command, "commands", {}):
        command = command.commands[words.pop(0)]
    places = [word for word in words if not word.startswith("-")]
    missing = []
    for each in command.params:
        if not each.required:
            continue
        if each.param_type_name == "argument":
            match = bool(places) and places.pop(0) != ""
        else:
            match = any(option in words for option in each.opts)
        missing += [] if match else [each.name]
    return missing


def test_the_workflow_of_ci_runs_the_script_and_cannot_write() -> None:
    text = (ROOT / ".github/workflows/ci.yml").read_text("utf-8")
    assert "- run: .ci/run\n" in text
    assert "permissions:\n  contents: read\n" in text
    assert all(re.search(r"@[0-9a-f]{40} ", line) for line in text.splitlines() if "uses:" in line)
    assert (ROOT / ".ci/run").stat().st_mode & 0o100
