"""What a quick command gave, as a person gets it."""

from __future__ import annotations

import json

from core.commands.quick_commands import MAX_RESULT_CHARACTERS, render_result
from core.domain.messages import File


class Kept:
    """Keeps files by name."""

    def __init__(self) -> None:
        self.data: dict[str, bytes] = {}

    async def keep(self, name: str, type: str, data: bytes) -> File:
        self.data[name] = data
        return File("f1", name, type, len(data))


async def shown_text(result: str) -> str:
    shown, files = await render_result(result, "x", Kept().keep)
    assert files == ()
    return shown


async def test_json_is_laid_out_as_code_and_words_are_words() -> None:
    assert await shown_text('[1, "é"]') == '```json\n[\n  1,\n  "é"\n]\n```'
    assert await shown_text("12") == "12"
    assert await shown_text('"a"') == '"a"'
    assert await shown_text("{not json") == "{not json"
    assert await shown_text("```python\nprint()\n```") == "```python\nprint()\n```"
    assert "without a result" in await shown_text(" \n")


async def test_fences_within_json_stay_within() -> None:
    shown = await shown_text(json.dumps({"md": "```\nx\n```"}))
    assert shown.startswith("````json\n")


async def test_words_stay_as_they_are_until_their_surface_is_known() -> None:
    for words in ("see report.csv and c01@example.com", "[a](https://evil.example/x)"):
        assert await shown_text(words) == words


async def test_a_long_one_is_a_file_with_its_beginning_shown() -> None:
    kept = Kept()
    words = "word " * MAX_RESULT_CHARACTERS
    shown, (file,) = await render_result(words, "Report: 1/2", kept.keep)
    assert kept.data[file.name] == words.encode()
    assert f"{len(words):,} characters" in shown
    assert len(shown) < 2000
    many = json.dumps({"rows": list(range(4000))})
    shown, _ = await render_result(many, "x", kept.keep)
    assert json.loads(kept.data["x.json"]) == {"rows": list(range(4000))}
    assert shown.count("```") == 2
