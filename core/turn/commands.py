"""Runs typed and clicked commands, including quick commands and blocks of Python.

Commands never reach the model. Each command checks the rights and, before it costs anything, the
budget.
"""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Protocol, TypeVar, cast

from core.base import text
from core.base.errors import BadInput, NotAllowed, NotFound, PonteError
from core.base.i18n import (
    LANGUAGE,
    format_duration,
    format_moment,
    format_money,
    plural,
    say,
    translate_word,
)
from core.base.markdown import escape_markdown
from core.base.text import clip_line, to_one_line
from core.changes.cards import MAX_LISTED_CHANGES
from core.changes.service import ChangeService
from core.changes.standing import Allowed, may_see
from core.chat.approval_notices import CARD_STATES, MORE_REQUESTS
from core.chat.people import Conversations, People
from core.commands import grammar, quick_commands
from core.commands.grammar import TypedCommand
from core.commands.quick_commands import COMMAND_TOOL, check_inputs, render_result
from core.domain.changes import MAX_REASON_CHARACTERS, ApprovalNotice, Change, DecisionRequest
from core.domain.messages import Address, Answer, ChangeAction, Message, Person, Progress, Usage
from core.domain.ports import StatusBoard
from core.domain.records import Outcome, ToolCall, Turn, UsageTotal
from core.domain.rights import Action, Need, PlaceRights
from core.journal.journal import Journal
from core.money.allowances import describe_estimates, describe_usage_notes
from core.money.usage import PaidRun
from core.observability import metrics, tracing
from core.people.audit import Audit
from core.people.policy import Policy
from core.people.rules import place_names
from core.saved.queries import QUESTION_GONE, NotRunAgain, find_former
from core.tools.code.source import RUN_PYTHON_TOOL, RUNNING_PYTHON, format_for_person
from core.tools.posting import PlacePosts
from core.tools.tool import compact_json
from core.turn.context import LEFT_OUT, Show, TurnFiles
from core.turn.explanations import (
    describe_parts,
    describe_rights,
    explain_right,
    list_decided_tables,
)
from core.turn.preface import has_tables
from core.turn.preparation import Assistant
from core.turn.run import until_stored
from core.turn.saved_answers import SavedAnswers
from core.turn.suggestions import find_starting_points
from core.turn.upkeep import Upkeep

T = TypeVar("T")
HELP = """\
Ask me anything. You can also type one of these commands:
- `help`: show this help; `status`: show what is connected; `usage`: show today's usage
- `new`: start a new conversation (the old one can still be read)
- `forget`: delete this conversation everywhere (in shared places: `forget yes`)
- `stop`: stop what I'm doing
- `changes`: list changes; `approve ID`, `deny ID`, `undo ID`: decide on a change
- `change ID FIELD = VALUE`: change a request before it's approved
- `again ID`: propose your denied, expired or failed request again
- `approvals`: list the requests waiting for you
- `schedules`: list schedules and reminders; `schedule ID pause`, `schedule ID delete`: manage one
- `alerts`: list alerts; `alert ID pause`, `alert ID delete`: manage one
- `rerun`: read the rows of the newest answer again; `saved`: list saved questions
- `quick-command SLUG …`: run a quick command
- `why ID`: show which rule applies to a change, a tool or a permission"""
GUIDE_SENTENCE = "How to chat with me: {url}"
NO_TABLES = "No tables that you can ask about are connected."
HEALTH_WORDS = {"on": "on", "off": "off", "failing": "FAILING", "checking": "checking"}
MAX_APPROVAL_CARDS = 5
"""Five fit under one message of Discord, which has five rows of buttons."""
QUICK_COMMAND_TOOL = "quick-command"
"""The name under which journal and metrics count a quick command that a person typed."""
NEWER_MESSAGE_SECONDS = 10.0
"""Seconds after which a message is newer than a `stop`, which Slack may deliver minutes late. The
clocks of Ponte and of a platform may differ by less."""
_WAITING = ("{count} request is waiting for you.", "{count} requests are waiting for you.")
_MORE_THERE = (
    "{count} more request is waiting for you. Ask for it in a direct message.",
    "{count} more requests are waiting for you. Ask for them in a direct message.",
)
_RESULT_THERE = "The result is available only in the conversation where it was requested."
_NO_SANDBOX = "I can't run code: no sandbox is available. Type `status` for the reason."
_CODE_LOST = (
    "I was interrupted while this code ran, so its effects are unknown. I won't run it again on "
    "my own. Send it again if you need it."
)
_SHARED = "This answer was already shared, as `{id}`."
_STANDING_STATES = ("open", "applying", "done", "partial")
_RUNNING = "is running the quick command…"
_QUICK_LOST = (
    "I was interrupted while this ran, so I don't know whether it finished. I won't run it again "
    "on my own. Check first, then ask again if you need it."
)
_LEFT = "_Stopped waiting for `{slug}`. StackSpot started it and may still finish it._"
_PERHAPS = "_Stopped while `{slug}` was starting. StackSpot may still run it._"


