"""The dialogues by name. Each file of dialogues adds its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.guard.stage import Stage

ALL, CHATS = ("slack", "discord", "page"), ("slack", "discord")
Play = Callable[[Stage], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Scene:
    """A dialogue, the surfaces where it makes sense, and Ponte's configuration."""

    play: Play
    surfaces: Sequence[str]
    toml: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)


SCENES: dict[str, Scene] = {}


def scene(surfaces: Sequence[str] = ALL, toml: str = "", **settings: Any) -> Callable[[Play], Play]:
    """Return a decorator that adds a dialogue under the name of its function."""

    def add(play: Play) -> Play:
        SCENES[play.__name__] = Scene(play, surfaces, toml, settings)
        return play

    return add
