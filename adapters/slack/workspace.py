"""The workspace that the token belongs to, and what all replies in it share."""

from __future__ import annotations

from dataclasses import dataclass, field

from adapters.slack.api import SlackApi
from adapters.slack.directory import Directory
from adapters.slack.latches import Latches
from adapters.slack.markup import Links
from adapters.slack.tasks import Tasks


@dataclass(slots=True)
class Workspace:
    """`team`, `user` and `bot` are our own ids, as auth.test told them ("" until then)."""

    api: SlackApi
    directory: Directory
    links: Links = field(default_factory=Links)
    latches: Latches = field(default_factory=Latches)
    tasks: Tasks = field(default_factory=Tasks)
    team: str = ""
    user: str = ""
    bot: str = ""
    waiting: set[str] = field(default_factory=set)
    """Source messages that carry our sign that they wait their turn."""
