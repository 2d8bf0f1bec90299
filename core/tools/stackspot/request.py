"""One request to StackSpot, as it is sent, counted and worded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["token", "create", "status", "agent"]


@dataclass(frozen=True, slots=True)
class Request:
    """`subject` is what it is about, for words: a realm, a slug, an agent's id.

    `repeatable`: sending it twice does no more than once. `timeout` in seconds.
    """

    kind: Kind
    method: Literal["GET", "POST"]
    url: str
    subject: str
    body: object = None
    form: Mapping[str, str] | None = field(default=None, repr=False)
    params: Mapping[str, str] | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    repeatable: bool = True
    timeout: float = 30.0
