"""The tutorial on tables, typed at a running Ponte: its words to type do what the page says."""

from __future__ import annotations

import re
import shlex

from tests.docs.conftest import ROOT, Machine

TEXT = (ROOT / "docs/tutorials/tables.md").read_text("utf-8")
TYPED = [
    line
    for block in re.findall(r"^```text\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    for line in block.splitlines()
    if re.match(r"(Which|Mark|show|approve|undo) ", line)
]


def type_lines(machine: Machine, *lines: str) -> str:
    done = machine.run(f"printf '%s\\n' {shlex.join(lines)} | ponte chat")
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_first_change_is_requested_approved_and_undone(machine: Machine) -> None:
    asks, shows, proposes, approves, looks, undoes = TYPED
    told = type_lines(machine, asks, shows, proposes)
    assert 'Source: Invoices, Status is "Overdue"' in told
    assert "Source: Invoices, Amount is more than 200" in told
    assert "INV-2003: Status: Overdue → Paid" in told
    found = re.search(r"Type: approve (\w{6}) ", told)
    assert found
    mine = [re.sub(r"\b[a-z2-7]{6}$", found[1], line) for line in (approves, undoes)]
    told = type_lines(machine, mine[0], looks, mine[1])
    assert re.search(r"Done\..*INV-2003 .*\| Paid \|.*Undone", told, re.DOTALL)
