"""How long what we post may be, in bytes once `&`, `<` and `>` are escaped, as Slack counts.

Slack's pages speak of characters. Measured were UTF-8 bytes: 4,000 of `text` on an edit, also
beside blocks (openclaw/openclaw pull 115027, pymc-labs/daimon pull 106); between 10,600 and 11,300
of a streamed message (openclaw/openclaw pull 143882). All limits here stay under those.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from core.graphemes import whole

TEXT = 3_900
"""Of `text`: 4,000 (chat.update; of posts seratch/ChatGPT-in-Slack issue 102)."""
SHORT = 300
"""Of `text`, where Slack finds even that too long: its blocks say all."""
PART = 9_000
"""Of an answer's text in one post: 12,000 in all Markdown of a message
(docs.slack.dev/reference/block-kit/blocks/markdown-block), 10,000 in a stream."""
STREAM = 9_900
"""Of a streamed message, with what is put under it at its end."""
MESSAGE = 11_500
"""Of all blocks of a message: "12,000 text characters with a buffer for block containers"
(slackapi/bolt-js issues 2509 and 2867)."""
CONTAINER = 100
"""What each block counts beside its text. That it counts is known, how much is not."""
SECTION = 2_900
"""Of a section's text: 3,000 (docs.slack.dev/reference/block-kit/blocks/section-block)."""
BLOCKS = 48
"""Blocks of a message: 50 (docs.slack.dev/reference/block-kit/blocks)."""


def size(text: str) -> int:
    """Of text that is not escaped yet."""
    marks = 4 * text.count("&") + 3 * (text.count("<") + text.count(">"))
    return len(text.encode(errors="surrogatepass")) + marks


def weight(blocks: Sequence[Mapping[str, Any]]) -> int:
    """Of a message's blocks."""
    return CONTAINER * len(blocks) + sum(_texts(blocks))


def _texts(part: Any) -> Iterator[int]:
    if isinstance(part, Mapping):
        if isinstance(text := part.get("text"), str):
            yield len(text.encode()) if part.get("type") == "mrkdwn" else size(text)
        for name, value in part.items():
            if name != "text" or not isinstance(value, str):
                yield from _texts(value)
    elif isinstance(part, Sequence) and not isinstance(part, str):
        for each in part:
            yield from _texts(each)


def fit(text: str, limit: int) -> str:
    """Text that is not escaped, in `limit` bytes at most once it is; "…" where something is
    missing."""
    if size(text) <= limit:
        return text
    fits, over = 0, min(len(text), limit) + 1
    while over - fits > 1:
        middle = (fits + over) // 2
        if size(text[:middle] + "…") <= limit:
            fits = middle
        else:
            over = middle
    return text[: whole(text, fits)] + "…"


def cut(escaped: str, limit: int) -> str:
    """Escaped text in `limit` bytes at most, with "…" where something is missing; neither a
    character nor an entity is torn."""
    data = escaped.encode()
    if len(data) <= limit:
        return escaped
    kept = data[: limit - len("…".encode())].decode(errors="ignore")
    kept = escaped[: whole(escaped, len(kept))]
    entity = kept.rfind("&")
    if entity >= 0 and ";" not in kept[entity:]:
        kept = kept[:entity]
    return kept + "…"
