"""What a reply answers, as it is stored in `ReplyTo.source`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self

Kind = Literal["message", "command", "card", "quiet"]


@dataclass(frozen=True, slots=True)
class Source:
    """`message`: one that a person wrote. `command`: a slash command, which leaves no message;
    `ts` is then only a time. `card`: a click on a card in our post `ts`. `quiet`: a click or a
    native stop, whose outcome is for that person alone. `thread` is the root that the answer
    stands under ("" at the top level). Written as `TS`, `THREAD/TS`, or `KIND:THREAD/TS`."""

    ts: str
    thread: str = ""
    kind: Kind = "message"

    def __str__(self) -> str:
        kind = "" if self.kind == "message" else f"{self.kind}:"
        thread = f"{self.thread}/" if self.thread and self.thread != self.ts else ""
        return f"{kind}{thread}{self.ts}"

    @classmethod
    def read(cls, text: str) -> Self:
        kind, _, place = text.rpartition(":")
        thread, _, ts = place.rpartition("/")
        known: dict[str, Kind] = {"command": "command", "card": "card", "quiet": "quiet"}
        kind_ = known.get(kind, "message")
        return cls(ts, thread or (ts if kind_ == "message" else ""), kind_)
