"""What a finished response says: items, tokens, and why it ends early where it does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from core.messages import Item, Usage
from core.openai import Fault, Json
from core.tokens import usage_of

Cut = Literal["", "length", "filter"]
LONGEST = 1_000_000
"""Characters of one answer, its tools' arguments too: some eight times what models can say."""
MOST_CALLS = 256


@dataclass(slots=True)
class Weight:
    """What one answer weighs so far."""

    characters: int = 0
    calls: int = 0

    def add(self, characters: int, calls: int = 0) -> None:
        """Raises Fault where it is more than we take."""
        self.characters += characters
        self.calls += calls
        if self.characters > LONGEST:
            raise Fault("excess", message=f"{LONGEST:,} characters")
        if self.calls > MOST_CALLS:
            raise Fault("excess", message=f"{MOST_CALLS} calls")


@dataclass(frozen=True, slots=True)
class Said:
    """`items` may hold opaque ones: a server's encrypted reasoning or compaction, in `raw`."""

    items: tuple[Item, ...]
    usage: Usage = field(default_factory=Usage)
    cut: Cut = ""

    @property
    def calls(self) -> bool:
        return any(item.kind == "call" for item in self.items)


def said(response: Mapping[str, Any]) -> Said:
    """Raises Fault for a response that failed or was cancelled."""
    status = response.get("status")
    if status in ("failed", "cancelled"):
        raise Fault("broken", body=response.get("error") or {"code": str(status)})
    reason = (response.get("incomplete_details") or {}).get("reason")
    cut: Cut = ""
    if status == "incomplete":
        cut = "filter" if reason == "content_filter" else "length"
    items = items_of(response.get("output") or (), whole=not cut)
    return Said(items, usage_of(response), cut)


def items_of(output: Sequence[Json], *, whole: bool = True) -> tuple[Item, ...]:
    """Our items for a server's; calls of an answer that was cut are not `whole` and left out."""
    found = (_item(item) for item in output)
    return tuple(item for item in found if item and (whole or item.kind == "message"))


def _item(item: Json) -> Item | None:
    kind = item.get("type")
    if kind == "message":
        text = "".join(
            str(part.get("text") or part.get("refusal") or "")
            for part in item.get("content") or ()
            if isinstance(part, dict)
        )
        raw = {"phase": item["phase"]} if item.get("phase") else {}
        return Item(kind="message", role="assistant", text=text, raw=raw) if text else None
    if kind == "function_call":
        return Item(
            kind="call",
            call_id=str(item.get("call_id") or item.get("id") or ""),
            name=str(item.get("name", "")),
            arguments=str(item.get("arguments") or "{}"),
        )
    if kind in ("reasoning", "compaction") and item.get("encrypted_content"):
        return Item(kind="opaque", raw={"item": item})
    return None
