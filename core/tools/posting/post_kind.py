"""A post in another place as a kind of change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from core.base.text import clip_line
from core.changes.kinds import Kind
from core.domain.changes import Change, Draft
from core.domain.records import NOTE_TEMPLATE
from core.tools.posting.place_posts import NO_UNDO

_OUTCOMES = {
    "applying": "In progress.",
    "done": "Posted.",
    "failed": "Not posted. {words}",
    "partial": "The result is unknown. Look there before you ask again. {words}",
}


class PlacePost(Kind):
    """A text for another channel or person, as the only row."""

    title = "Post to {title}"
    outcomes = _OUTCOMES
    no_undo = NO_UNDO

    def rights_to_propose(self, draft: Draft) -> Sequence[tuple[str, ...]]:
        """Return the rights to propose and to post in the place."""
        return [("propose",), ("post", draft.view.place)]

    def describe(self, change: Change) -> str:
        """Return the whole text of the post."""
        return str((change.steps[0].write.after or {}).get("text", ""))

    def build_rows(self, change: Change) -> tuple[dict[str, Any], ...]:
        """Return no rows: the text says all."""
        return ()

    def build_note(self, change: Change, outcome: str) -> str:
        """Return the outcome with the name of the place."""
        what = f"post in {clip_line(change.draft.title)!r}"
        return NOTE_TEMPLATE.format(words=f"Proposal {change.id} ({what}): {outcome}")


PLACE_POST = PlacePost()