class QuickCommandFailed(PonteError):
    """A quick command (a prompt that StackSpot runs) ended with an error. `words` are StackSpot's
    own and are not translated."""

    code = "tool"
    sentence = "The quick command `{slug}` failed: {words}"


@dataclass(frozen=True, slots=True)
class TypedRuns:
    """Runs Python that a person typed in the sandbox, and quick commands that a person typed at
    StackSpot. The model has no part in it."""

    journal: Journal
    people: People
    assistant: Assistant
    changes: ChangeService

    async def run_code(
        self, turn: Turn, code: str, show: Show, rights: PlaceRights | None
    ) -> Answer:
        """Raise NotAllowed, NotFound, OverBudget or ToolError.

        A resumed turn has the call of its earlier attempt in `turn.calls`. Interrupted code is not
        run again, because its effects are unknown. If its handle is known, which identifies the run
        in a hosted sandbox, the run is continued.
        """
        rule = await _check_right(self.people.policy, turn, "code", tool=RUN_PYTHON_TOOL)
        note = partial(_audit_run, self.people.audit, turn, RUN_PYTHON_TOOL, rule)
        call = ToolCall(RUN_PYTHON_TOOL, RUN_PYTHON_TOOL, compact_json({"code": code}), "code")
        if turn.calls:
            call = turn.calls[0]
        outcome = call.outcome
        # With an outcome, an earlier attempt ran the code and ended before it answered.
        if outcome is None:
            if turn.calls and not call.handle:
                await note("unknown")
                return Answer(say(_CODE_LOST), status="failed", code="unknown")
            if self.assistant.code is None or not await self.assistant.code.backend.is_available():
                raise NotFound(_NO_SANDBOX)
            await self.people.budget.reserve(turn)
            await self.journal.record_call_start(turn, call)
            # Only a hosted sandbox costs money.
            if costs := getattr(self.assistant.code.backend, "costs", None):
                await self.people.budget.reserve_run(turn, call.call_id, costs(call.arguments))
            ctx = await self.assistant.contexts.make_command_context(turn, call, show, rights)
            await ctx.turn.show_progress(say(RUNNING_PYTHON))
            try:
                run = await _run_and_audit(
                    RUN_PYTHON_TOOL,
                    note,
                    self.assistant.code.run(ctx, code),
                    lambda run: "error" if run.ran.error or run.ran.fault else "ok",
                )
            finally:
                # A person who may not read all of the thread has variables of this turn alone.
                if ctx.own_memory:
                    await self.assistant.forget(ctx.own_memory)
            output = await text.run_off_loop(
                lambda _: format_for_person(run.ran, run.files), run.ran.printed
            )
            output += f"\n\n_{say(LEFT_OUT)}_" if ctx.own_memory else ""
            failed = run.ran.error or run.ran.fault
            files = (*run.files, run.code) if run.ran.changed_code and run.code else run.files
            outcome = Outcome("error" if failed else "ok", output, files, usage=run.ran.usage)
            await self.journal.record_call_end(turn, call.call_id, outcome)
        return Answer(outcome.text, files=outcome.files)

    async def run_quick_command(
        self, turn: Turn, command: TypedCommand, show: Show, rights: PlaceRights | None
    ) -> Answer:
        """Raise NotAllowed, UnknownCommand, BadInput, OverBudget or QuickCommandFailed.

        A command that is marked as changing data also needs the right to propose changes. A handle
        is the id of the run at StackSpot. An interrupted command without one is not run again,
        because it may have happened; with one, a resumed turn waits for that run.
        """
        message = turn.message
        quick = await self.assistant.quick.find(message.author, message.address, command.slug)
        needed: tuple[Action, ...] = ("spend", "propose") if quick.effect == "write" else ("spend",)
        rule = await _check_right(self.people.policy, turn, *needed, tool=COMMAND_TOOL)
        note = partial(_audit_run, self.people.audit, turn, f"command:{quick.slug}", rule)
        call = ToolCall(QUICK_COMMAND_TOOL, quick.slug, grammar.render_command(command), "spend")
        # An earlier attempt of this turn recorded the call before the run began.
        if turn.calls:
            call = turn.calls[0]
            if not call.handle:
                await note("unknown")
                return Answer(say(_QUICK_LOST), status="failed", code="unknown")
        ctx = await self.assistant.contexts.make_command_context(turn, call, show, rights)
        inputs = command.input
        # With a handle, the run has already begun with its inputs.
        if not ctx.call.handle and ctx.files is not None:
            attached = await self.assistant.contexts.fetch_attachments(message)
            whole = await quick_commands.collect_inputs(
                quick, inputs, message, attached, ctx.files.read
            )
            inputs = check_inputs(quick, whole, is_typed=True)
            # Where the operator named approvers for what the tool requests, they decide on this,
            # too.
            if quick.effect != "read" and self.changes.approval.find_tool_rule(COMMAND_TOOL):
                arguments = compact_json({"slug": quick.slug, "input": inputs})
                tool = await self.assistant.toolbox.find(COMMAND_TOOL)
                propose = partial(self.changes.proposals.propose, ctx)
                calling = replace(ctx, turn=replace(ctx.turn, propose=propose))
                return await self.build_card(turn, await tool.run(calling, arguments))
        await self.people.budget.reserve(turn)
        await self.journal.record_call_start(turn, call)
        paid = PaidRun("quick_commands", quick.slug)
        await self.people.budget.reserve_run(turn, call.call_id, paid)
        await ctx.turn.show_progress(say(_RUNNING))
        is_begun = bool(ctx.call.handle)  # StackSpot has begun the run, which costs from then on

        async def record_handle(handle: str) -> None:
            nonlocal is_begun
            await ctx.turn.record_handle(handle)
            is_begun = True

        try:
            run_context = replace(ctx, turn=replace(ctx.turn, record_handle=record_handle))
            run = self.assistant.quick.run(run_context, quick.slug, inputs)
            outcome = await _run_and_audit(
                QUICK_COMMAND_TOOL, note, run, lambda outcome: outcome.status
            )
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not ctx.turn.is_stopped() or task is None:
                raise
            # A person stopped the turn: it ends with this answer and not as cancelled.
            task.uncancel()
            # The run goes on at StackSpot, or perhaps began.
            notice = _LEFT if is_begun else _PERHAPS
            return Answer(say(notice, slug=quick.slug), status="stopped")
        except PonteError:
            # A run that has begun may have cost money: its reservation counts when the turn ends.
            if not is_begun:
                await self.people.budget.settle_run(turn.seq, call.call_id, paid, begun=False)
            raise
        await self.people.budget.settle_run(turn.seq, call.call_id, paid, begun=True)
        if outcome.status != "ok":
            raise QuickCommandFailed(slug=quick.slug, words=outcome.text)
        answer = Answer("", files=outcome.files)
        return await self.add_result(turn, answer, outcome.text, quick.slug)

    async def build_card(self, turn: Turn, outcome: Outcome) -> Answer:
        """Return an answer with the card of a new proposal."""
        change = await self.changes.ledger.get(outcome.proposal)
        card = await self.changes.views.card(change, turn.message.author, turn.message.address)
        return Answer("", cards=(card,), has_own_post=True)

    async def add_result(self, turn: Turn, answer: Answer, result: str, name: str) -> Answer:
        """A long result becomes a file called `name`, which is stored for this turn."""
        keep = TurnFiles(turn, turn.thread, self.assistant.contexts).save
        body, files = await render_result(result, name, keep)
        text = f"{answer.text}\n\n{body}".strip()
        return replace(answer, text=text, files=(*answer.files, *files))


