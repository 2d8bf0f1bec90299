"""Python in a message or in what a model wrote."""

from __future__ import annotations

import pytest

from core.tools.code.port import bare, block


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("```python\nx\n```", "x"),
        ("say\n~~~py\nx\ny\n~~~\nmore", "x\ny"),
        ("```json\n{}\n```\n```\nx\n```", "x"),
        ("````python\n```\nx\n````", "```\nx"),
        ("```python\n\n```\n```python\nx\n```", "x"),
        ("no code", ""),
        ("```python\nnot closed", ""),
        ("", ""),
    ],
)
def test_the_first_block_of_python(text: str, code: str) -> None:
    assert block(text) == code


@pytest.mark.parametrize(
    "code", ["x", "  x", 's = """\n```\n"""', "```python\nx\n```\nprint(1)", "```\nnot closed"]
)
def test_code_that_is_not_all_fenced_stays_as_it_is(code: str) -> None:
    assert bare(code) == code
