"""What the operator's commands read and do, in JSON: served on the home's Unix socket alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from core.conversation.commands import Commands
from core.errors import NotFound
from core.ports import Journal
from core.records import Shown

Json = Mapping[str, Any]


class Threads:
    """`link` gives the page's address with its token."""

    def __init__(self, journal: Journal, commands: Commands, link: Callable[[], str]) -> None:
        self._journal = journal
        self._commands = commands
        self.link = link

    async def threads(self) -> Sequence[Json]:
        return [
            {"conversation": one.conversation, "thread": one.id, "used_at": one.used_at,
             "messages": len(await self._journal.shown(one.conversation))}
            for one in await self._journal.threads()
        ]  # fmt: skip

    async def thread(self, conversation: str) -> Json:
        """Raises NotFound."""
        if not any(one.conversation == conversation for one in await self._journal.threads()):
            raise NotFound(what="conversation")
        exchanges = await self._journal.shown(conversation)
        return {
            "conversation": conversation,
            "messages": [line for one in exchanges for line in _lines(one)],
        }

    async def forget(self, *, conversation: str = "", person: str = "") -> Json:
        """Of a person: every conversation in which they said something. Raises NotFound."""
        found = [conversation] if conversation else await self._journal.of_person(person)
        if not found or not any(one.conversation in found for one in await self._journal.threads()):
            raise NotFound(what="person" if person else "conversation")
        messages = sum([await self._commands.forget(one) for one in found])
        return {"conversations": len(found), "messages": messages}


def _lines(one: Shown) -> Sequence[Json]:
    said = {"role": "user", "name": one.message.author.name, "text": one.message.text}
    both = [said | {"state": one.state}]
    if one.answer:
        both.append({"role": "assistant", "name": "Ponte", "text": one.answer.text})
    return [line | {"at": one.at, "turn": one.turn} for line in both]