class ScheduleAnswers(Protocol):
    """Answers the commands `schedules` and `schedule ID …`. The first call loads the code of
    schedules."""

    async def answer(self, turn: Turn, command: TypedCommand, *, is_demo: bool) -> Answer:
        """`is_demo`: the built-in demo model answers. Raise NotFound, NotAllowed, StatusUnknown or
        BadSchedule."""


@dataclass(frozen=True, slots=True)
class CommandService:
    """Answers the commands that people type, such as `status`, `approve ID` and `forget`."""

    stores: Conversations
    people: People
    changes: ChangeService
    assistant: Assistant
    find_board: Callable[[], StatusBoard]
    schedules: ScheduleAnswers
    upkeep: Upkeep
    saved: SavedAnswers
    posts: PlacePosts

    async def answer(
        self, turn: Turn, command: TypedCommand, show: Show, rights: PlaceRights | None
    ) -> Answer:
        """Raise errors that the conversation manager shows to the person, such as NotAllowed,
        NotFound or BadInput."""
        match command.name:
            case "quick-command":
                return await self._runs.run_quick_command(turn, command, show, rights)
            case grammar.RUN_PYTHON:
                return await self._runs.run_code(turn, command.code, show, rights)
            case "approve" | "change" | "deny" | "undo" | "again":
                return await self._decide(turn, command, show)
            case "help":
                return Answer(await self._describe_help(turn, rights))
            case "status":
                return Answer(await self._describe_status(turn))
            case "usage" if command.slug:  # `usage channel`, which only admins may see
                return Answer(await self._describe_channel_usage(turn), is_private=True)
            case "usage":
                return Answer(await self._describe_usage(turn))
            case "approvals":
                return await self._list_approvals(turn)
            case "schedules" | "schedule" | "alerts":
                # With the demo model, an empty list says that it cannot create schedules.
                is_demo = self.assistant.model.level == "demo"
                return await self.schedules.answer(turn, command, is_demo=is_demo)
            case "why":
                explanation = await explain_right(self.changes, self.assistant, turn, command.id)
                # A sentence if ponte.toml on disk is newer than the rules in effect, else "".
                notice = self.upkeep.config.turn.config_notice
                if notice and await self._is_admin(turn):
                    explanation = f"{explanation}\n\n{notice}"
                return Answer(explanation, is_private=True)
            case "save":
                return await self.saved.save(turn, command, rights)
            case "share":
                return await self._share(turn, command.id, show, rights)
            case "saved":
                return await self.saved.list(turn, command, rights)
            case "setup":
                return Answer(await self._prove_identity(turn, command))
            case "new":
                return Answer(await self._start_new_thread(turn))
            case "forget":
                return Answer(await self._forget_conversation(turn, command))
            case "stop":
                return await self._stop_turn(turn)
            case _:  # `changes`, the only one left
                return Answer(await self._list_latest_changes(turn))

    @property
    def _runs(self) -> TypedRuns:
        return TypedRuns(self.stores.journal, self.people, self.assistant, self.changes)

    async def _describe_help(self, turn: Turn, rights: PlaceRights | None) -> str:
        """Return the text of `help`: the commands, the person's rights and what works, messages
        that they can send, a sentence if they can ask about no tables, and a link to the guide.
        Parts without content are left out. `rights` are the person's rights at the place of the
        message; with None, the parts about them are left out. `find_board` returns the
        board with the health of all parts."""
        message, url = turn.message, self.upkeep.config.turn.guide_url
        tools = await self.assistant.toolbox.tools(rights) if rights else ()
        start = await find_starting_points(
            self.find_board(), self.people.policy, message.author, message.address
        )
        can_do = list[str]()
        if rights:
            decidable, closed = await list_decided_tables(self.changes.approval, message)
            can_do += describe_rights(rights, start, decidable, closed)
            can_do += describe_parts(start.parts)
        # Without the two that ask what Ponte can do: this text says it.
        texts = [
            escape_markdown(suggestion.text)
            for suggestion in start.suggestions
            if suggestion.kind not in ("help", "commands")
        ]
        lists = ((say("What you can do here"), can_do), (say("Try one of these"), texts))
        paragraphs = [
            say(HELP),
            *(f"{title}:\n- " + "\n- ".join(lines) for title, lines in lists if lines),
            "" if has_tables(tools) else say(NO_TABLES),
            url and say(GUIDE_SENTENCE, url=url),
        ]
        return "\n\n".join(filter(None, paragraphs))

    async def _share(self, turn: Turn, id: str, show: Show, rights: PlaceRights | None) -> Answer:
        """Propose to post a private answer in the channel of its question. Raise NotRunAgain if it
        is not stored any more, ToolError and StatusUnknown if it may not be posted there."""
        address, ledger = turn.message.address, self.changes.ledger
        former = await find_former(self.stores.journal, id, address.conversation)
        entries = await self.stores.journal.transcript(former.thread, before=former.seq + 1)
        of_turn = [entry.needs for entry in entries if entry.seq == former.seq]
        if not of_turn:  # the question was asked again
            raise NotRunAgain(QUESTION_GONE)
        # A conversation's turns run one after the other, so two presses make one proposal.
        for change in await ledger.list_of_conversation(address.conversation, MAX_LISTED_CHANGES):
            is_shared = change.draft.target.get("answer") == id
            if is_shared and change.proposal.seq != turn.seq and change.state in _STANDING_STATES:
                return Answer(say(_SHARED, id=change.id), is_private=True)
        draft = await self.posts.draft_answer(former, frozenset[Need]().union(*of_turn))
        call = ToolCall("share", "share", "", "write")
        ctx = await self.assistant.contexts.make_command_context(turn, call, show, rights)
        outcome = await self.changes.proposals.propose(ctx, draft)
        return await self._runs.build_card(turn, outcome)

    async def _describe_status(self, turn: Turn) -> str:
        """Only admins see addresses and causes of failures."""
        parts = await self.find_board().health()
        if await self._is_admin(turn):
            lines = [
                "- "
                + say(
                    "{name}: {what}",
                    name=f"**{translate_word(part.name)}**",
                    what=" – ".join(filter(None, (say(HEALTH_WORDS[part.state]), part.words))),
                )
                for part in parts
            ]
        else:
            lines = [f"- {line}" for line in describe_parts(parts)]
        if days := self.upkeep.config.retention.of(turn.message.address):
            retention = plural(
                "Conversations here are deleted after {count} day without activity.",
                "Conversations here are deleted after {count} days without activity.",
                days,
            )
            lines += ["", retention]
        return "\n".join([say("Connections:"), *lines])

    async def _describe_usage(self, turn: Turn) -> str:
        """Return the answer to `usage`: what the person used today, and what is left of each
        allowance that applies to them. Admins also see the usage of everybody."""
        message, budget = turn.message, self.people.budget
        spending = await budget.usage_today(message.author.key)
        lines = [say("Usage today:"), "- " + say("you: {what}", what=_describe_spending(spending))]
        all_ = spending
        if await self._is_admin(turn):
            all_ = await budget.usage_today()
            lines.append("- " + say("everyone: {what}", what=_describe_spending(all_)))
        zone = budget.zone_of(message)
        remaining = await budget.describe_remaining(message.author, message.address, zone)
        lines += ["", say("Remaining:"), *(f"- {line}" for line in remaining)] if remaining else []
        # Models without a price: those whose calls have a cost all the same, and the others. Not
        # asked for if no tokens were used, because then no cost is missing from the report.
        models = await budget.models_without_price() if all_.usage.input else ((), ())
        for note in describe_usage_notes([{"estimated": all_.estimates}], *models):
            lines += ["", note]
        return "\n".join(lines)

    async def _describe_channel_usage(self, turn: Turn) -> str:
        await _check_right(self.people.policy, turn, "administer")
        place = place_names(turn.message.address)[-1]  # the channel: the last and narrowest name
        spent = await self.people.budget.usage_today(place=place)
        lines = [say("Today in this channel: {what}", what=_describe_spending(spent))]
        rows = await self.people.budget.report("person", place=place)
        names = await self.people.find_names([str(row["name"]) for row in rows])
        for row in rows:
            name = names.get(row["name"])
            label = escape_markdown(clip_line(name)) if name else f"`{row['name']}`"
            tokens = Usage(row["input"], output=row["output"], cost=row["cost"])
            what = _describe_spending(UsageTotal(row["turns"], tokens))
            lines.append("- " + say("{name}: {what}", name=label, what=what))
        if spent.estimates:
            lines += ["", describe_estimates(spent.estimates)]
        return "\n".join(lines)

    async def _prove_identity(self, turn: Turn, command: TypedCommand) -> str:
        """Take the word that the setup page shows to the owner (`command.id`), as a proof that the
        sender is the owner of this Ponte. It counts only in a direct message from a member of the
        workspace, who is no program. Raise BadInput."""
        person, address = turn.message.author, turn.message.address
        is_colleague = await self.people.policy.is_colleague(person, address)
        if is_colleague is None:
            raise BadInput("I can't check who you are right now. Try again in a minute.")
        is_private = not address.is_shared and not person.is_bot and is_colleague
        if not is_private or not self.people.claims.prove(person, command.id):
            raise BadInput(
                "That word isn't valid. Send the one shown on the setup page as a direct "
                "message, within ten minutes and from the account you chose there."
            )
        return say(
            "Hello {name}, it worked: you're Ponte's owner. Go back to the page to continue.",
            name=escape_markdown(clip_line(person.name)) or person.id,
        )

    async def _start_new_thread(self, turn: Turn) -> str:
        conversation = turn.message.address.conversation
        await self._check_owner(turn, await self.stores.journal.owner(conversation))
        await self.stores.threads.put(await self.stores.journal.new_thread(conversation))
        return say("New conversation started. I no longer see the earlier messages.")

    async def _forget_conversation(self, turn: Turn, command: TypedCommand) -> str:
        """Erase this conversation, for the command `forget`. In shared places, the person must
        confirm with `forget yes`, because it is deleted for everybody."""
        conversation = turn.message.address.conversation
        await self._check_owner(turn, await self.stores.journal.owner(conversation))
        if turn.message.address.is_shared and not command.confirmed:
            return say(
                "This deletes the conversation for everyone here. To confirm, type `forget yes`."
            )
        author, address = turn.message.author, turn.message.address
        forgot = await self.upkeep.forget(conversation, author, address)
        deleted = plural(
            "Deleted this conversation ({count} message).",
            "Deleted this conversation ({count} messages).",
            forgot,
        )
        # A sentence on where deleted data may still exist, such as backups; "" if nowhere.
        remains = self.upkeep.remains_notice
        return f"{deleted} {say(remains)}" if remains else deleted

    async def _stop_turn(self, turn: Turn) -> Answer:
        """Stop the running turn of this conversation, or else the latest approved run (a quick
        command) that is waited for. A `stop` that arrives late must not stop a turn whose message
        was sent after it."""
        conversation = turn.message.address.conversation
        find_message = self.stores.journal.message_of
        seq = await self.stores.inbox.running_turn(conversation)
        running = await find_message(seq) if seq is not None else None
        # If an edit made this message a `stop` while no Ponte ran, this turn is itself the running
        # one.
        if seq == turn.seq or (
            running and running.sent_at > turn.message.sent_at + NEWER_MESSAGE_SECONDS
        ):
            seq = None
        # The answer of the running turn tells it, but a slash command needs a response.
        is_slash = turn.message.reply_to.token and not turn.message.is_click
        is_told = seq is not None and not (is_slash or turn.undelivered_reason)
        if seq is None:
            kinds = self.changes.approval.kinds
            # An approved quick command runs after its turn has ended. `has_end`: it goes on in
            # another system, and its end is waited for.
            awaited = [name for name, kind in kinds.items() if kind.has_end]
            waiting = await self.changes.ledger.list_events_awaiting_change(conversation, awaited)
            seq = next(
                (
                    waiting_seq
                    for waiting_seq in waiting
                    if not self.stores.inbox.is_stopped(waiting_seq)
                ),
                None,
            )
        if seq is None:
            return Answer(say("Nothing is running here."))
        stopped = await find_message(seq)
        await self._check_owner(turn, stopped.author.key if stopped else "")
        await self.stores.inbox.cancel(seq)
        return Answer(say("Stopped."), is_told_elsewhere=is_told)

    async def _list_latest_changes(self, turn: Turn) -> str:
        """Return a list of the latest changes in any state, for the command `changes`: of this
        conversation, or of all if the person may see all."""
        message = turn.message
        all = self.changes.approval.sees_all(message.author)
        where = "" if all else message.address.conversation
        changes = await self.changes.ledger.list_of_conversation(where, MAX_LISTED_CHANGES)
        if not changes:
            return say("No changes yet.")
        zone = self.people.budget.zone_of(message)
        lines = [say("Latest changes:")]
        for change in changes:
            asker, created_at = change.proposal.asker, change.proposal.created_at
            line = say(
                "`{id}` {title}: {state}. Requested by {name}, {at}.",
                id=change.id,
                title=escape_markdown(self.changes.views.builder.build_title(change)),
                state=say(CARD_STATES[change.state]),
                name=escape_markdown(clip_line(asker.label)),
                at=format_moment(datetime.fromtimestamp(created_at, zone)),
            )
            lines.append(f"- {line}")
        return "\n".join(lines)

    async def _list_approvals(self, turn: Turn) -> Answer:
        """List the changes that the person can approve, for the command `approvals`. Where nobody
        else reads, the oldest are cards with buttons. In shared places, list only those of the same
        channel and count the others."""
        person, here = turn.message.author, turn.message.address
        requests = await self.changes.views.waiting_for(person, here)
        if not requests:
            return Answer(say("No requests are waiting for you."), is_private=here.is_shared)
        listed = [
            change
            for change in requests
            if not here.is_shared or change.proposal.address.is_same_channel(here)
        ]
        as_cards = () if here.is_shared else listed[:MAX_APPROVAL_CARDS]
        cards = tuple([await self.changes.views.card(change, person, here) for change in as_cards])
        # Noted as posted with this turn's answer (`str(turn.seq)` in place of a text), so that the
        # cards are redrawn when the changes are decided elsewhere.
        for change in as_cards:
            await self.stores.outbox.put(
                ApprovalNotice(
                    change.id,
                    "list",
                    person,
                    turn.message.reply_to,
                    LANGUAGE.get(),
                    str(turn.seq),
                    state="posted",
                    drawn_version=change.version,
                )
            )
        lines = [
            f"- {self._describe_request(change, person, here)}"
            for change in listed[len(cards) : MAX_LISTED_CHANGES]
        ]
        count = plural(*_WAITING, len(requests)) if cards else ""
        hidden_count = len(requests) - len(cards) - len(lines)
        rest = (
            plural(*(_MORE_THERE if here.is_shared else MORE_REQUESTS), hidden_count)
            if hidden_count
            else ""
        )
        paragraphs = filter(None, [count, "\n".join(lines), rest])
        return Answer("\n\n".join(paragraphs), cards=cards, is_private=here.is_shared)

    def _describe_request(self, change: Change, reader: Person, here: Address) -> str:
        """Return the line of a request in a list: id, title, who asked, and the time until it
        expires (at least a minute, because it is still open). `reader` and `here` (where the list
        is posted) decide how the asker is named."""
        views = self.changes.views
        values = {
            "id": change.id,
            "title": escape_markdown(views.builder.build_title(change)),
            "left": format_duration(max(60, change.proposal.expires_at - views.clock())),
        }
        if change.proposal.asker.key == reader.key:
            return say("`{id}` {title}: requested by you, expires in {left}.", **values)
        name = escape_markdown(self.changes.views.name_of_asker(change, reader, here))
        return say("`{id}` {title}: requested by {name}, expires in {left}.", name=name, **values)

    async def _decide(self, turn: Turn, command: TypedCommand, show: Show) -> Answer:
        """Approve, deny, edit, undo or repeat a change, or approve several, and return the answer,
        with the result of each approved run: a change can be one, such as a quick command that
        waited for the approval. An ID can name the revision of the proposal that the person saw
        (`ID.2`)."""
        message = turn.message
        requests = []
        for word in command.id.split():
            # `code`: digits that stand only below the full text; they prove that it was seen.
            id, revision, code = grammar.split_change_id(word)
            # Buttons of a first version carry no number.
            if message.is_click and not revision:
                revision = 1
            decision = DecisionRequest(
                id,
                turn.seq,
                message.author,
                message.address,
                message.is_click,
                code,
                revision,
                to_one_line(command.reason, MAX_REASON_CHARACTERS),
                lambda step: show(Progress(current_step=step)),
                command.input if isinstance(command.input, dict) else {},
                self.people.budget.zone_of(message),
            )
            requests.append(decision)
        decisions = self.changes.decisions
        if len(requests) > 1:  # only `approve` takes several IDs
            answer = await decisions.approve_all(requests)
        else:
            action = cast(ChangeAction, command.name)
            try:
                answer = await decisions.decide(action, requests[0])
            except NotFound:
                if nearest := await self.suggest_decision(message):
                    return nearest
                raise
        for request in requests:
            answer = await self._add_run_result(turn, answer, request.id)
        return answer

    async def suggest_decision(self, message: Message) -> Answer | None:
        """Return an answer to a typed decision whose ID is one letter off that of an open request;
        None if the person may not see that, so that nobody learns of it."""
        match = grammar.NEAR_DECISION.fullmatch(message.text)
        if not match or message.is_click or not message.may_be_command:
            return None
        typed_id = match[2].lower()
        changes = {
            change.id: change
            for change in await self.changes.ledger.list_waiting_for_people()
            if change.id != typed_id
        }
        for id in difflib.get_close_matches(typed_id, changes, cutoff=0.8):
            standing = await self.changes.approval.find_standing(
                changes[id], message.author, message.address
            )
            if isinstance(may_see(standing), Allowed):
                # Without code marks: a copy with them is not a command.
                text = say("Request not found. Did you mean: {command}", command=f"{match[1]} {id}")
                return Answer(
                    text, "failed", code="not_found", is_private=message.address.is_shared
                )
        return None

    async def _add_run_result(self, turn: Turn, answer: Answer, id: str) -> Answer:
        message = turn.message
        result, change = await self.changes.decisions.result(id, turn.seq)
        if not result:  # this turn approved no run
            return answer
        # Decided elsewhere: the card in that conversation has the result.
        if change.proposal.address.conversation != message.address.conversation:
            return replace(answer, text=f"{answer.text} {say(_RESULT_THERE)}")
        # After a click, the card is redrawn in its own post, so the answer needs none.
        if message.is_click:
            answer = replace(answer, cards=())
        # The result is more than the card says, so the conversation gets a post with it.
        answer = replace(answer, has_own_post=True)
        return await self._runs.add_result(turn, answer, result, change.draft.title)

    async def _is_admin(self, turn: Turn) -> bool:
        message = turn.message
        policy = self.people.policy
        return (await policy.may(message.author, message.address, "administer")).allowed

    async def _check_owner(self, turn: Turn, owner: str) -> None:
        """In shared places, raise NotAllowed unless the person is the owner (of the conversation or
        turn; a key) or an admin. With "", nobody owns it, and everybody may."""
        message = turn.message
        if not message.address.is_shared or owner in ("", message.author.key):
            return
        if not await self._is_admin(turn):
            raise NotAllowed(
                "Only the person who asked or an admin can do that here.", right="administer"
            )


