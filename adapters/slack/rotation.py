"""Where a long-running answer goes on in another message, because its stream grows old."""

from __future__ import annotations

from adapters.slack.markup import settled
from core.fences import after_all
from core.splitting import split


class Rotation:
    """Splits an answer at the platform's limit, and where `turn` said so: a code block that is
    cut there is closed, and opened again in the next part."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
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
            fence = after_all(opening + head, None, self._limit // 4)
            closing = f"\n{fence.closing}" if fence else ""
            parts += split(opening + head.rstrip() + closing, self._limit)
            self._ends.update(parts[-1:])
            rest = rest[len(head) :]
            opening = f"{fence.continued(self._limit // 4).opening}\n" if fence else ""
        return (*parts, *split(opening + rest, self._limit)) if rest.strip() else tuple(parts)

    def ends(self, part: str) -> bool:
        """Whether this part was ended by a turn, so that nothing more is added to it."""
        return part in self._ends
