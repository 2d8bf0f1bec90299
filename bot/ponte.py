"""The running Ponte: all its parts by name, and the platforms that it serves. It starts them in
order, stops them in reverse, and reports what is on.
"""

from __future__ import annotations

import asyncio
import functools
import re
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import structlog

from adapters.terminal import TERMINAL
from adapters.web import WEB
from bot import __version__
from bot.config.ponte_toml import LiveConfig
from bot.config.reload import Reloader, describe_unknown_fields
from bot.config.table_names import describe_unknown_tables
from bot.doctor.safety import list_findings
from bot.engine import Engine
from bot.features.base import EndFeature
from bot.features.sign_in.accounts import PageAccountService
from bot.health import HealthBoard
from bot.home import Home, Start
from bot.integrations import canonical_person
from bot.people import PersonalDataService
from bot.settings import Settings
from bot.setup.restart import Restart
from core.base.errors import BadInput, NotFound
from core.base.i18n import LANGUAGE, say, translate_word
from core.base.tasks import run_together
from core.commands.grammar import parse_command, render_command, split_change_id
from core.domain.changes import ChangeState
from core.domain.messages import Address, ChangeAction, Message, Person, ReplyTo, turn_id
from core.domain.ports import ChatPlatform, Platform
from core.domain.records import DoctorFinding, HistoryEntry, ModelRequests
from core.integrations import ChatIntegration, OwnerIntegration
from core.people.rules import OWNER_ID

if TYPE_CHECKING:
    from adapters.web.api.answers import ChatAnswer
    from bot.setup.service import SetupService


@dataclass(slots=True)
class Surfaces:
    """The platforms through which people reach this process.

    `chats` are chat platforms. `owned` are the page and the terminal with their integrations.
    `accepts` says whether this process accepts messages; one that does not only posts answers.
    """

    accepts: bool = True
    chats: list[ChatPlatform] = field(default_factory=list)
    owned: list[tuple[OwnerIntegration[Any], Platform]] = field(default_factory=list)
    is_stopping: bool = field(default=False, init=False)

    @property
    def all(self) -> Sequence[Platform]:
        """The owner's platforms come first."""
        return [*(platform for _, platform in self.owned), *self.chats]

    @property
    def page(self) -> Any:
        """The web page's platform; None if it is off or not built yet."""
        return next((platform for integration, platform in self.owned if integration is WEB), None)

    async def start(self) -> None:
        """Start all platforms. Raises PonteError if one cannot be served."""
        await run_together(*(self._start(platform) for platform in self.all))

    async def _start(self, platform: Platform) -> None:
        # Commands of the shell use the terminal's socket, so it is served always. In a process that
        # accepts no messages, a chat platform only posts answers.
        always = [own for integration, own in self.owned if integration.always]
        if self.accepts or platform in always:
            await platform.start()
        elif platform in self.chats:
            await platform.start(listens=False)

    async def hand_over(self) -> int:
        """Stop accepting connections to the page, and return a descriptor of its socket, for the
        new start of Ponte in this process. Visitors who connect meanwhile wait."""
        descriptor: int = await self.page.hand_over()
        return descriptor

    async def stop_intake(self) -> None:
        self.is_stopping = True
        for platform in self.all:
            await platform.stop_intake()

    async def close(self) -> None:
        for platform in reversed(self.all):
            await platform.close()


log = structlog.get_logger("process")
CheckEverything = Callable[..., AsyncIterator[DoctorFinding]]
"""Runs the checks of `ponte doctor` on a `Start`. With `ModelRequests`, only those of the model."""
START_SCREEN_TIMEOUT_SECONDS = 0.3
"""The timeout of one part's health, while the start screen is written."""

READY_SENTENCE = "Ponte is ready."
READY_TO_ACCEPT_SENTENCE = "Ponte is ready to receive messages. Run `ponte work` to answer them."
READY_TO_WORK_SENTENCE = "Ponte is ready to answer messages. Run `ponte serve` to receive them."
SETTINGS_READ_SENTENCE = "Settings: environment and {path}"
SETTINGS_UNREAD_SENTENCE = "Settings: environment; {path} isn't used ({why})"
PAGE_SETTINGS_SENTENCE = "Settings of the setup page: {path}"

