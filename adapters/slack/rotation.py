"""Where a long-running answer goes on in another message, because its stream grows old."""

from __future__ import annotations

from collections.abc import Callable

from adapters.slack.lengths import PART, size
from adapters.slack.markup import settled
from core.fences import after_all
from core.splitting import longest_info

_INFO = longest_info(PART, size)


class Rotation:
    """Splits an answer as `split` does, and where `turn` said so: a code block that is cut there is
    closed, and opened again in the next part."""

    def __init__(self, split: Callable[[str], tuple[str, ...]]) -> None:
        self._split = split
        self._heads: list[str] = []
        self._ends: set[str] = set()

    def turn(self, text: str) -> None:
        """Let the text so far be final; what follows goes into the next part."""
        done = sum(map(len, self._heads))
        end = max(text.rfind("\n") + 1, settled(text))
        if text.startswith("".join(self._heads)) and text[done:end].strip():
            self._heads.append(text[done:end])

    def split(self, text: str) -> tuple[str, ...]:
        """A text that changed before a cut loses that cut: what is posted is then edited."""
        parts: list[str] = []
        rest, opening = text, ""
        self._ends.clear()
        for head in self._heads:
            if not rest.startswith(head):
                break
            fence = after_all(opening + head, None, _INFO)
            closing = f"\n{fence.closing}" if fence else ""
            parts += self._split(opening + head.rstrip() + closing)
            self._ends.update(parts[-1:])
            rest = rest[len(head) :]
            opening = f"{fence.continued(_INFO).opening}\n" if fence else ""
        return (*parts, *self._split(opening + rest)) if rest.strip() else tuple(parts)

    def ends(self, part: str) -> bool:
        """Whether this part was ended by a turn, so that nothing more is added to it."""
        return part in self._ends