async def _check_right(policy: Policy, turn: Turn, *actions: Action, tool: str = "") -> str:
    """`tool` is that with which a model does the same."""
    author, address = turn.message.author, turn.message.address
    needs = [*((action,) for action in actions), *([("tool", tool)] if tool else [])]
    verdicts = [await policy.may(author, address, *need) for need in needs]
    for verdict in verdicts:
        verdict.raise_if_denied()
    return verdicts[0].rule  # of the first right, for the audit log


async def _audit_run(audit: Audit, turn: Turn, name: str, rule: str, outcome: str) -> None:
    """Write a run of code or a quick command and its outcome to the audit log, until it is
    stored."""
    message, facts = turn.message, {"tool": name, "rule": rule, "outcome": outcome}
    if outcome == "interrupted":  # the turn is being cancelled, so nothing may be awaited
        audit.note("tool-run", message.author, message.address, **facts)
        return
    await until_stored(
        lambda: audit.write_note("tool-run", message.author, message.address, **facts)
    )


async def _run_and_audit(
    name: str, note: Callable[[str], Awaitable[None]], run: Awaitable[T], how: Callable[[T], str]
) -> T:
    """Await a run and return its result. In any case, call `note` with the outcome for the audit
    log: what `how` makes of the result, "error" or "interrupted". The run counts as a call of the
    tool `name` in metrics and traces."""
    # Stays so if the run is cancelled, or fails by an unexpected exception.
    outcome = "interrupted"
    with tracing.tool_call(name) as span, metrics.tool_seconds.labels(name).time():
        try:
            ended = await run
            outcome = how(ended)
            return ended
        except PonteError:
            outcome = "error"
            raise
        finally:
            await note(outcome)
            metrics.tool_calls.labels(name, outcome).inc()
            span.note("ponte.tool.outcome", outcome)
            if outcome == "error":
                span.fail(outcome)


def _describe_spending(spent: UsageTotal) -> str:
    parts = [plural("{count} message", "{count} messages", spent.turns)]
    parts.append(plural("{count} token", "{count} tokens", spent.usage.input + spent.usage.output))
    cost = spent.usage.cost
    return ", ".join(parts if cost is None else [*parts, format_money(cost)])
