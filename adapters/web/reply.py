"""Brings an answer to the page: the stored answer is the message, nothing is posted elsewhere."""

from __future__ import annotations

from adapters.web.hub import Hub
from core.messages import Answer, Progress, ReplyTo


class WebReply:
    """Tells the hub; whoever is not there now reads the journal later, so nothing can be lost."""

    def __init__(self, hub: Hub, to: ReplyTo) -> None:
        self._hub = hub
        self._conversation = to.address.conversation
        self._turn = to.turn

    def split(self, text: str) -> tuple[str, ...]:
        return (text,)

    async def show(self, progress: Progress) -> None:
        self._hub.show(self._conversation, self._turn, progress)

    async def rest(self) -> None:
        return None

    async def finish(self, answer: Answer) -> None:
        self._hub.finish(self._conversation, self._turn, answer)
