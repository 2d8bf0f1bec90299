"""`.env.example` and the settings say the same, both ways."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from bot.settings import Settings, load

EXAMPLE = (Path(__file__).parents[1] / ".env.example").read_text(encoding="utf-8")
ENTRIES = re.findall(r"^# (.*)\n#([A-Z_]+)=(.*)$", EXAMPLE, re.MULTILINE)


def test_every_setting_stands_there_once_in_the_same_order_with_its_meaning() -> None:
    assert [(name.lower(), meaning) for meaning, name, _ in ENTRIES] == [
        (name, field.description) for name, field in Settings.model_fields.items()
    ]


def test_every_line_is_a_comment() -> None:
    assert [line for line in EXAMPLE.splitlines() if line and not line.startswith("#")] == []
    assert len(re.findall(r"^#[A-Z_]+=", EXAMPLE, re.MULTILINE)) == len(ENTRIES)


def test_each_line_taken_as_it_stands_is_the_default(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in list(os.environ):
        if name.lower() in Settings.model_fields:
            monkeypatch.delenv(name)
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("\n".join(f"{name}={value}" for _, name, value in ENTRIES))
    settings = load()
    ours = Path("~/.local/share/ponte").expanduser()
    assert settings.model_dump() == Settings(ponte_home=ours).model_dump()
    assert {"ponte_model", "ponte_web_port", "ponte_admins"} <= settings.model_fields_set
