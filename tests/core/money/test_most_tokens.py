"""How many tokens something is at most: what an allowance reserves before a model is asked."""

from __future__ import annotations

import json

import pytest

from core.models.model_input import estimate_max_tokens
from core.money.allowances import MAX_DOCUMENT_TOKENS, MAX_TEXT_FILE_BYTES, max_item_tokens
from core.money.usage import MAX_PICTURE_TOKENS


def item_with(*files: dict[str, object]) -> str:
    return json.dumps({"kind": "message", "text": "look", "files": files})


@pytest.mark.parametrize(
    ("file", "least"),
    [
        ({"type": "image/png", "size": 10}, MAX_PICTURE_TOKENS),
        ({"type": "application/pdf", "size": 10}, MAX_DOCUMENT_TOKENS),
        ({"type": "text/csv", "size": 3_000}, 3_000),
        ({"type": "text/csv", "size": MAX_TEXT_FILE_BYTES + 3_000}, MAX_TEXT_FILE_BYTES),
        ({}, 0),
    ],
)
def test_a_file_counts_by_its_kind(file: dict[str, object], least: int) -> None:
    addition = max_item_tokens(item_with(file)) - max_item_tokens(item_with())
    assert least <= addition < least + 1_000


def test_each_file_counts() -> None:
    picture = {"type": "image/png", "size": 10}
    assert max_item_tokens(item_with(picture, picture)) > 2 * MAX_PICTURE_TOKENS


@pytest.mark.parametrize(
    ("data", "tokens"),
    [
        ("data:image/png;base64,AAAA", MAX_PICTURE_TOKENS),
        ("data:application/pdf;base64,AAAA", MAX_DOCUMENT_TOKENS),
        ("é" * 10, 20),
    ],
)
def test_a_request_counts_data_by_its_kind_and_text_by_its_bytes(data: str, tokens: int) -> None:
    without = estimate_max_tokens({"input": [{"url": ""}]})
    assert estimate_max_tokens({"input": [{"url": data}]}) == without + tokens
