"""How many lines of the product name a subject outside its own files, and so have to change with
it. `python -m benchmarks.mentions [--list] [FOLDER]`; FOLDER is another checkout to compare with.

Two numbers for each subject: lines that name one of its cases or compare with one, and lines that
ask a case for a fact or a step, which do not change if a case is added.
"""

from __future__ import annotations

import argparse
import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

FOLDERS = ("bot", "adapters", "core")


@dataclass(frozen=True)
class Subject:
    """`own`: files and folders (with a slash at the end) that may name it. `named` and `asked` are
    the patterns, with the names of today and those before."""

    name: str
    own: Sequence[str]
    named: Sequence[str]
    asked: Sequence[str]


SUBJECTS = (
    Subject(
        "origins of turns",
        # The origins, and the files where messages of one alone are made.
        own=(
            "core/schedules/", "core/webhooks/", "core/turn/origins.py",
            "core/schedules/schedule.py", "core/schedules/schedule.py",
            "core/schedules/words.py", "core/webhooks/hook.py", "core/webhooks/intake.py",
            "core/conversation/scheduled_turns.py", "core/schedules/rows.py",
            "adapters/web/api/openai_api.py",
        ),
        named=(
            r"(?<!: MessageOrigin = )\bPERSON\b", r"\bPROGRAM\b", r"\bPEOPLE\b",
            r"\bMessageOrigin\(", r"\borigin\.(name|data)\b", r"\b(Schedule|Webhook)Origin\b",
            r"\bschedules\.origin\b", r"\bHOOK_(PLATFORM|RIGHTS|EFFECTS|PREFACE)\b",
            r"platform [!=]= \"hook\"", r"\bONE_REQUEST_PREFIX\b",
            # Names before 2026-11-26:
            r"\bscheduled_run\b", r"\bclass (ScheduledRun|HookDelivery)\b", r"\bis_scheduled\b",
            r"\bis_typed( and|: bool = True|=request)", r"\b_?[Ss]cheduled_?[Tt]urns\b",
            r"\bschedules\.turns\b", r"\bHookDelivery\b", r"\b(message|self)\.hook\b",
            r"\b(of_hook|is_hook and)\b", r"\brule_book\(\)\.hooks\b",
            r"\bSCHEDULED_PREFACE\b", r"\bsent_by_program\b", r"if scheduled\b",
        ),
        asked=(r"\borigin\.[a-z_]+\b", r"\.(is_authored|may_be_command)\b", r"\bstand_ins\b"),
    ),
    Subject(
        "kinds of change",
        # The kinds, and the features that make and apply changes of one kind alone.
        own=(
            "core/changes/kinds.py", "core/tools/nocodb/", "core/tools/sample/",
            "core/tools/stackspot/", "core/tools/posting/", "core/tools/schedules/",
            "core/tools/posting.py", "core/schedules/",
            "core/conversation/schedules.py",
            "core/schedules/schedule.py", "core/schedules/rows.py",
        ),
        named=(
            r"\bdraft\.kind (not in|in|==|!=) ", r"\bmatch draft\.kind\b",
            r"\bkind (=|==|!=) [\"'](create|update|delete|run|post|schedule)\b",
            r"\bkind=\"(create|update|delete|run|post|schedule)\"",
            r"\bkinds\[\"", r"\b(TABLE_KINDS|WriteKind)\b",
            r"\bget\(\"kind\"\) [!=]= \"", r"\bLiteral\[\"proposal\", \"change\", ",
            r"\b(ROW_KINDS|QUICK_COMMAND_RUN|PLACE_POST|[A-Z]+_SCHEDULE)\b",
        ),
        asked=(
            r"\bself\.kinds\[", r"\bkind\(change\)",
            r"\bkind\.(is|has|can|no|may|needs|describe|build|paid|read|rule)_?[a-z_]*\b",
        ),
    ),
)  # fmt: skip


def read_code_lines(source: str) -> Iterator[tuple[int, str]]:
    """Yield the numbered lines without imports, docstrings and comments."""
    passed: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom) or (
            isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        ):
            passed.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    for number, line in enumerate(source.splitlines(), 1):
        if number not in passed and line.strip()[:1] not in ("", "#"):
            yield number, line.partition("  # ")[0]


def find_mentions(root: Path, subject: Subject) -> tuple[list[str], list[str]]:
    """Return the lines that name a case of the subject, and the others that ask one."""
    named, asked = (re.compile("|".join(each)) for each in (subject.named, subject.asked))
    found: tuple[list[str], list[str]] = [], []
    for path in sorted(path for folder in FOLDERS for path in (root / folder).rglob("*.py")):
        place = path.relative_to(root).as_posix()
        if place.startswith(tuple(subject.own)):
            continue
        for number, line in read_code_lines(path.read_text(encoding="utf-8")):
            if named.search(line) or asked.search(line):
                lines = found[0] if named.search(line) else found[1]
                lines.append(f"{place}:{number}: {line.strip()}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("root", type=Path, nargs="?", default=Path(__file__).parents[1])
    parser.add_argument("--list", action="store_true", help="print each line")
    given = parser.parse_args()
    for subject in SUBJECTS:
        for word, lines in zip(("named", "asked"), find_mentions(given.root, subject), strict=True):
            files = {line.partition(":")[0] for line in lines}
            print(f"{subject.name}, {word}: {len(lines)} lines in {len(files)} files")
            if given.list:
                print(*(f"  {line}" for line in lines), sep="\n")


if __name__ == "__main__":
    main()
