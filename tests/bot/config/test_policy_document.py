"""Ponte accepts each example of docs/guides/rules.md, and each means what the page says."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest

from bot.config.ponte_toml import read_config
from bot.home import Home, Start
from bot.reports import check_rights
from bot.settings import Settings

TEXT = (Path(__file__).parents[3] / "docs" / "guides" / "rules.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"```toml\n(.*?)```", re.DOTALL)
ROW = re.compile(r"^\| `([\w:]+)`(?: \((guest|`[\w:]+`)\))? \| (?:`([\w:]+)`)? ?\| `([\w:]+)` \| (yes|no) \|$")  # fmt: skip  # noqa: E501
HEADS = [*re.finditer(r"^### (.*)$", TEXT, re.MULTILINE)]
EXAMPLES = {
    one[1]: TEXT[one.end() : two.start() if two else len(TEXT)].partition("\n## ")[0]
    for one, two in pairwise([*HEADS, None])
    if one
}


def make_start(text: str, folder: Path) -> Start:
    path = folder / "ponte.toml"
    path.write_text(text, encoding="utf-8")
    settings = Settings.model_validate({"ponte_home": folder / "home"})
    return Start(settings, read_config(path), Home(folder / "home"))


def test_the_document_has_its_three_examples() -> None:
    assert list(EXAMPLES) == [
        "A small team", "A company with guests", "A public Discord server",
    ]  # fmt: skip


@pytest.mark.parametrize("name", EXAMPLES)
async def test_an_example_means_what_stands_under_it(name: str, tmp_path: Path) -> None:
    (text,) = BLOCK.findall(EXAMPLES[name])
    start = make_start(text, tmp_path)
    rows = [found.groups() for line in EXAMPLES[name].splitlines() if (found := ROW.match(line))]
    assert len(rows) == EXAMPLES[name].count("| yes |") + EXAMPLES[name].count("| no |") >= 8
    for who, known, where, right, may in rows:
        groups = [known.strip("`")] if known and known != "guest" else []
        told = await check_rights(
            start, who, where or "", groups=groups, guest=known == "guest", rights=[right]
        )
        (allowed,) = {line.allowed for line in told.lines if line.right == right}
        assert allowed == (may == "yes"), (who, where, right)


@pytest.mark.parametrize("text", BLOCK.findall(TEXT))
def test_every_piece_of_a_file_is_taken(text: str, tmp_path: Path) -> None:
    make_start(text, tmp_path)
