"""What the model read and wrote in a turn so far, and what people see of it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial

from core.base import markdown, text
from core.base.growing_markdown import GrowingMarkdown
from core.base.i18n import say
from core.base.trust import Trust
from core.changes.cards import describe_proposals
from core.domain.messages import CHOICE, File, Item, Progress, Question
from core.domain.records import Outcome
from core.domain.rows import Chart, Placed, RowsResult, place_results
from core.figures.check import check_figures
from core.figures.receipts import SOURCES, describe_check, quote_receipts
from core.tools.code.source import RUN_PYTHON_TOOL
from core.turn.preparation import ModelBriefing, quote_spoken
from core.turn.run import TurnRun

MAX_SHOWN_SOURCES = 10
OWN_LINK = re.compile(r"\[\w{1,40}\]\((https?://[^\s()<>]{1,500})\)\Z")


class TurnTranscript:
    """All that the model read and wrote in a turn so far: the items, the outcomes of calls by their
    ids, the record of the thread, and in `streamed_text` the text with what the model streamed
    last."""

    def __init__(self, run: TurnRun, briefing: ModelBriefing) -> None:
        self.briefing = briefing
        self.items = list(run.turn.items)
        self.outcomes = {c.call_id: c.outcome for c in run.turn.calls if c.outcome}
        self.question: Question | None = None
        for outcome in self.outcomes.values():
            self.question = self.question or outcome.question
        self.thread = briefing.request.thread
        # The model's text so far, also of the answer that arrives. A resumed turn begins with the
        # text of the rounds that are stored.
        self.streamed_text = self.text if run.turn.rounds else ""
        self.opening = quote_spoken(" ".join(filter(None, (i.spoken for i in self.items))))
        """What was understood of voice messages, which stands before the model's text."""
        self._reply = run.reply
        self._is_choice = run.turn.message.origin.name == CHOICE.name
        # These remember what is rendered, so that an update renders only what is new.
        self._growing, self._cleaning = GrowingMarkdown(), text.GrowingText()

    @property
    def text(self) -> str:
        """The model's text, one paragraph for each of its messages, and its question."""
        texts = [item.text for item in self.items if item.role == "assistant"]
        if (question := self.question) and question.text not in "".join(texts[-1:]):
            texts.append(question.text)
        return "\n\n".join(filter(None, texts))

    def files(self) -> tuple[File, ...]:
        outputs = (i for i in self.items if i.kind == "output" and not i.shows_files)
        return tuple(file for item in outputs for file in item.files)

    @property
    def call_ids(self) -> list[str]:
        return [item.call_id for item in self.items if item.kind == "call"]

    def open_calls(self) -> list[Item]:
        ended = {item.call_id for item in self.items if item.kind == "output"}
        return [i for i in self.items if i.kind == "call" and i.call_id not in ended]

    def waiting_proposals(self) -> set[str]:
        return {o.proposal for o in self.outcomes.values() if o.status == "proposed"}

    def outcomes_in_order(self) -> list[Outcome]:
        return [outcome for _, outcome in self.named_outcomes()]

    def named_outcomes(self) -> list[tuple[str, Outcome]]:
        """Each with the name of its tool."""
        return [
            (item.name, outcome)
            for item in self.items
            if item.kind == "call" and (outcome := self.outcomes.get(item.call_id))
        ]

    def results(self) -> dict[str, Outcome]:
        """The ids are the numbers of the calls in the transcript, which a resumed turn does not
        change."""
        return {
            f"r{number}": outcome
            for number, id in enumerate(self.call_ids, 1)
            if (outcome := self.outcomes.get(id))
        }

    def placeable(self) -> dict[str, RowsResult | Chart]:
        return {id: outcome.data for id, outcome in self.results().items() if outcome.data}

    @property
    def provenance(self) -> tuple[bool, Trust]:
        """The first value says whether the thread contains text from outside, the second which
        links are allowed then. Every output of a tool counts as text from outside, and so does an
        answer that names sources. The addresses that the model's server itself names as sources are
        allowed: it found them, while the model can write any address."""
        sources = self._model_sources
        has_outputs = any(item.kind == "output" for item in self.items)
        outside = self.briefing.has_outside_text or has_outputs or bool(sources)
        trust = self.briefing.trust
        if sources:
            trust = replace(trust, written=trust.written.union(sources))
        return outside, trust

    def source_lines(self) -> list[str]:
        return list(
            dict.fromkeys(line for outcome in self.outcomes_in_order() for line in outcome.sources)
        )

    @property
    def answer_provenance(self) -> tuple[bool, Trust]:
        """`provenance` for the whole answer: the links in its source lines work, too, because
        Ponte's code wrote them."""
        links = (link[1] for line in self.source_lines() if (link := OWN_LINK.search(line)))
        outside, trust = self.provenance
        return outside, replace(trust, written=trust.written.union(links))

    @property
    def _model_sources(self) -> dict[str, str]:
        # Titles by address, as the model's server named them.
        titles: dict[str, str] = {}
        for item in self.items:
            for url, title in item.raw.get("sources", ()):
                titles[url] = titles.get(url) or title
        return titles

    def model_source_lines(self) -> list[str]:
        """Return the list of web pages that the model's server named as sources, as one block of
        Markdown; none if it named none. Their titles are text from outside, so links and markup in
        them are disabled."""
        trust, sources = self.provenance[1], list(self._model_sources.items())
        lines = [
            trust.sanitize(f"{n}. {title and markdown.escape_markdown(title) + ' '}{url}")
            for n, (url, title) in enumerate(sources[:MAX_SHOWN_SOURCES], 1)
        ]
        return ["\n".join([say(SOURCES), "", *lines])] if lines else []

    async def describe_figures(self, load_earlier: Callable[[], Awaitable[Sequence[Item]]]) -> str:
        """Return whether the figures of the answer occur in what was read: "" if no rows were read
        and no Python ran, and where a figure may come from what is not read here: a picture, a
        file, the web. `load_earlier` returns the items of earlier turns."""
        outcomes, request = self.named_outcomes(), self.briefing.request
        tables = [
            outcome.data.to_rows() if isinstance(outcome.data, Chart) else outcome.data
            for _, outcome in outcomes
            if outcome.data
        ]
        runs = [outcome.text for name, outcome in outcomes if name == RUN_PYTHON_TOOL]
        if not tables and not runs:
            return ""
        # The source lines name filters.
        texts = [
            text
            for name, outcome in outcomes
            if name != RUN_PYTHON_TOOL
            for text in (outcome.text, *outcome.sources)
        ]
        asked = "\n".join(i.text for i in self.items if i.role == "user" and not self._is_choice)
        check = await asyncio.to_thread(check_figures, self.text, asked, tables, texts, runs)
        if check.missing:
            earlier = await load_earlier()
            if self._model_sources or any(
                item.files and (item.role == "user" or item.shows_files)
                for item in (*earlier, *self.items)
            ):
                return ""
            # What the model said before may be wrong.
            said = "\n".join(item.text for item in earlier if item.kind == "message")
            outputs = (item.text for item in reversed(earlier) if item.kind == "output")
            texts += [request.instructions, request.preface, *outputs]
            check = await asyncio.to_thread(
                check_figures, self.text, asked, tables, texts, runs, said
            )
        return describe_check(check)

    @property
    def visible_text(self) -> str:
        return self.opening + prepare_text(self._place_results()[0])

    def _place_results(self) -> tuple[str, tuple[Placed, ...]]:
        answer_text = self.streamed_text
        # Ponte's sentence replaces the model's words beside a card, in a post that has them too.
        if answer_text and (waiting := self.waiting_proposals()):
            answer_text = describe_proposals(len(waiting))
        return place_results(answer_text, self.placeable, is_growing=True)

    async def show(self, doing: str = "") -> None:
        """`doing` is a phrase about what a tool does now."""
        progress = Progress(self.opening + self.streamed_text, doing)
        await self._reply.show(progress, partial(self._render, doing))

    async def _render(self, doing: str) -> Progress:
        """Links are disabled if the thread contains text from outside."""
        # Whether there is such text, and the links that may work in that case.
        outside, trust = self.provenance

        def render(growing_text: str) -> str:
            clean_text = self._cleaning.clean(prepare_text(growing_text))
            return self._growing.render(clean_text, trust) if outside else clean_text

        # Lines such as `[table: r1]` become the rows and charts that the tools returned.
        growing_text, placed = self._place_results()
        # A long text takes long to render, and other turns must not wait for it.
        rendered = await text.run_off_loop(render, self.opening + growing_text)
        # The platform gets `trust` too: it disables links that only its own rendering would create.
        return Progress(rendered, doing, trust if outside else None, placed)


def prepare_text(text: str) -> str:
    """Return a model's text without what only Ponte may say, and without links into its sandbox."""
    return quote_receipts(markdown.without_container_links(text))