_STATE_AFTER: Mapping[ChangeAction, ChangeState] = {
    "approve": "done", "change": "open", "deny": "denied", "undo": "undone", "again": "open",
}  # fmt: skip


@dataclass(frozen=True)
class Ponte:
    """All parts of a running Ponte, by name. Only operations, the shell and the page /admin get the
    whole object. `restart` starts Ponte anew with other settings; None where that cannot be done.
    `background_starts` begin checks and imports that run in the background. `closing` closes the
    parts in the reverse order of their composition, `last_closings` what outlives them.
    """

    settings: Settings
    live: LiveConfig
    home: Home
    engine: Engine
    board: HealthBoard
    surfaces: Surfaces
    reloader: Reloader
    accounts: PageAccountService
    restart: Restart | None
    check: CheckEverything
    runs_turns: bool
    background_starts: Sequence[Callable[[], None]]
    closing: AsyncExitStack
    last_closings: Sequence[EndFeature] = ()
    sources: Mapping[str, Any] = field(default_factory=dict)
    """The tool sources of integrations, by name."""
    _checking: asyncio.Lock = field(default_factory=asyncio.Lock)
    """The checks of `ponte doctor` start a sandbox and ask each service, so one runs at a time."""

    @property
    def inputs(self) -> Start:
        """The inputs of a command of the shell, with the present ponte.toml."""
        return Start(self.settings, self.live.current, self.home)

    # A running process keeps what it loads, so these two are made when an operation needs them.
    @functools.cached_property
    def setup(self) -> SetupService:
        """The service has the drafts of what was typed on the setup page."""
        from bot.setup.service import SetupService

        people = self.engine.people
        return SetupService(self.settings, self.live, self.home, people, self.board, self.restart)

    @functools.cached_property
    def personal_data(self) -> PersonalDataService:
        """The exports and erasures of the data about a person."""
        from core.erasure import SqlPersonalData

        data = SqlPersonalData(self.engine.stores.database, canonical_person)
        chats = [
            integration
            for integration in self.settings.faces
            if isinstance(integration, ChatIntegration)
        ]
        listing = [integration.name for integration in chats if integration.lists_people]
        return PersonalDataService(self.engine, data, self.accounts, self.surfaces.chats, listing)

    @property
    def zone(self) -> ZoneInfo:
        """The time zone of the installation (PONTE_TIMEZONE)."""
        return ZoneInfo(self.settings.ponte_timezone)

    async def start(self, *, prepares: bool = True) -> None:
        """Run turns and serve the platforms. Raises PonteError where one of them cannot start.

        `prepares`: the model's server is checked, and the sandbox is proven. Else the first turn
        waits for it. Each function of `background_starts` begins such a check and returns at once.
        """
        # Collectors of logs in JSON get the audit log, too.
        self.engine.start(logs_audit=self.settings.ponte_log == "json")
        await self.surfaces.start()
        # The page may have got its port only now. Links to its address, without the owner's token,
        # are allowed in answers.
        self.live.add_own_addresses(self.links()[0])
        for start in self.background_starts if prepares else ():
            start()

    async def stop(self, hurry: asyncio.Event | None = None) -> None:
        """Accept nothing more, let turns finish within PONTE_GRACE seconds or until `hurry` is set,
        put the others back into the queue, and close all parts, also if one of them fails."""
        deadline = time.monotonic() + self.settings.ponte_grace
        hurry = hurry or asyncio.Event()

        async def close_last(close: EndFeature) -> None:
            await close(0.0 if hurry.is_set() else deadline - time.monotonic())

        async with AsyncExitStack() as ending:
            for close in self.last_closings:
                ending.push_async_callback(close_last, close)
            ending.push_async_callback(self.closing.aclose)
            await self.surfaces.stop_intake()
            draining = asyncio.create_task(self.engine.drain(self.settings.ponte_grace))
            hurrying = asyncio.create_task(hurry.wait())
            await asyncio.wait({draining, hurrying}, return_when=asyncio.FIRST_COMPLETED)
            if not draining.done():
                # Turns that still run go back into the queue at once.
                await self.engine.drain(0)
            await draining
            hurrying.cancel()

    async def announce(self) -> None:
        """Write the start screen: what is on, what is off and why, and the page's address, to
        stdout, or as lines into a log in JSON."""
        settings, file = self.settings, self.settings.env_file
        # On misspelt names, unreadable lines and corrected values.
        rows = [("failing", "settings", words) for words in settings.notes]
        parts = await self.board.parts.list_all(START_SCREEN_TIMEOUT_SECONDS)
        await self.reloader.look_up_names(self.live.current)
        rows += [(part.state, part.name, part.words) for part in parts]
        for finding in list_findings(settings, self.live.current, self.home):
            # Other notes are for `ponte doctor`: the start screen stays short.
            noted = finding.topic in ("rights", "limits") and finding.level == "note"
            if finding.level == "unsafe" or noted:
                rows.append(("failing", finding.topic, finding.words))
            elif finding.topic == "rights":
                rows.append(("on", finding.topic, finding.words))
        tables = self.live.tables
        unknown = describe_unknown_tables(self.live.current.table_names, tables)
        unknown = [*unknown, *describe_unknown_fields(self.live.current, self.reloader.known)]
        rows += [("failing", "rights", words) for words in unknown]
        if tables is None and self.live.table_rules.names_tables:
            rows.append(("checking", "rights", say("Names of tables in ponte.toml: not checked")))
        page, link = self.links()
        if settings.ponte_log == "json":
            config = str(self.live.current.path or "")
            log.info("started", version=__version__, config=config, address=page)
            for state, name, words in rows:
                write = log.warning if state == "failing" else log.info
                write("part", name=name, state=state, words=words)
            return
        if file.path is not None:
            sentence = SETTINGS_UNREAD_SENTENCE if file.why else SETTINGS_READ_SENTENCE
            sys.stdout.write(say(sentence, path=file.path, why=file.why) + "\n")
        if settings.page_file is not None:
            sys.stdout.write(say(PAGE_SETTINGS_SENTENCE, path=settings.page_file) + "\n")
        marks = {"on": say("on"), "off": say("off"), "failing": "!!", "checking": "…"}
        width = max(6, *map(len, marks.values()))
        for state, name, words in rows:
            sys.stdout.write(f"  {marks[state]:<{width}} {translate_word(name):<10} {words}\n")
        # Others read a log that is kept, so only a terminal shows the token.
        if page and not sys.stdout.isatty():
            sys.stdout.write(say("`ponte link` prints the page's link with its token.") + "\n")
        address = link if sys.stdout.isatty() else page
        # A process may only run turns (`ponte work`), or only accept messages (`ponte serve`).
        ready = READY_SENTENCE if self.surfaces.accepts else READY_TO_WORK_SENTENCE
        if not self.runs_turns:
            ready = READY_TO_ACCEPT_SENTENCE
        words = say("{ready} Open {address}", ready=say(ready), address=address)
        sys.stdout.write(f"{words if address else say(ready)}\n")
        sys.stdout.flush()

    def links(self) -> tuple[str, str]:
        """Return the page's address without and with the owner's token; "" for both if this process
        serves no page."""
        owned = self.surfaces.owned
        surfaces = [each for each in owned if self.surfaces.accepts or each[0].always]
        links = (integration.link(self.settings, own, self.home) for integration, own in surfaces)
        return next((both for both in links if both[0]), ("", ""))

    async def find_problems(self, *model: ModelRequests) -> Sequence[DoctorFinding]:
        """The checks of `ponte doctor` start a sandbox and ask each service, so one caller waits
        for the other. With `model`, only the model is checked."""
        async with self._checking:
            findings = [one async for one in self.check(self.inputs, *model)]
        if not model and all(finding.part != "database" for finding in findings):
            # Of databases, the checks look at Postgres alone.
            part = await self.engine.stores.health()
            findings.insert(0, DoctorFinding(part.name, part.state, part.words))
        return findings

    async def decide(
        self,
        action: ChangeAction,
        id: str,
        linked: bool,
        reason: str = "",
        values: Sequence[str] = (),
    ) -> ChatAnswer:
        """Approve, change, deny, undo or propose a change again as the owner. `reason` says why it
        is denied. `values` are lines such as `Status = Paid`. `linked`: the display turns addresses
        into links.

        The answer's status is "failed" unless this decided something and all of it was done, so
        that a script can tell by the exit code: the change is read before and after the command.
        Raises NotFound, and BadInput for an ID of another form, which would make the command a
        message for the model.
        """
        command = parse_command("\n".join((f"{action} {id}", *values)))
        if command is None or command.id != id.lower():
            raise BadInput(
                "Change `{id}` not found. `ponte changes list` shows the IDs.", id=id[:40]
            )
        ledger, change_id = self.engine.changes.ledger, split_change_id(command.id)[0]
        before = await ledger.get(change_id)
        words = render_command(replace(command, reason=reason.strip()))
        answer = await self.run_command(words, linked)
        # The answer may ask for a command such as `approve ID-1234`, with the code of what was
        # shown. In the shell it is `ponte changes approve ID-1234`.
        shown = rf"`\S+ ({change_id}-\w+)`"
        if text := answer.get("response"):
            answer["response"] = re.sub(shown, r"`ponte changes approve \1`", text, count=1)
        after = await ledger.get(change_id)
        facts_before, facts = [
            (
                one.state,
                one.denial_reason,
                one.repeated_by,
                one.proposal.revision,
                # Two accounts of one person are one approval.
                len({canonical_person(consent.person.key) for consent in one.consents}),
            )
            for one in (before, after)
        ]
        # The state stays after one of several approvals, or a reason added to a denial.
        is_decided = facts != facts_before and after.state in (before.state, _STATE_AFTER[action])
        is_listed = action == "change" and not values and answer.get("code") == BadInput.code
        if is_listed and self.engine.changes.approval.kinds[before.draft.kind].form_fields(before):
            # Without values, the fields that can be changed were listed: no failure.
            return {**answer, "status": "done"}
        return answer if is_decided else {**answer, "status": "failed"}

    async def run_command(self, text: str, linked: bool) -> ChatAnswer:
        """Run a typed command of the owner and return its answer. `linked`: the display turns
        addresses into links. Raises BadInput if it is refused, ServerStopping after `stop` began.

        The command is stored like a message, so that a decision continues after a crash. Its
        conversation is called "operator", apart from those of the chat in the terminal.
        """
        # These load Starlette, which this module itself does not need.
        from adapters.web.api.chat import REFUSAL_CODES
        from adapters.web.api.stream import answer_json
        from adapters.web.errors import ServerStopping

        if self.surfaces.is_stopping:
            raise ServerStopping
        owner, inbox = Person(TERMINAL.name, OWNER_ID), self.engine.conversations.inbox
        names = await self.engine.people.find_names([owner.key])
        owner = replace(owner, name=names.get(owner.key, ""))
        key = f"{owner.platform}:{uuid4().hex}"
        address = Address(owner.platform, "operator")
        message = Message(
            key,
            text,
            owner,
            address,
            ReplyTo(address, owner, source=key, turn=turn_id(key)),
            locale=LANGUAGE.get(),
            sent_at=time.time(),
            is_answer_linkified=linked,
        )
        receipt = await inbox.accept(message)
        answer = await inbox.wait_for_answer(receipt.seq)
        # The turn did not run. Any other failure is an answer of its own.
        if answer.status == "failed" and answer.code in REFUSAL_CODES:
            raise BadInput("{words}", words=answer.text)
        return answer_json(answer, address.channel, message.turn)

    async def list_entries(self, conversation: str) -> Sequence[HistoryEntry]:
        """Raises NotFound."""
        journal = self.engine.conversations.journal
        if not any(thread.conversation == conversation for thread in await journal.list_threads()):
            raise NotFound(what="conversation")
        return await journal.list_entries(conversation)
