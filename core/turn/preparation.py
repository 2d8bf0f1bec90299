from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from core.base import text
from core.base.errors import PlatformBusy, PostRemoved, Refusal, StatusUnknown
from core.base.i18n import say
from core.base.json_text import make_storable
from core.base.markdown import escape_markdown
from core.base.trust import Trust, find_addresses
from core.chat.file_downloads import describe_unread
from core.chat.people import People
from core.commands import grammar
from core.domain.messages import CHOICE, Answer, File, Item, Question
from core.domain.model_rounds import RoundRequest
from core.domain.ports import FREE_LEVELS, Model, Platforms, QuickCommands, Tool
from core.domain.records import Provenance
from core.domain.rights import PlaceRights
from core.imports.outlines import CODE_TOOL_NAME, outline_tables
from core.money.allowances import AllowanceCount, Grant
from core.tools.code.source import CodeRunner
from core.tools.tool import Toolbox, offered_tools
from core.turn.context import ReadableThread, ToolContexts
from core.turn.preface import build_items, build_preface, has_tables, list_terms
from core.turn.run import TurnPayment, TurnRun, count_briefing_tokens

NO_LONGER_READABLE = (
    "I stopped, because you can no longer read the messages that I read for this answer. Ask again "
    "once you can."
)


Listen = Callable[[TurnRun, ToolContexts, list[str]], Awaitable[Mapping[File, str]]]
"""Returns what a message's author says, by the recording. Adds sentences for the person to the
list. Raises OverBudget."""
UNDERSTOOD = "I understood:"
MAX_QUOTE_CHARACTERS = 600
"""Characters of what was understood that an answer quotes."""


MAX_LAST_PART_CHARACTERS = 1_500
"""The last post of a question gets the choice, for which Discord's 2,000 characters have room."""


async def hear_nothing(
    run: TurnRun, contexts: ToolContexts, notes: list[str]
) -> Mapping[File, str]:
    """Return {}: recordings are files like others."""
    return {}


def quote_spoken(words: str) -> str:
    """Return the words that were understood from a voice message, as the quote with which the
    answer begins; "" for no words."""
    if not words:
        return ""
    quote = escape_markdown(text.clip_line(words, MAX_QUOTE_CHARACTERS))
    return f"> {say(UNDERSTOOD)} {quote}\n\n"


@dataclass(frozen=True, slots=True)
class Assistant:
    """Everything that answers messages: the model, its tools, quick commands and the sandbox.
    `contexts` builds the context of each call. `code` is None if no sandbox is configured."""

    model: Model
    toolbox: Toolbox
    contexts: ToolContexts
    quick: QuickCommands
    code: CodeRunner | None = None
    listen: Listen = hear_nothing

    async def forget(self, thread: str) -> None:
        if self.code:
            await self.code.backend.forget(thread)


@dataclass(frozen=True, slots=True)
class ModelBriefing:
    """The model's input beside the items, and the tools that it may call. `request` is that of each
    round, without the round's number and input. `trust`: the links that are allowed if the thread
    contains text from outside; `has_outside_text`: it does already. `is_apart`: the turn has a
    remote conversation of its own, which no later turn continues. `readable`: what the asker may
    read of the thread; None for all of it. `payment`: None if no allowance limits the cost.
    `counts`: the state of each allowance, including this turn. `notes` are sentences for the person
    about files that could not be read. `question`: see `Provenance`."""

    request: RoundRequest
    tools: Sequence[Tool]
    trust: Trust
    has_outside_text: bool
    is_apart: bool
    readable: ReadableThread | None
    payment: TurnPayment | None
    counts: Sequence[AllowanceCount]
    notes: Sequence[str]
    question: tuple[int, Question] | None = None


class Requeued(Exception):
    """Raised to end an attempt at a turn whose message was stored again as another kind of message,
    because an edit made it a decision, or made a decision an ordinary message. Another attempt
    answers it."""


