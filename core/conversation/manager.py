"""One turn, from the stored message to its last post: who, where, may they, answer, speak."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Protocol, TypeVar

import structlog

from core.chat.files import unread
from core.chat.turn_posts import TurnPosts
from core.commands import grammar
from core.conversation import prompt
from core.conversation.commands import Commands
from core.conversation.context import CallLimits, ToolContexts, TurnContext
from core.conversation.paying import Paying, most, nears
from core.conversation.rounds import Rounds
from core.conversation.services import TurnServices
from core.conversation.storing import until_stored
from core.domain.errors import (
    RESTORED,
    Draining,
    Empty,
    Interrupted,
    NotAllowed,
    NotStored,
    OverBudget,
    PersonRefused,
    PonteError,
    PostRemoved,
    Restored,
    StatusUnknown,
    Superseded,
    TakenOver,
    TooManyRounds,
    Undeliverable,
    Unstorable,
)
from core.domain.messages import Address, Answer, File, Progress
from core.domain.records import CRASHED, FINAL_STATES, Spoken, State, Turn
from core.observability import metrics, tracing
from core.ports.conversations import LookUp, Replies, Reply
from core.rights.allowances import TOLD, TOLD_ADMIN, Count, Grant, OverAllowance, nearly
from core.rights.policy import HELD
from core.runtime.tasks import Bounded, Tasks, together
from core.text import text
from core.text.i18n import LANGUAGE, nearest, say
from core.text.markdown import Trust, addresses
from core.text.text import make_storable

log = structlog.get_logger("conversation")
T = TypeVar("T")
ATTEMPTS = 3
"""Crashes that one turn may survive; then it ends in an apology."""
AGAIN = 1.0
"""Seconds between two looks whether another process has answered."""
PLATFORM_SECONDS = 0.5
"""Seconds that a platform takes to answer where its rate limits do not delay the question."""
ALONE = (NotAllowed, PersonRefused, StatusUnknown)
"""Errors that the asker alone is to read."""
_STOPPED_HERE = "_Stopped. What I had begun in another system may still finish there._"


class TooFast(OverBudget):
    limit = "messages_per_minute"
    sentence = (
        "You may write {limit} messages a minute, and this was one more: I did not take it up. "
        "Please send it again in a minute. The operator can raise it (ponte.toml, limits)."
    )


class TooManyWaiting(OverBudget):
    limit = "waiting_per_person"
    sentence = (
        "{limit} messages of yours wait for their answers already, so I did not take this one up. "
        "Please send it again when some are answered, or write `stop`. The operator can raise it "
        "(ponte.toml, limits)."
    )


TOO_MANY: Mapping[str, type[OverBudget]] = {"fast": TooFast, "waiting": TooManyWaiting}
"""Why a message was not taken up (`core.store.inbox`)."""


class Way(Protocol):
    """A place's own way; "" and None: as everywhere."""

    @property
    def instructions(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def effort(self) -> str: ...
    @property
    def language(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class OwnWay:
    instructions: str = ""
    model: str = ""
    effort: str = ""
    language: str | None = None


@dataclass(frozen=True, slots=True)
class Profile:
    """What the operator chose for all turns and for places. The callables return what holds now."""

    instructions: str = prompt.INSTRUCTIONS
    locale: str = "en"
    zone: str = "UTC"
    way: Callable[[Address], Way] = lambda address: OwnWay()
    link_hosts: Callable[[], Sequence[str]] = tuple
    """Where links may lead in a thread that something from outside is in."""
    links_code: frozenset[str] = frozenset()
    """Platforms that make links of addresses within code, too."""
    links_schemes: frozenset[str] = frozenset()
    """Platforms that make links only of addresses with a scheme."""
    own_addresses: Callable[[], frozenset[str]] = frozenset
    """Those that Ponte itself tells, such as its page's: they stay as they are."""
    limits: Callable[[], CallLimits] = CallLimits

    def told(self, way: Way) -> str:
        """The instructions for a place."""
        more = way.instructions
        return f"{self.instructions}\n\n{more}" if more else self.instructions


class ConversationManager:
    """Takes one stored message at a time to its answer. `handle` is the inbox's handler.

    `replies` and `look_up` are by platform."""

    def __init__(
        self,
        services: TurnServices,
        commands: Commands,
        tool_contexts: ToolContexts,
        replies: Mapping[str, Replies],
        profile: Profile,
        look_up: Mapping[str, LookUp] = MappingProxyType({}),
    ) -> None:
        self._services = services
        self._inbox = services.inbox
        self._journal = services.journal
        self._commands = commands
        self._tool_contexts = tool_contexts
        self._replies = replies
        self._look_up = look_up
        self._profile = profile
        self.beside = Tasks("conversation")
        self._failures: Bounded[int, int] = Bounded(1000)
        """How often the answer of a turn could not be prepared, by the turn's `seq`."""

    async def handle(self, seq: int) -> None:
        turn = await self._journal.begin(seq)
        if turn is None:
            return
        if turn.fresh:
            waited = time.time() - turn.accepted_at
            metrics.queue_seconds.labels(turn.message.address.platform).observe(max(0.0, waited))
        with structlog.contextvars.bound_contextvars(turn=turn.id), tracing.TurnTrace(turn):
            LANGUAGE.set(self._locale(turn))
            build = self._replies[turn.message.address.platform]
            posts = TurnPosts(self._journal, turn)
            reply = build(turn.message.reply_to, posts)
            try:
                await reply.show(Progress())
                try:
                    answer = turn.answer or await self._answer(turn, reply, posts)
                    self._inbox.leave_place(seq)
                except PostRemoved:
                    await self._journal.ended(turn, "removed")
                    self._count_end(turn, "removed")
                else:
                    await self._deliver(turn, reply, posts, answer)
            except Unstorable:  # not even an apology: it is over, so that nothing is paid twice
                log.exception("turn given up")
                await self._journal.ended(turn, "failed", Unstorable.code)
                self._count_end(turn, "failed", Unstorable.code)
            except TakenOver:
                log.info("taken over")
                self.beside.start(self._give_way(turn, reply))
            except asyncio.CancelledError:
                if self._inbox.lost(seq):
                    self.beside.start(self._give_way(turn, reply))
                raise
            except Superseded:
                log.info("superseded")
                await self._silence(turn, reply)
                tracing.ended("forgotten")
            finally:
                await reply.rest()

    async def removed(self, post: str) -> None:
        """A person deleted our post: it stays away, and the turn that wrote it stops."""
        if (seq := await self._journal.seq_of_post(post)) is not None:
            await self._journal.post_removed(post)
            await self._inbox.cancel(seq)

    async def _answer(self, turn: Turn, reply: Reply, posts: TurnPosts) -> Answer:
        rounds: list[Rounds] = []
        try:
            turn, answer = await self._worded(turn, reply, rounds)
            if turn.undelivered:
                is_back = turn.undelivered == RESTORED
                error = Restored() if is_back else Undeliverable(reason=turn.undelivered)
                note = error.words(LANGUAGE.get())
                answer = replace(answer, text=f"_{note}_\n\n{answer.text}")
            answer = await self._prepare_answer(turn, reply, answer, rounds[0] if rounds else None)
            key = reply.first_key if answer.parts else ""
            last = rounds[0].last if rounds else None
            answer, _ = await together(
                self._store_answer(turn, answer, last, key), self._remember(turn, rounds)
            )
        except BaseException:
            await self._keep_last(turn, rounds)
            raise
        posts.key = key
        log.info("answered", status=answer.status, code=answer.code)
        return answer

    async def _store_answer(
        self, turn: Turn, answer: Answer, last: Spoken | None, key: str
    ) -> Answer:
        """Record the answer, and return it. An apology takes the place of what the database does
        not take; what the model's last words cost is recorded all the same."""
        try:
            await until_stored(lambda: self._journal.answered(turn, answer, last, key))
        except Exception as error:
            if isinstance(error, PonteError) and not isinstance(error, Unstorable):
                raise
            log.exception("answer not stored")
            apology = _plain_apology(Unstorable())
            cost = replace(last, items=()) if last else None
            await until_stored(lambda: self._journal.answered(turn, apology, cost, key))
            return apology
        return answer

    async def _prepare_answer(
        self, turn: Turn, reply: Reply, answer: Answer, rounds: Rounds | None
    ) -> Answer:
        """Return the answer as it is posted, or an apology where this fails again and again."""
        try:
            prepared = await self._checked(turn, reply, answer, rounds)
        except PonteError:
            raise
        except Exception:
            failed = self._failures[turn.seq] = self._failures.get(turn.seq, 0) + 1
            if failed < ATTEMPTS:
                raise
            log.exception("answer not prepared", attempts=failed)
            prepared = _plain_apology(PonteError(turn=turn.id))
        self._failures.pop(turn.seq, None)
        return prepared

    async def _checked(
        self, turn: Turn, reply: Reply, answer: Answer, rounds: Rounds | None
    ) -> Answer:
        """The answer in its parts; its links lead only where they may, once something from outside
        is in the thread, or where a command brought it. Those of code's making stay."""
        cleaned = await text.aside(text.clean, answer.text)
        outside, trust = rounds.provenance if rounds else (await self._trust(turn))[:2]
        trust = replace(trust, written=trust.written | (rounds.linked if rounds else frozenset()))
        if not outside and await text.aside(_is_model_s, turn.message.text):
            return replace(answer, text=cleaned, parts=await text.aside(reply.split, cleaned))
        said, parts = await text.aside(lambda said: trust.parts(said, reply.split), cleaned)
        return replace(answer, text=said, parts=parts)

    async def _trust(self, turn: Turn) -> tuple[bool, Trust, int]:
        """Whether something from outside is in the thread; where links may lead then: to the
        operator's hosts, and to what the asker wrote in it; and the last turn before this one that
        said something there."""
        message, profile = turn.message, self._profile
        known = await self._journal.provenance(turn.thread, message.author.key, turn.seq)
        told = "\n".join([*known.written, message.text])
        written = await text.aside(addresses, told) | profile.own_addresses()
        platform = message.address.platform
        trust = Trust(
            frozenset(profile.link_hosts()), written,
            coded=platform not in profile.links_code,
            bare=platform not in profile.links_schemes,
            linked=message.linked,
        )  # fmt: skip
        return known.outside, trust, known.since

    async def _worded(self, turn: Turn, reply: Reply, rounds: list[Rounds]) -> tuple[Turn, Answer]:
        """The answer, or the words for whatever stands in its way; and the turn, with what its
        platform knows around the message."""
        try:
            if self._inbox.stopped(turn.seq):  # before it could be heard here
                raise asyncio.CancelledError
            (turn, missing), rights = await self._without_place(
                turn.seq,
                together(
                    self._known(turn),
                    self._services.policy.rights(turn.message.author, turn.message.address),
                ),
            )
            LANGUAGE.set(self._locale(turn))
            HELD.set(rights)
            if turn.refused == CRASHED:
                raise Interrupted(times=turn.limit)
            if turn.refused:
                raise TOO_MANY[turn.refused](limit=turn.limit)
            rights.may("chat").check()
            return turn, _noted(await self._think(turn, reply, rounds), missing)
        except asyncio.CancelledError:
            await self._keep_last(turn, rounds)
            await self._put_back_unless_stopped(turn)
            said = rounds[0].shown if rounds else ""
            elsewhere = bool(rounds) and rounds[0].goes_on_elsewhere
            stopped = say(_STOPPED_HERE if elsewhere else "_Stopped._")
            cards = await rounds[0].cards() if rounds else ()
            words = f"{said}\n\n{stopped}".strip()
            return turn, Answer(words, status="stopped", cards=cards)
        except Draining:
            await self._journal.put_back(turn)
            raise asyncio.CancelledError from None
        except (PostRemoved, Superseded, NotStored):
            raise
        except PonteError as error:
            self._refused(turn, error)
            return turn, self._apology(error, rounds)
        except Exception:
            log.exception("turn broke")
            return turn, self._apology(PonteError(turn=turn.id), rounds)

    async def _without_place(self, seq: int, asked: Coroutine[Any, Any, T]) -> T:
        """Await what the platform says. Where it lets us wait, another turn works meanwhile."""
        asking = asyncio.create_task(asked)
        try:
            if not (await asyncio.wait({asking}, timeout=PLATFORM_SECONDS))[0]:
                self._inbox.leave_place(seq)
                await asyncio.wait({asking})
                await self._inbox.take_place(seq)
            return await asking
        finally:
            asking.cancel()
            await asyncio.wait({asking})

    def _refused(self, turn: Turn, error: PonteError) -> None:
        """What a right or an allowance kept somebody from is audited."""
        if isinstance(error, (NotAllowed, OverBudget)):
            facts = {name: str(error.values.get(name, "")) for name in ("right", "rule", "id")}
            facts["right"] = facts["right"] or error.code
            message = turn.message
            self._services.audit.note("refused", message.author, message.address, **facts)

    async def _known(self, turn: Turn) -> tuple[Turn, Sequence[str]]:
        """The turn, with what its platform knows around the message, and what it could not tell.

        A command points at nothing, but a quick command, whose input may be what it replies to;
        what was heard before a crash stands in the transcript.
        """
        look_up = self._look_up.get(turn.message.address.platform)
        if look_up is None:
            return turn, ()
        try:
            command = await text.aside(grammar.parse, turn.message.text)
            pointed = not turn.items and (command is None or command.name == "quick-command")
        except PonteError:
            pointed = False
        message, missing = await look_up(turn.message, pointed)
        if message is not turn.message:
            message = make_storable(message)
        return replace(turn, message=message), missing

    async def _keep_last(self, turn: Turn, rounds: Sequence[Rounds]) -> None:
        """What the model said last was paid for: the turn is taken up again without asking."""
        if rounds and (last := rounds[0].last):
            with suppress(Superseded, NotStored, Unstorable):
                await self._journal.items(turn, last)

    async def _put_back_unless_stopped(self, turn: Turn) -> None:
        if not self._inbox.stopped(turn.seq):
            await self._journal.put_back(turn)
            raise asyncio.CancelledError
        if task := asyncio.current_task():
            task.uncancel()

    def _apology(self, error: PonteError, rounds: list[Rounds]) -> Answer:
        if isinstance(error, OverBudget):
            of = error.allowance.of if isinstance(error, OverAllowance) else "person"
            metrics.refusals.labels(of).inc()
            metrics.limits.labels(error.limit).inc()
        elif isinstance(error, TooManyRounds):
            metrics.limits.labels("rounds").inc()
        said = rounds[0].shown if rounds else ""
        words = f"{said}\n\n{error.words(LANGUAGE.get())}".strip()
        return Answer(words, status="failed", code=error.code, private=isinstance(error, ALONE))

    async def _think(self, turn: Turn, reply: Reply, rounds: list[Rounds]) -> Answer:
        message = turn.message
        if not (message.text.strip() or message.attachments or message.context):
            raise Empty
        if command := await text.aside(grammar.parse, message.text):
            return await self._commands.answer(turn, command, reply.show)
        context, told = await self._context(turn, reply)
        rounds.append(Rounds(context, self._journal, self._services.model))
        answer = await rounds[0].answer()
        if not (answer.text or answer.cards or answer.files):
            return Answer(say("The model gave an empty answer. Please ask again."))
        return _noted(answer, [*told, *await self._notices(context)])

    async def _notices(self, context: TurnContext) -> Sequence[str]:
        """What is nearly used up, each told once: to whoever's turn it is, and what all share to
        the first admin."""
        counts = {count.scope.key: count for count in context.counts}
        counts |= {c.scope.key: c for c in context.paying.counts()} if context.paying else {}
        budget, message = self._services.budget, context.turn.message
        zone, told = budget.zone_of(message), list[str]()
        for count, unit in nears(counts.values()):
            everybody = count.scope.allowance.of == "everybody"
            if not count.told & TOLD and await budget.claim_notice(count, TOLD):
                if everybody:
                    log.warning("allowance nearly used", allowance=count.scope.allowance.told)
                    metrics.nearly_used.inc()
                else:
                    told.append(nearly(count, unit, zone, budget.zone))
            if not everybody or count.told & TOLD_ADMIN:
                continue
            rights = HELD.get()
            is_admin = rights is not None and rights.may("administer").allowed
            if is_admin and await budget.claim_notice(count, TOLD_ADMIN):
                told.append(nearly(count, unit, zone, budget.zone))
        return told

    async def _context(self, turn: Turn, reply: Reply) -> tuple[TurnContext, Sequence[str]]:
        """What the turn plays on, and what of its files was not read, in sentences."""
        message, services = turn.message, self._services
        rights, way = HELD.get(), self._profile.way(message.address)
        tools = await services.toolbox.tools(rights) if rights else ()
        chosen = message.model or way.model
        model = chosen or services.model.name
        if rights and model:
            rights.may("model", model).check()
        preface = prompt.preface(message, time.time(), self._profile.zone, LANGUAGE.get())
        instructions = self._profile.told(way)
        # The demo costs nothing.
        pays = services.budget.bounds_calls and services.model.level != "demo"
        heard_most = most(instructions, preface, tools) if pays else 0
        first: Grant | None = None
        counts: Sequence[Count] = ()
        told: Sequence[str] = ()
        if turn.items or message.attachments:  # files are not fetched for nothing
            await services.budget.reserve(turn)
        if not turn.items:
            heard = replace(message, text=await text.aside(text.clean, message.text))
            files, missing = await self._tool_contexts.attached(message)
            said = prompt.said(heard, files, missing)

            async def read(file: File) -> bytes:
                return (await services.files.get(file.id))[1]

            told = await unread(message, files, missing, read, LANGUAGE.get())
            call = services.budget.model_call(1, model, heard_most) if pays else None
            reserve = await services.budget.reserving(turn, call)
            turn = replace(turn, items=tuple(await self._journal.heard(turn, said, reserve)))
            first, counts = reserve.grant, reserve.counts
        outside, trust, since = await self._trust(turn)
        # What is asked again is taken out of the model's side by making that anew.
        anew = not since or bool(message.replaces)
        thread = await self._tool_contexts.thread(turn, new=anew and turn.attempt == 1)
        context = TurnContext(
            turn=turn,
            thread=thread,
            reply=reply,
            locale=LANGUAGE.get(),
            instructions=instructions,
            model=chosen,
            effort=way.effort,
            trust=trust,
            outside=outside,
            limits=self._profile.limits(),
            preface=preface,
            tools={tool.spec.name: tool for tool in tools},
            may=lambda right, *names: services.policy.may(
                message.author, message.address, right, *names
            ),
            tool_contexts=self._tool_contexts,
            audit=services.audit,
            proposals=services.changes,
            keep=services.threads.put,
            since=since,
            budget=services.budget,
            counts=counts,
            paying=Paying(services.budget, turn, model, heard_most, first) if pays else None,
        )
        return context, told

    async def _remember(self, turn: Turn, rounds: list[Rounds]) -> None:
        """Write the thread's record where more than the time of its last use has changed. It is a
        cache of the journal, so no answer fails with it."""
        if not rounds:
            return
        before, after = rounds[0].known_thread, rounds[0].thread
        people = tuple(dict.fromkeys((*after.participants, turn.message.author.key)))
        level = self._services.model.level
        record = replace(after, participants=people, level=level, used_at=before.used_at)
        if record != before:
            try:
                await self._services.threads.put(replace(record, used_at=time.time()))
            except NotStored as error:
                log.warning("thread not remembered", why=str(error))

    async def _deliver(self, turn: Turn, reply: Reply, posts: TurnPosts, answer: Answer) -> None:
        state: State = answer.status
        reason = ""
        platform = turn.message.address.platform
        with tracing.Span("post") as span, metrics.posting_seconds.labels(platform).time():
            try:
                await self._finish(turn, reply, posts, answer)
            except PostRemoved:
                state = "removed"
            except Undeliverable as error:
                state, reason = "undeliverable", str(error.values.get("reason", error))
                log.warning("undeliverable", why=reason)
                span.fail(error.code)
        await self._journal.ended(turn, state, reason, posts.held)
        self._count_end(turn, state, answer.code or ("undeliverable" if reason else ""))
        if answer.code:
            metrics.errors.labels(answer.code).inc()
        if answer.cards or state == "failed":
            self._services.changes.moved()  # what was decided meanwhile can be shown now

    def _count_end(self, turn: Turn, state: State, code: str = "") -> None:
        seconds = time.time() - turn.accepted_at
        metrics.count_turn(turn.message.address.platform, state, seconds)
        tracing.ended(state, code)

    async def _finish(self, turn: Turn, reply: Reply, posts: TurnPosts, answer: Answer) -> None:
        """A stop comes too late for an answer that is being posted; a drain does not."""
        while True:
            try:
                await reply.finish(answer)
                await reply.rest()  # its signs go while another would still take the turn up
                return
            except asyncio.CancelledError:
                await posts.keep()
                await self._put_back_unless_stopped(turn)

    async def _give_way(self, turn: Turn, reply: Reply) -> None:
        """Another process answers: when it has, what came too late from here is set right."""
        await reply.rest()
        while True:
            with suppress(NotStored):
                stands = await self._journal.stands(turn.seq)
                if stands is None or stands.state in FINAL_STATES:
                    break
            await asyncio.sleep(AGAIN)
        answer = stands.answer if stands and stands.answer else Answer("")
        await reply.set_right(answer, stands.posts if stands else ())

    async def _silence(self, turn: Turn, reply: Reply) -> None:
        """The conversation was forgotten while this ran: what stands there of it goes too."""
        words = say("_Stopped: this conversation was forgotten._")
        try:
            await reply.finish(Answer(words, status="stopped", parts=(words,)))
        except (PonteError, asyncio.CancelledError):
            log.info("nothing left to take back")

    def _locale(self, turn: Turn) -> str:
        if turn.message.locale:
            return nearest(turn.message.locale)
        return self._profile.way(turn.message.address).language or self._profile.locale


def _plain_apology(error: PonteError) -> Answer:
    """An answer of one post, made of nothing but a sentence of the catalogue."""
    words = error.words(LANGUAGE.get())
    return Answer(words, status="failed", code=error.code, parts=(words,))


def _is_model_s(said: str) -> bool:
    """Whether a message is answered by the model, and not by a command."""
    try:
        return grammar.parse(said) is None
    except PonteError:
        return False


def _noted(answer: Answer, sentences: Sequence[str]) -> Answer:
    """An answer that says what it was given without."""
    notes = [f"_{sentence}_" for sentence in sentences]
    return replace(answer, text="\n\n".join(filter(None, [answer.text, *notes])))
