"""The rounds between model and tools, until there is an answer.

Everything is journalled before it can matter: a round's items before its tools run, each call
before and after. A turn that resumes goes on after the last item; what is done is not repeated.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace

from core import links, metrics, text
from core.errors import (
    ModelDown,
    ModelError,
    TooManyRounds,
)
from core.messages import Answer, Card, File, Item, Progress
from core.ports import Journal, Model
from core.records import (
    Ask,
    Began,
    Call,
    Completed,
    Delta,
    Kept,
    Outcome,
    Remote,
    Scene,
    Thread,
)
from core.stage import Stage
from core.tool_calls import ToolCalls
from core.words import say

_OWN_LINK = re.compile(r"\[\w{1,40}\]\((https?://[^\s()<>]{1,500})\)\Z")
ROUNDS = 12
"""Model calls in one turn, at most."""
CUT = "The answer ends here because it became too long. Ask me to go on."


class Rounds:
    """One turn's rounds. `thread` is the record as the last round left it."""

    def __init__(self, stage: Stage, journal: Journal, model: Model) -> None:
        self._stage = stage
        self._journal = journal
        self._model = model
        self._items = list(stage.turn.items)
        self._calls = ToolCalls(stage, journal, self._scene, self._show)
        self._said = ""
        self._cut = False
        self._files: list[File] = []
        self.thread = stage.thread
        self._growing = links.Growing()
        self.shown = ""

    async def answer(self) -> Answer:
        """Raises a ModelError, PostRemoved, Superseded or NotStored."""
        self._recall()
        number = 1 + sum(round_.complete for round_ in self._stage.turn.rounds)
        if number > 1 and not self._open_calls() and self._items[-1].kind != "output":
            return await self._ended()
        while True:
            if calls := self._open_calls():
                await self._run(calls)
            if self._waiting():
                return await self._ended()
            if number > ROUNDS:
                raise TooManyRounds(rounds=ROUNDS)
            await self._ask(number)
            if not self._open_calls():
                return await self._ended()
            number += 1

    @property
    def goes_on_elsewhere(self) -> bool:
        """Whether another system may still finish what was called here, though nobody waits."""
        return self._calls.go_on_elsewhere

    @property
    def _trust(self) -> links.Trust | None:
        """Where links may lead; None where nothing from outside is in the thread."""
        outside = self._stage.outside or any(item.kind == "output" for item in self._items)
        return self._stage.trust if outside else None

    def _waiting(self) -> set[str]:
        """The proposals of this turn that wait for a person."""
        return {o.proposal for o in self._calls.outcomes.values() if o.status == "proposed"}

    async def cards(self) -> tuple[Card, ...]:
        """What this turn proposed, as it stands now, in the order of its calls."""
        proposals = self._stage.proposals
        ids = [outcome.proposal for outcome in self._in_order() if outcome.proposal]
        if not ids or proposals is None:
            return ()
        return tuple(await proposals.cards(ids, self._stage.locale))

    async def _ended(self) -> Answer:
        """Where something waits for a person, its cards are the answer, not the model's words."""
        proposals, locale = self._stage.proposals, self._stage.locale
        cards, files = await self.cards(), tuple(self._files)
        waiting = [card for card in cards if card.id in self._waiting()]
        used_up = [f"_{self._calls.used_up}_"] if self._calls.used_up else []
        if waiting and proposals is not None:
            told = "\n\n".join([proposals.words(waiting, locale), *used_up])
            return Answer(text=told, cards=cards, files=files)
        said = self._said
        cut = [f"_{say(CUT, locale)}_"] if self._cut else []
        told = "\n\n".join([said, *cut, *used_up, *self._sources()]) if said or used_up else ""
        return Answer(text=told, cards=cards, files=files)

    def _sources(self) -> list[str]:
        """Where figures are from, as the tools tell it, in the order of their calls."""
        return list(dict.fromkeys(line for one in self._in_order() for line in one.sources))

    @property
    def linked(self) -> frozenset[str]:
        """Where the lines lead that code wrote under the answer: each ends in its link."""
        found = (_OWN_LINK.search(line) for line in self._sources())
        return frozenset(link[1] for link in found if link)

    def _in_order(self) -> list[Outcome]:
        """What came of this turn's calls, in their order."""
        called = [
            self._calls.outcomes.get(item.call_id) for item in self._items if item.kind == "call"
        ]
        return [outcome for outcome in called if outcome]

    def _recall(self) -> None:
        """What a former attempt left: the text already said, the files already made."""
        for item in self._items:
            if item.role == "assistant":
                self._say(item.text)
            elif item.kind == "output":
                self._files.extend(item.files)
        self.shown = self._said

    def _open_calls(self) -> list[Item]:
        ended = {item.call_id for item in self._items if item.kind == "output"}
        return [i for i in self._items if i.kind == "call" and i.call_id not in ended]

    async def _ask(self, number: int) -> None:
        try:
            completed = await self._stream(number)
        except ModelError as error:
            metrics.model_rounds.labels(error.code).inc()
            raise
        self.thread = completed.thread or self.thread
        self._cut = completed.cut
        turn, items = self._stage.turn, completed.items
        await self._journal.items(turn, number, items, completed.usage, self._model.name)
        metrics.count_round(completed.usage)
        self._items.extend(items)
        for item in items:
            if item.role == "assistant":
                self._say(item.text)
        self.shown = self._said

    async def _stream(self, number: int) -> Completed:
        async with aclosing(self._model.ask(self._question(number))) as events:
            async for event in events:
                match event:
                    case Began(response):
                        self.shown = self._said
                        await self._journal.round_began(self._stage.turn, number, response)
                    case Delta(piece):
                        self.shown += piece
                        await self._show()
                    case Kept(remote, thread):
                        await self._journal.remote(self.thread.id, remote)
                        await self._keep(thread)
                    case Completed():
                        return event
        raise ModelDown

    async def _keep(self, thread: Thread | None) -> None:
        """Written at once: a crash must not lose which conversation goes on."""
        if thread is not None:
            self.thread = thread
            if self._stage.keep:
                await self._stage.keep(thread)

    def _question(self, number: int) -> Ask:
        stage, heard = self._stage, self._unheard()
        began = {round_.number: round_.response for round_ in stage.turn.rounds}
        return Ask(
            thread=self.thread,
            turn=stage.turn.id,
            number=number,
            input=tuple(self._items[heard:]),
            history=lambda: self._history(heard),
            instructions=stage.instructions,
            preface=stage.preface,
            asker=stage.turn.message.author,
            tools=tuple(tool.spec for tool in stage.tools.values()),
            response=began.get(number, ""),
            locale=stage.locale,
            seq=stage.turn.seq,
            since=stage.since,
        )

    def _unheard(self) -> int:
        """Where the items begin that the model has not heard: after the last that it said."""
        spoken = (n for n, item in enumerate(self._items, 1) if item.kind in ("call", "opaque")
                  or item.role == "assistant")  # fmt: skip
        return max(spoken, default=0)

    async def _history(self, heard: int) -> Sequence[Item]:
        entries = await self._journal.transcript(self.thread.id, before=self._stage.turn.seq)
        return [entry.item for entry in entries] + self._items[:heard]

    def _say(self, words: str) -> None:
        self._said = f"{self._said}\n\n{words}" if self._said and words else self._said + words

    async def _show(self, doing: str = "") -> None:
        trust = self._trust

        def readable(said: str) -> str:
            cleaned = text.clean(said)
            return self._growing.shown(cleaned, trust) if trust else cleaned

        shown = await text.aside(readable, self.shown)
        await self._stage.reply.show(Progress(text=shown, doing=doing, trust=trust))

    async def _run(self, calls: Sequence[Item]) -> None:
        """The calls of one round; in the transcript their outcomes keep the calls' order."""
        for call, outcome in zip(calls, await self._calls.run(calls), strict=True):
            self._items.append(
                Item(kind="output", call_id=call.call_id, text=outcome.text, files=outcome.files)
            )
            self._files.extend(outcome.files)

    def _scene(self, call: Call) -> Scene:
        stage = self._stage
        scene = stage.scenes.of(stage.turn, self.thread, call, stage.locale, self._show)
        scene = replace(scene, kept=self._kept)
        if (proposals := stage.proposals) is None:
            return scene
        return replace(scene, propose=lambda draft: proposals.propose(scene, draft))

    async def _kept(self, remote: Remote) -> None:
        await self._journal.remote(self.thread.id, remote)
        if remote.kind == "container":
            await self._keep(replace(self.thread, container=remote.id))
