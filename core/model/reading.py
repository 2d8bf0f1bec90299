"""What is said in a Responses stream, whatever shape its end has."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from core.model.said import Said, Weight, said
from core.openai import Fault, Json
from core.records import Began, Delta, ModelEvent

BEGINNINGS = ("response.created", "response.queued", "response.in_progress")
ENDS = ("response.completed", "response.incomplete", "response.failed", "response.cancelled")
WORDS = ("response.output_text.delta", "response.refusal.delta")


class Reading:
    """One stream. A refusal's words are shown like any others: they are the model's answer."""

    def __init__(self) -> None:
        self.response = ""
        self.over = False
        self._spoken = False
        self._items: list[Json] = []
        self._final: Json | None = None
        self._words, self._whole = Weight(), Weight()

    def take(self, event: Json) -> Sequence[ModelEvent]:
        """What a listener gets to know of this event. Raises Fault for an error event."""
        kind = event.get("type")
        if kind in WORDS:
            self._spoken = True
            words = str(event.get("delta", ""))
            self._words.add(len(words))
            return (Delta(words),)
        if kind in BEGINNINGS:
            return self._begin(event.get("response"))
        if kind in ENDS:
            self._final, self.over = event.get("response") or {}, True
        elif kind == "response.output_item.done":
            item = event.get("item") or {}
            self._whole.add(len(json.dumps(item)), 1)
            self._items.append(item)
        elif kind == "response.output_item.added":
            return self._paragraph(event.get("item") or {})
        elif kind == "error":
            raise Fault("broken", body=event)
        return ()

    def finished(self) -> Said:
        """What was said. Raises Fault when it failed, or ended without saying that it ended."""
        if self._final is None:
            raise Fault("lost")
        # Some servers leave the output out of the last event.
        output = self._final.get("output") or self._items
        Weight().add(0, len(output))
        return said({**self._final, "output": output})

    def _begin(self, response: Any) -> Sequence[ModelEvent]:
        if self.response or not isinstance(response, dict) or not response.get("id"):
            return ()
        self.response = str(response["id"])
        return (Began(self.response),)

    def _paragraph(self, item: Json) -> Sequence[ModelEvent]:
        """A second message of one response begins a paragraph."""
        return (Delta("\n\n"),) if item.get("type") == "message" and self._spoken else ()
