"""The pages of docs/reference match the code; ponte.toml.example has every key."""

from __future__ import annotations

import re
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any

from bot.config.ponte_toml import Config, read_config
from tests.docs import reference

EXAMPLE = reference.ROOT / "ponte.toml.example"


def test_it_is_made_of_the_code_as_it_is() -> None:
    """`make reference` writes it anew. There is something of each kind."""
    pages = reference.pages()
    for path, text in pages.items():
        assert path.read_text("utf-8").splitlines() == text.splitlines(), path.name
    result = "\n".join(pages.values())
    for names in (
        "- `PONTE_GRACE=20`: ",
        '## `[channels."PLACE"]`',
        "- `remind_after` (duration): ",
        "- `ponte people renew NAME`: ",
        "- `approve` (`aprovar`, `approuver`): ",
        "| Attachment | files | only empty or not |",
        '- `POST /turns/{turn}/stop`: `{"turn", "status", "text"}` (404',
    ):
        assert names in result


def test_the_example_of_the_file_is_taken_as_it_stands(tmp_path: Path) -> None:
    text = EXAMPLE.read_text("utf-8")
    uncommented = re.sub(r"^#(?=\S)", "", text, flags=re.MULTILINE)
    assert uncommented != text
    path = tmp_path / "ponte.toml"
    path.write_text(text, encoding="utf-8")
    defaults = Config()
    config = read_config(path)
    assert {f.name: getattr(config, f.name) for f in fields(Config) if f.compare} == {
        f.name: getattr(defaults, f.name) for f in fields(Config) if f.compare
    }, "every line of it is a comment"
    path.write_text(uncommented, encoding="utf-8")
    assert read_config(path).rules


def test_the_example_has_every_key() -> None:
    text = re.sub(r"^#(?=\S)", "", EXAMPLE.read_text("utf-8"), flags=re.MULTILINE)
    data = tomllib.loads(text)
    assert "groups" in data
    for path, kind in reference.sections():
        names = [part.strip('[]"') for part in path.split(".")]
        there = _all(data, names)
        assert {f.name.rstrip("_") for f in fields(kind) if f.init} <= there, path


def _all(table: Any, path: list[str]) -> set[str]:
    """The keys of all tables at `path`, where NAME, SLUG and PLACE are any name."""
    if isinstance(table, list):
        return {key for each in table for key in _all(each, path)}
    if not path:
        return set(table)
    head, *rest = path
    under = table.values() if head in ("NAME", "SLUG", "PLACE") else [table.get(head, {})]
    return {key for each in under for key in _all(each, rest)}
