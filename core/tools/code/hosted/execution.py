"""What a Responses answer says of the code that it ran."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from core.messages import Usage
from core.openai import Json
from core.tokens import usage_of

CALL = "code_interpreter_call"
_LINK = re.compile(r"!?\[(?P<label>[^\[\]\n]*)\]\(\s*<?sandbox:[^()\n]*(?:\([^()\n]*\)[^()\n]*)*\)")
_BARE = re.compile(r"sandbox:(?P<path>/[^\s)\]>\"'`]*)")
# A traceback as Python prints it, and as IPython does, which also shows errors of syntax bare.
_FAILED = re.compile(
    r"^(?:-{20,}\n[\w.]+ +Traceback \(most recent call last\)|Traceback \(most recent call last\):)"
    r"|^ *(?:Cell In ?\[\d+\]|File \".*\"), line \d+\n(?:.*\n){1,4}(?:Syntax|Indentation|Tab)Error",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Citation:
    """A container's file that the answer names."""

    container: str
    file: str
    name: str


@dataclass(frozen=True, slots=True)
class Execution:
    """One response. `codes` are what ran, "" where the server does not say; `at` in its seconds.

    `text` is the model's own words, without links into the container, `ended` why they end early.
    """

    id: str
    at: int
    codes: tuple[str, ...] = ()
    container: str = ""
    logs: str = ""
    pictures: tuple[str, ...] = ()
    cited: tuple[Citation, ...] = ()
    text: str = ""
    refusal: str = ""
    ended: str = ""
    broken: bool = False
    """A run did not come to its end there."""
    usage: Usage = field(default_factory=Usage)

    @property
    def printed(self) -> str:
        """What the code printed before it failed, or all of it."""
        return self.logs[: self._failed()]

    @property
    def error(self) -> str:
        return self.logs[self._failed() :]

    def _failed(self) -> int:
        starts = [found.start() for found in _FAILED.finditer(self.logs)]
        return starts[-1] if starts else len(self.logs)


def execution_of(response: Mapping[str, object]) -> Execution:
    """`response` is the JSON of one whose status is final."""
    answer: Json = dict(response)
    items = [item for item in answer.get("output") or () if isinstance(item, dict)]
    calls = [item for item in items if item.get("type") == CALL]
    outputs = [out for call in calls for out in call.get("outputs") or ()]
    parts = [part for item in items for part in _parts(item)]
    texts = [str(part["text"]) for part in parts if part.get("type") == "output_text"]
    reason = (answer.get("incomplete_details") or {}).get("reason")
    return Execution(
        id=str(answer.get("id", "")),
        at=int(answer.get("created_at") or 0),
        codes=tuple(str(call.get("code") or "") for call in calls),
        container=next((str(call.get("container_id") or "") for call in calls), ""),
        logs="".join(str(out.get("logs") or "") for out in outputs if out.get("type") == "logs"),
        pictures=tuple(str(out.get("url")) for out in outputs if out.get("type") == "image"),
        cited=tuple(note for part in parts for note in _cited(part)),
        text=unlinked("\n\n".join(texts)).strip(),
        refusal="".join(str(part.get("refusal") or "") for part in parts),
        ended=str(reason or "") if answer.get("status") == "incomplete" else "",
        broken=any(call.get("status") in ("failed", "incomplete") for call in calls),
        usage=usage_of(answer),
    )


def unlinked(text: str) -> str:
    """`text` without links into a container, which nobody can follow: what they say stays."""
    text = _LINK.sub(lambda found: found["label"], text)
    return _BARE.sub(lambda found: posixpath.basename(found["path"]), text)


def _parts(item: Json) -> Iterator[Json]:
    if item.get("type") == "message":
        yield from (part for part in item.get("content") or () if isinstance(part, dict))


def _cited(part: Json) -> Iterator[Citation]:
    for note in part.get("annotations") or ():
        if note.get("type") == "container_file_citation":
            yield Citation(
                str(note.get("container_id", "")),
                str(note.get("file_id", "")),
                str(note.get("filename", "")),
            )
