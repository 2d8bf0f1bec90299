"""The frames that come from a kernel, which user code can forge: each is checked, none believed."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Annotated, Literal

from pydantic import (
    Base64Bytes,
    BaseModel,
    ConfigDict,
    StringConstraints,
    TypeAdapter,
    ValidationError,
)

from core.errors import PonteError

Word = Annotated[str, StringConstraints(max_length=32)]
Name = Annotated[str, StringConstraints(max_length=4096)]
Text = Annotated[str, StringConstraints(max_length=100_000)]


class BrokenFrame(PonteError):
    """What came is no frame of ours (never shown): the kernel is not to be listened to."""

    code = "broken_frame"
    sentence = "What came from the sandbox is no frame."


class _Frame(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)


class Ready(_Frame):
    """The kernel listens."""

    ready: Literal[True]


class FileMade(_Frame):
    file: Name
    data: Base64Bytes


class LeftOut(_Frame):
    left: Name
    why: Word


class Done(_Frame):
    done: Word
    value: Text
    error: Text


Frame = Ready | FileMade | LeftOut | Done
_FRAMES: TypeAdapter[Frame] = TypeAdapter(Frame)


def read(line: bytes) -> Frame:
    """The frame of a line. Raises BrokenFrame; "" too, where the pipe has ended."""
    try:
        return _FRAMES.validate_json(line)
    except (ValidationError, ValueError, RecursionError):
        raise BrokenFrame from None


def file(name: str, data: bytes) -> bytes:
    """The request that puts a file into the work folder."""
    return _line({"file": name, "data": b64encode(data).decode()})


def run(name: str, code: str) -> bytes:
    return _line({"run": name, "code": code})


def interrupt(name: str) -> bytes:
    return _line({"interrupt": name})


def _line(request: dict[str, str]) -> bytes:
    # Escaped to ASCII: code with half a surrogate pair is the kernel's error, not ours.
    return json.dumps(request).encode() + b"\n"