@dataclass(frozen=True, slots=True)
class Preparation:
    """Prepares a turn for the model (rights, context, files, tools), and afterwards its answer for
    people."""

    assistant: Assistant
    people: People
    platforms: Platforms

    async def look_up(self, run: TurnRun) -> tuple[PlaceRights, Sequence[str]]:
        """Look up the rights of the turn's author, and the message with its context (quoted
        messages, the thread before it, their files). Return the rights, and sentences about
        context that could not be loaded.

        Context is loaded for messages to the model. It is also loaded for quick commands, because
        their input may be the message that they reply to. A resumed turn with recorded items loads
        none, because the transcript has it. Raise Requeued and PostRemoved.
        """
        turn, before, inbox = run.turn, run.turn.message, self.assistant.contexts.stores.inbox
        if inbox.is_stopped(turn.seq):  # stopped before this task began, so nothing cancelled it
            raise asyncio.CancelledError
        run.rights = rights = await self.people.policy.rights(before.author, before.address)
        look_up = self.platforms.look_up.get(before.address.platform)
        if look_up is None or not run.origin.has_profile:
            # Nothing to look up, as on the page or in the terminal, or for a webhook.
            return rights, ()
        for place in {item.reading.place for item in turn.items if item.reading}:
            if not place.is_shared:
                continue
            messenger = self.platforms.messengers[place.platform]
            try:
                if await messenger.can_read(before.author, place) is False:
                    raise Refusal(NO_LONGER_READABLE)
            except PlatformBusy:
                raise StatusUnknown from None
        command = run.parsed.command
        reads_context = not run.parsed.error if command is None else command.name == "quick-command"
        # An address may be that of a message, also in a schedule's text, unless it is only posted.
        may_refer = (run.origin.refers_to_others or "://" in before.text) and not (
            turn.items
            or run.origin.answer_directly(before, command)
            or before.origin.name == CHOICE.name
        )
        # A decision may be half carried out, so its edit or deletion comes too late if an earlier
        # attempt at its turn began.
        decides = grammar.is_decision(before)
        is_late_decision = decides and not turn.is_untouched
        try:
            # The platform returns the message as it is now, perhaps edited.
            message, missing = await look_up(before, may_refer and reads_context)
        except PostRemoved:  # the author deleted it
            if not is_late_decision:
                raise
            message, missing = before, ()
        if is_late_decision or turn.items or turn.calls:
            # The edit came too late: the turn goes on with the text that it began with.
            message = replace(message, text=before.text)
        elif decides != grammar.is_decision(message) and not grammar.is_stop(message):
            # An edit made the message a decision, or the reverse. Decisions run at once and other
            # messages wait, so it belongs into another queue. False: it was deleted meanwhile.
            # A new `stop` stays: `_stop_turn` does not take its own turn for the one to stop.
            raise Requeued if await inbox.requeue(turn, message) else PostRemoved
        await run.set_message(message if message is before else make_storable(message))
        return rights, missing

    async def make_briefing(self, run: TurnRun) -> ModelBriefing:
        """Record the message and its files, reserve the cost of the answer, and return the briefing
        of the model. Raise NotAllowed and OverBudget.

        The order matters: what can refuse the message comes before what takes long or costs, and
        the items of the message and the reservation of the first model call are stored in one
        transaction. A resumed turn has its items already and only reads `provenance`: whether the
        thread contains text from outside, who wrote its links, and which rights its results
        need."""
        assistant, budget, message = self.assistant, self.people.budget, run.turn.message
        contexts, journal = assistant.contexts, assistant.contexts.stores.journal
        every_tool = await assistant.toolbox.tools(run.rights) if run.rights else ()
        tools = run.origin.offer(offered_tools(every_tool, message))
        level = assistant.model.level
        chosen_model = "" if level == "stored" else message.model or run.settings.model
        model = chosen_model or assistant.model.name
        if run.rights and model:
            run.rights.may("model", model).raise_if_denied()
        config, tables = run.config, has_tables(every_tool)
        instructions = config.instructions
        if run.settings.instructions:
            instructions += f"\n\n{run.settings.instructions}"
        # A refused message does not wait for the download of its files.
        if run.turn.items or message.attachments:
            await budget.reserve(run.turn)
        is_recorded = bool(run.turn.items)  # by an earlier attempt
        has_code = any(tool.spec.name == CODE_TOOL_NAME for tool in tools)
        items, notes = ((), ()) if is_recorded else await self._read_message(run, has_code=has_code)
        preface = build_preface(
            message, config.now(), config.zone, run.origin.preface, tables=tables
        )
        if config.terms:
            preface += list_terms(config.terms, run.turn.items or items)
        pays = budget.bounds_calls and level not in FREE_LEVELS
        briefing_tokens = count_briefing_tokens(instructions + preface, tools) if pays else 0
        grant: Grant | None = None
        counts: Sequence[AllowanceCount] = ()
        if is_recorded:
            provenance = await journal.provenance(run.turn.thread, message.author.key, run.turn.seq)
        else:
            call = budget.model_call(1, model, briefing_tokens) if pays else None
            reserve = await budget.make_reservation(run.turn, call)
            recorded = await journal.record_user_message(run.turn, items, reserve, pays=pays)
            run.turn, provenance = replace(run.turn, items=recorded.items), recorded.provenance
            grant, counts = reserve.grant, reserve.counts
        outside, trust = await find_trust(run, provenance)
        readable = await contexts.find_readable_part(run.turn, provenance, run.rights)
        run.turn = contexts.without_unreadable(run.turn, provenance, run.rights)
        is_apart = not message.origin.reads_history or readable is not None
        # The cost of a turn without history does not grow with each turn. Its items stand in the
        # conversation's thread, so later messages of people read them.
        since = provenance.previous_seq if message.origin.reads_history else 0
        # For a message that is asked again, a new thread record makes the model's server start
        # without the earlier version of the message.
        is_new = not since or bool(message.replaced_turn)
        thread = contexts.load_thread(run.turn, new=is_apart or (is_new and run.turn.attempt == 1))
        payment = TurnPayment(budget, run.turn, model, briefing_tokens, grant) if pays else None
        request = RoundRequest(
            thread,
            run.turn.id,
            instructions,
            message.author,
            preface=preface,
            tools=tuple(tool.spec for tool in tools),
            seq=run.turn.seq,
            previous_seq=since,
            model=chosen_model,
            payment=payment,
        )
        return ModelBriefing(
            request,
            tools,
            trust,
            outside,
            is_apart,
            readable,
            payment,
            counts,
            notes,
            provenance.question,
        )

    async def _read_message(
        self, run: TurnRun, *, has_code: bool
    ) -> tuple[Sequence[Item], Sequence[str]]:
        """A voice message whose words are known is no file for the model. With `has_code`, the
        model reads only the beginning of a long table. The second result: sentences about files
        that cannot be read. Raise OverBudget."""
        message, contexts, notes = run.turn.message, self.assistant.contexts, list[str]()
        cleaned_text = await text.run_off_loop(text.clean_text, message.text)
        message = replace(message, text=cleaned_text)
        if not message.attachments:
            return build_items(message, ()), notes
        # `missing`: the names of attached files that could not be fetched.
        files, missing = await contexts.fetch_attachments(message)
        if has_code:
            files = await outline_tables(files, contexts.stores.files)
        notes = await describe_unread(message, files, missing, contexts.stores.files)
        # The words of each voice message, by its file. `listen` also adds notes.
        transcripts = await self.assistant.listen(run, contexts, notes)
        unheard_files = [file for file in files if file not in transcripts]
        words = "\n".join(transcripts.values())
        return build_items(message, unheard_files, missing, words), notes

    async def disarm_and_split(
        self, run: TurnRun, answer: Answer, provenance: tuple[bool, Trust] | None
    ) -> Answer:
        """Links are restricted if the thread contains text from outside, or if a command made the
        text: such text could hide data of the thread in the address of a link or picture. Links
        that Ponte's own code wrote always work."""
        cleaned = await text.run_off_loop(text.clean_text, answer.text)
        split, turn = run.reply.split, run.turn
        if provenance is None:  # the model was not asked, as for a command
            journal = self.assistant.contexts.stores.journal
            provenance = await find_trust(
                run, await journal.provenance(turn.thread, turn.message.author.key, turn.seq)
            )
        # `outside`: the thread has such text. `trust`: the links that work all the same.
        outside, trust = provenance
        # Only the model and the person wrote in this thread, so links need no check. `error`: a
        # command that could not be parsed.
        if not (outside or run.parsed.command or run.parsed.error):
            safe, parts = cleaned, await text.run_off_loop(split, cleaned)
            placed = answer.placed
        else:
            safe, parts = await text.run_off_loop(
                lambda t: trust.split_sanitized(t, split), cleaned
            )
            # Rows and charts within the text, which some platforms show in a form of their own.
            placed = tuple(
                replace(piece, text=trust.sanitize(piece.text)) for piece in answer.placed
            )
        if answer.question and len(parts[-1]) > MAX_LAST_PART_CHARACTERS:
            before, _, end = safe.rpartition("\n\n")
            parts = (*await text.run_off_loop(split, before), end)
        # Cards without a text have a post, too.
        parts = () if answer.is_told_elsewhere else parts or ("",) * bool(answer.cards)
        return replace(answer, text=safe, parts=parts, placed=placed)


async def find_trust(run: TurnRun, provenance: Provenance) -> tuple[bool, Trust]:
    """Return whether the thread contains text from outside, and the links that are allowed then:
    the configured hosts, Ponte's own addresses, and those that the asker wrote."""
    message, links = run.turn.message, run.config.links
    is_authored, platform = message.origin.is_authored, message.address.platform
    # The text of a message that a program made, such as a webhook's, counts as text from outside.
    texts = [*provenance.asker_texts, *([message.text] if is_authored else ())]
    addresses = await text.run_off_loop(find_addresses, "\n".join(texts))
    # `run.origin.addresses`: those that a person wrote into what caused it, such as a schedule.
    # Platforms differ in what they make a link of.
    trust = Trust(
        links.hosts,
        addresses | links.own_addresses | run.origin.addresses(message),
        is_code_inert=platform not in links.in_code,  # no links in code
        links_bare_names=platform not in links.with_scheme,  # also host names without a scheme
        links_anything=message.is_answer_linkified,  # False for a pipe or a file
    )
    return provenance.has_outside_text or not is_authored, trust
