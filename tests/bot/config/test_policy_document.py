"""Ponte accepts each example of docs/guides/rules.md, and each means what the page says."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import pytest

from bot.config.ponte_toml import read_config
from bot.home import Home, Start
from bot.reports import check_rights
from bot.settings import Settings

SERVER = "discord:900000000000000001:9000000000000000"
TEXT = (Path(__file__).parents[3] / "docs" / "guides" / "rules.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"```toml\n(.*?)```", re.DOTALL)
HEADS = [*re.finditer(r"^### (.*)$", TEXT, re.MULTILINE)]
EXAMPLES = {
    one[1]: TEXT[one.end() : two.start() if two else len(TEXT)].partition("\n## ")[0]
    for one, two in pairwise([*HEADS, None])
    if one
}

EXPECTED: Mapping[str, Sequence[tuple[str, str, str, str, bool]]] = {
    "Only these people": [
        ("slack:UANA", "", "slack:T1:CTEAM", "chat", True),
        ("slack:UEVA", "", "slack:T1:CTEAM", "chat", False),
        ("discord:7", "", "", "chat", False),
        ("terminal:owner", "", "", "chat", True),
    ],
    "A small team": [
        ("slack:UANA", "", "slack:T1:CLEADS", "read:Salaries", True),
        ("slack:UANA", "", "slack:T1:CTEAM", "read:Salaries", False),
        ("slack:UCAIO", "", "slack:T1:CLEADS", "read:Salaries", False),
        ("slack:UCAIO", "", "slack:T1:CTEAM", "read:Orders", True),
        ("slack:UCAIO", "", "slack:T1:CTEAM", "propose:Shop", True),
        ("slack:UCAIO", "", "slack:T1:CTEAM", "propose:Orders", False),
        ("slack:UBIA", "", "slack:T1:CTEAM", "approve:Orders", True),
        ("slack:UCAIO", "", "slack:T1:CTEAM", "approve:Orders", False),
    ],
    "A company with guests": [
        ("slack:UGUEST", "guest", "slack:T1:CAGENCY", "read:Campaigns", True),
        ("slack:UGUEST", "guest", "slack:T1:CAGENCY", "read:Invoices", False),
        ("slack:UGUEST", "guest", "slack:T1:CTEAM", "chat", False),
        ("slack:UFIN", "slack:SFIN", "slack:T1:CFIN", "read:Invoices", True),
        ("slack:UFIN", "slack:SFIN", "slack:T1:CFIN", "approve:Invoices", True),
        ("slack:UFIN", "slack:SFIN", "slack:T1:CAGENCY", "approve:Invoices", False),
        ("terminal:owner", "", "", "approve:Campaigns", True),
        ("terminal:owner", "", "", "approve:Invoices", False),
    ],
    "A public Discord server": [
        ("discord:7", "", f"{SERVER}11", "chat", True),
        ("discord:7", "", f"{SERVER}11", "read:Events", False),
        ("discord:7", "", f"{SERVER}11", "tool:schedule_propose", False),
        ("discord:9", "5002", f"{SERVER}11", "read:Events", True),
        ("discord:9", "discord:5002", f"{SERVER}11", "propose:Events", False),
        ("discord:7", "", f"{SERVER}11", "read:Members", False),
        ("discord:7", "", f"{SERVER}13", "chat", False),
        ("discord:7", "", "", "chat", False),
        (
            "discord:8",
            "discord:5001",
            f"{SERVER}13",
            "read:Members",
            True,
        ),
        (
            "discord:8",
            "discord:5001",
            f"{SERVER}13",
            "approve:Events",
            True,
        ),
        (
            "discord:8",
            "discord:5001",
            f"{SERVER}13",
            "code",
            False,
        ),
    ],
}
"""Example → a person, their group or `guest`, a place, a right, and whether they have it."""


def make_start(text: str, folder: Path) -> Start:
    path = folder / "ponte.toml"
    path.write_text(text, encoding="utf-8")
    settings = Settings.model_validate({"ponte_home": folder / "home"})
    return Start(settings, read_config(path), Home(folder / "home"))


def test_the_document_has_its_examples() -> None:
    assert list(EXAMPLES) == list(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
async def test_an_example_means_what_the_page_says(name: str, tmp_path: Path) -> None:
    (text,) = BLOCK.findall(EXAMPLES[name])
    start = make_start(text, tmp_path)
    for who, group, where, right, allowed in EXPECTED[name]:
        is_guest = group == "guest"
        groups = [] if is_guest or not group else [group]
        report = await check_rights(
            start, who, where, groups=groups, guest=is_guest, rights=[right]
        )
        assert [line.allowed for line in report.lines if line.right == right] == [allowed], (
            who,
            where,
            right,
        )


@pytest.mark.parametrize("text", BLOCK.findall(TEXT))
def test_every_piece_of_a_file_is_taken(text: str, tmp_path: Path) -> None:
    make_start(text, tmp_path)
