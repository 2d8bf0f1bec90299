"""Messages and clicks that arrive: which messages of a thread are for Ponte, the marks that show
that one was received, the download of their files, and the events that could not be handled.

While only one person writes in a thread with Ponte, every message there is for Ponte. Once a second
person writes, only mentions are, and Ponte announces that once. A channel can have other settings.

A download begins when its message is stored, or when the turn needs the file.

A platform shows the person an error unless an interaction is acknowledged within about three
seconds. `Interactions` therefore gives each step a deadline, stores the message before it
acknowledges the interaction, and starts no other work before that. If it cannot store the message,
it notifies the person at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import (
    Awaitable,
    Callable,
    Collection,
    Coroutine,
    Mapping,
    MutableMapping,
    Sequence,
)
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol, TypeVar

import structlog

from core.base.errors import BadInput, Forgotten, NotStored, PonteError
from core.base.i18n import plural, say, use_locale
from core.base.tasks import BackgroundTasks
from core.base.text import clip_line
from core.chat.people import Conversations, People
from core.commands.grammar import render_change
from core.domain.changes import ChangeForm, FormField
from core.domain.messages import (
    MAX_ATTACHMENT_BYTES,
    MAX_FILE_TEXT_CHARACTERS,
    UNSURE_ENCODING,
    Address,
    Attachment,
    File,
    Message,
    Person,
    Quote,
    decode_file_text,
    file_kind,
    find_encoding,
    too_large,
)
from core.domain.ports import Files, Inbox, StatusBoard
from core.domain.records import Action, Health, QuickCommand, Receipt
from core.feedback.votes import Press
from core.observability import metrics
from core.people.policy import Policy

T = TypeVar("T")
MAX_EARLIER_MESSAGES, EARLIER_MESSAGE_CHARACTERS, MAX_CONTEXT_FILES = 30, 500, 10
"""Limits of a turn's context: earlier messages of the thread, characters of each of them, and the
newest files."""
CONTEXT_SECONDS = 10.0
"""Seconds that a turn waits for the messages that its own message quotes, and for earlier ones."""
MAX_EDITED_MESSAGE_AGE_SECONDS = 24 * 3600.0
"""Age up to which a message is answered because an edit adds a mention. An older one may have been
answered, and its row deleted since."""
WAITS_FOR_MENTION = "Several people are here now, so I only answer when you mention me."
THREAD_UNREAD = "I couldn't read the earlier messages in this thread, so I answered without them."


class AddressingSettings(Protocol):
    """The settings of a channel on who is answered where; None means the default."""

    @property
    def strict_mention(self) -> bool | None:
        """True if only mentions of Ponte are answered."""

    @property
    def answer_everything(self) -> bool | None:
        """True if every message is answered, except those that mention others and not Ponte."""

    @property
    def threads(self) -> bool | None:
        """True if an answer opens a thread. False: the channel itself is one conversation, and each
        thread that people open there is another one."""


@dataclass(frozen=True, slots=True)
class Addressing:
    """Facts that decide whether a message is for Ponte. Platforms find out only what matters.

    `is_late_edit`: the message was edited when it was old already. `is_withheld`: the platform
    withholds its text. `answers_us`: it replies to a post of ours. `is_thread_of_others`: its
    thread began with a mention of others, and nobody has mentioned us there. `is_our_thread`: Ponte
    takes part in its thread. `has_several_people`: several people write there.
    """

    is_direct: bool = False
    is_late_edit: bool = False
    is_withheld: bool = False
    mentions_us: bool = False
    names_others: bool = False
    answers_us: bool = False
    is_thread_of_others: bool = False
    is_our_thread: bool = False
    has_several_people: bool = False


def is_for_ponte(facts: Addressing, settings: AddressingSettings) -> bool:
    """Return whether a message is for Ponte, in a channel with these settings."""
    if facts.is_direct:
        return True
    if facts.is_late_edit or facts.is_withheld:
        return False
    if facts.mentions_us:
        return True
    if settings.answer_everything:
        return not (facts.names_others or facts.is_thread_of_others)
    if settings.strict_mention:
        return False
    return facts.answers_us or (facts.is_our_thread and not facts.has_several_people)


class ConfiguredPlaces(Protocol):
    """The places with settings of their own. They are read for each message, because the owner of
    the installation may change them at any time."""

    @property
    def channels(self) -> Mapping[str, AddressingSettings]:
        """The settings of places, by their names in ponte.toml."""

    def channel(self, address: Address) -> AddressingSettings:
        """Return the settings of a place."""


def list_answer_all_places(places: ConfiguredPlaces, platform: str) -> Sequence[str]:
    """Return the platform's places with `answer_everything`, by their names in ponte.toml."""
    return [
        place
        for place, own in places.channels.items()
        if own.answer_everything and place.partition(":")[0] == platform
    ]


@dataclass(slots=True)
class Participants:
    """The people who write in a thread. `people` are their ids. `is_announced`: Ponte has
    announced that it now answers only mentions."""

    people: list[str] = field(default_factory=list)
    is_announced: bool = False

    @property
    def several(self) -> bool:
        """True if more than one person writes in the thread."""
        return len(self.people) > 1

    def join(self, *people: str) -> bool:
        """Add people, and return whether one of them is new in the thread."""
        new = [person for person in dict.fromkeys(people) if person not in self.people]
        self.people += new
        return bool(new)

    def note_notice_due(self) -> bool:
        """Return True once, as soon as several people write: Ponte must then announce that it
        answers only mentions. Later calls return False."""
        due = self.several and not self.is_announced
        self.is_announced = self.is_announced or due
        return due


UNKNOWN_MARK_SECONDS = 1.0
"""Seconds that the author of a message may be unknown before it is marked as waiting."""
SIGN_AFTER_SECONDS = 1.2
"""Seconds before a turn shows that it is under way. An answer that takes about a second needs no
sign: it would be another request beside each answer."""

Mark = Callable[[str], Coroutine[Any, Any, None]]
"""Sets or removes the mark of the message at a place; raises nothing."""


@dataclass(slots=True)
class WaitingMarks:
    """Marks the messages that wait for their turn.

    `worn` maps each turn to its marked message. It is shared state, so that another process can
    remove the mark; `on_change` is called after each change of it. `patience`: seconds before a
    message is marked; most turns begin earlier.
    """

    tasks: BackgroundTasks
    put_on: Mark
    take_off: Mark
    worn: MutableMapping[str, str]
    on_change: Callable[[], None] = lambda: None
    patience: float = 0.0
    _due: dict[str, asyncio.Task[object]] = field(default_factory=dict, init=False)
    """By turn, the task that will mark its message after the pause."""

    def put(self, turn: str, place: str) -> None:
        """Mark the message of a turn, after the pause of `patience` seconds."""
        if task := self.tasks.start(self._mark(turn, place)):
            self._due[turn] = task
            task.add_done_callback(lambda _: self._due.pop(turn, None))

    def mark_stored(
        self, policy: Policy, inbox: Inbox, message: Message, receipt: Receipt, place: str
    ) -> None:
        """Mark a stored message if it waits for other turns, or while its author is unknown. The
        turn of a known author begins at once."""
        if receipt.turns_ahead:
            self.put(receipt.turn, place)
        elif not policy.is_prepared(message.author, message.address):
            self.tasks.start(self._mark_while_unknown(policy, inbox, message, receipt, place))

    def clear(self, turn: str) -> None:
        """Remove the mark: the turn begins."""
        if waiting := self._due.pop(turn, None):
            waiting.cancel()
        if place := self.worn.pop(turn, ""):
            self.on_change()
            self.tasks.start(self.take_off(place))

    def close(self) -> None:
        """Mark no further messages."""
        for waiting in self._due.values():
            waiting.cancel()

    async def _mark(self, turn: str, place: str) -> None:
        """Mark the message after the pause. The mark is noted first, so that it is removed in any
        case."""
        await asyncio.sleep(self.patience)
        self.worn[turn] = place
        self.on_change()
        await self.put_on(place)

    async def _mark_while_unknown(
        self, policy: Policy, inbox: Inbox, message: Message, receipt: Receipt, place: str
    ) -> None:
        """Mark a message while the platform has not identified its author. Remove the mark when it
        is answered."""
        is_known = await policy.prepare(
            message.author, message.address, confirmed=False, seconds=UNKNOWN_MARK_SECONDS
        )
        if not is_known:
            self.put(receipt.turn, place)
            with suppress(Forgotten, NotStored):
                await inbox.wait_for_answer(receipt.seq)
            self.clear(receipt.turn)


FILES_NOT_READ = (
    "I couldn't read {names}, so I answered without this file.",
    "I couldn't read {names}, so I answered without these files.",
)
FILE_CUT = "`{name}` is long. I read its first {count} characters."
ENCODING_UNSURE = (
    "`{name}` isn't UTF-8. I read it as Windows-1252. If letters are wrong, send it as UTF-8."
)
FILES_NOT_FIT = (
    "Not all files fit into one request to the model. I answered without {names}. Send them in "
    "separate messages."
)
KIND_NOT_READ = "I can't read {names}. I can read {kinds}."
FILE_KINDS = {
    "text": "text (such as CSV, JSON, Markdown, code)",
    "picture": "pictures (PNG, JPEG, WebP, GIF)",
    "pdf": "PDF",
}
"""What a model can read, by kind (`core.domain.messages.file_kind`)."""

Read = Callable[[Attachment], Awaitable[tuple[Attachment, bytes] | None]]
"""Downloads a file from its platform. Returns its description and its bytes; None if it is
refused."""


class FileDownloads:
    """Downloads files, each of them once: callers that ask during a download wait for its result.

    An error of a type in `failures` is logged with the text that `why` returns.
    """

    def __init__(
        self,
        platform: str,
        files: Files,
        download: Read,
        failures: tuple[type[Exception], ...] = (),
        why: Callable[[Exception], str] = repr,
    ) -> None:
        self._log = structlog.get_logger(platform)
        self._files = files
        self._read = download
        self._failures: tuple[type[Exception], ...] = (PonteError, *failures)
        self._why = why
        self._under_way: dict[tuple[str, str], asyncio.Task[File | None]] = {}
        """Downloads that several callers may wait for, by message and file."""

    def begin(self, message: Message) -> None:
        """Start to download all files of a message at once."""
        for attachment in message.attachments:
            self._task(message, attachment)

    async def fetch(self, message: Message, attachment: Attachment) -> File | None:
        """Return a file; None if it is too large, refused or deleted. Implements the port
        `FetchAttachment`."""
        # Other callers may wait for this download when one of them is cancelled.
        return await asyncio.shield(self._task(message, attachment))

    async def fetch_all(self, message: Message) -> None:
        """Download all files of a message, one after the other."""
        for attachment in message.attachments:
            await self.fetch(message, attachment)

    async def close(self) -> None:
        """Cancel all downloads."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _task(self, message: Message, attachment: Attachment) -> asyncio.Task[File | None]:
        """Return the task that downloads the file. Start it if the file is not being downloaded."""
        key = (message.event_key, attachment.reference)
        task = self._under_way.get(key)
        if task is None:
            task = self._under_way[key] = asyncio.create_task(self._download(message, attachment))
            task.add_done_callback(lambda _: self._under_way.pop(key, None))
        return task

    async def _download(self, message: Message, attachment: Attachment) -> File | None:
        """Download one file and store it. Return None if it is too large, refused, or the download
        fails."""
        if attachment.size > MAX_ATTACHMENT_BYTES:
            self._log.info("file too large to download", file_bytes=attachment.size)
            return None
        try:
            result = await self._read(attachment)
            if result is None or len(result[1]) > MAX_ATTACHMENT_BYTES:
                return None
            description, data = result
            return await self._files.put(
                message.event_key,
                description.name,
                description.type,
                data,
                message.author,
                message.address.conversation,
            )
        except self._failures as error:
            self._log.warning(
                "could not download a file", turn=message.turn, error=self._why(error)
            )
            return None


async def describe_unread(
    message: Message, files: Sequence[File], missing: Sequence[str], store: Files
) -> list[str]:
    """Return a sentence for each file that was not read, or not to its end.

    `files` are those that were downloaded, `missing` the names of the others. Raises NotFound.
    """
    # Those that are too large were not downloaded either. They have sentences of their own.
    too_large_files = [large for one in message.attachments if (large := too_large(one))]
    unread_names = [
        name for name in missing if name not in {large.values["name"] for large in too_large_files}
    ]
    sentences = [large.words() for large in too_large_files]
    for file in files:
        if file_kind(file.type, file.name) == "text":
            _, data = await store.get(file.id)
            encoding = find_encoding(data)
            if not encoding:
                unread_names.append(file.name)
            elif encoding == UNSURE_ENCODING:
                sentences.append(say(ENCODING_UNSURE, name=file.name))
            if encoding and len(decode_file_text(data)) > MAX_FILE_TEXT_CHARACTERS:
                sentences.append(say(FILE_CUT, name=file.name, count=MAX_FILE_TEXT_CHARACTERS))
    if unread_names:
        names = ", ".join(f"`{name}`" for name in unread_names)
        sentences.append(plural(*FILES_NOT_READ, len(unread_names), names=names))
    return sentences


def describe_unread_kinds(names: Sequence[str], kinds: Collection[str]) -> str:
    """Return the sentence on files of other kinds than the `kinds` that the model reads."""
    readable_kinds = ", ".join(say(words) for kind, words in FILE_KINDS.items() if kind in kinds)
    return say(KIND_NOT_READ, names=", ".join(f"`{name}`" for name in names), kinds=readable_kinds)


EVENT_FAILED = (
    "Something went wrong, and I couldn't handle this message. Try again, or send it as plain text."
)
"""The sentence for the person whose message could not be handled."""
_COUNT = (
    "{count} event failed (last: {error}). See the log.",
    "{count} events failed (last: {error}). See the log.",
)


class FailedEvents:
    """The events of one platform whose handling raised an exception, since the process started."""

    def __init__(self, platform: str) -> None:
        self._platform = platform
        self._log = structlog.get_logger(platform)
        self._count = 0
        self._last = ""
        """The type of the last error."""

    def note(self, error: BaseException, event: object) -> None:
        """Log and count an event of this type, which caused `error`."""
        self._count, self._last = self._count + 1, type(error).__name__
        metrics.failed_events.labels(self._platform).inc()
        self._log.error(
            "event failed", event_type=str(event)[:100], error=self._last, exc_info=error
        )

    def describe(self, health: Health) -> Health:
        """Return the state of the platform with the number of failed events."""
        if not self._count:
            return health
        words = plural(*_COUNT, self._count, error=self._last)
        return replace(health, words=f"{health.words}; {words}")


FORM_LATE = "The form couldn't be opened in time. Try again."
"""The sentence for a person whose form was not found within the platform's time."""
FORM_UNREADABLE = "I couldn't read this form. Open it again."
FORM_UNCHANGED = "You didn't change any values."
MAX_FORM_VALUE_CHARACTERS = 4000
"""Characters of one value of a form. No platform has an input that takes more."""
_MAX_NAMED_FIELDS = 5
_NOT_IN_FORM = "Not in this form: {names}. To change one of them, type `change {id} {example}`."


def describe_fields_left_out(
    form: ChangeForm, fields: Sequence[FormField], escape: Callable[[str], str] = str
) -> str:
    """Return how to change the fields that a platform's form cannot hold, with the names to type;
    "" if there are none. `escape` makes the names, which are untrusted, safe on the platform."""
    names = [escape(clip_line(field.key)) for field in fields]
    if len(names) > _MAX_NAMED_FIELDS:
        names[_MAX_NAMED_FIELDS:] = ["…"]
    example = say("FIELD = VALUE")
    words = say(_NOT_IN_FORM, names=", ".join(names), id=form.id, example=example)
    return words if names else ""


def find_new_values(form: ChangeForm, values: Mapping[str, str]) -> dict[str, str]:
    """Return the values that differ from those of the form, by `FormField.key`. `values` are those
    of the inputs that the person saw, by the position of the field in the form. Raise BadInput if
    none differs, or if the form has no such field."""
    fields = {str(at): field for at, field in enumerate(form.fields)}
    # The proposal has other fields by now, or the request was not made by our form.
    if not values.keys() <= fields.keys() or any(
        len(value) > MAX_FORM_VALUE_CHARACTERS for value in values.values()
    ):
        raise BadInput(FORM_UNREADABLE)
    new_values = {
        fields[at].key: value
        for at, value in values.items()
        if _normalize(fields[at], value) != _normalize(fields[at], fields[at].value)
    }
    if not new_values:
        raise BadInput(FORM_UNCHANGED)
    return new_values


def _normalize(field: FormField, value: str) -> object:
    """Return a value for a comparison. Platforms change the line ends and the spaces of a text, and
    an empty checkbox is not ticked."""
    value = value.replace("\r\n", "\n").replace("\u202f", " ").replace("\xa0", " ").strip()
    return value == "true" if field.type == "checkbox" else value


SHOW_CODE = "Show code"
"""The label of the button that shows the code of an answer's runs."""
CODE_LATE = "The code couldn't be shown in time. Try again."
REST_OF_CODE = "This is the beginning. Ask me for the rest of the code."
_VOTE_LATE = "Your feedback couldn't be saved in time. Try again."
_CODE_GONE = "This code is no longer stored. Code is deleted together with its conversation."
RESTARTING = "I'm about to restart. Try again in a minute."


@dataclass(frozen=True, slots=True)
class InteractionLimits:
    """Deadlines of one interaction, and what happens when a person's rights are not known in time.

    `store_seconds` counts from the arrival of the interaction; None sets no deadline.
    """

    rights_seconds: float
    store_seconds: float | None = None
    checks_rights_before_storing: bool = True
    """False where only the turn checks the rights of commands and clicks."""
    without_rights: str = ""
    """The sentence shown in place of a form while rights are unknown; "" shows the form."""


@dataclass(frozen=True, slots=True)
class InteractionRequest:
    """A request made by a command, a click or a form; `action` is the least right it needs.

    `is_private`: only the person may see the answer. `mentions` are those in `Message`.
    """

    text: str
    action: Action = "chat"
    is_private: bool = False
    context: tuple[Quote, ...] = ()
    files: tuple[Attachment, ...] = ()
    mentions: tuple[tuple[str, str], ...] = ()


class ChatInteraction(Protocol):
    """One interaction of a person, and the ways in which its platform lets Ponte respond to it."""

    @property
    def limits(self) -> InteractionLimits:
        """Return the platform's limits for responses to interactions."""

    @property
    def person(self) -> Person:
        """Return the person who used the command, button or form."""

    @property
    def address(self) -> Address:
        """Return the place of the interaction."""

    @property
    def locale(self) -> str:
        """The person's language, as far as it is known now."""

    async def learn_about_person(self) -> None:
        """Take in facts that help to decide on the person's rights, before these are checked."""

    async def make_message(self, request: InteractionRequest) -> Message:
        """Return the message to store. Raises NotStored."""

    async def acknowledge(self, receipt: Receipt, request: InteractionRequest) -> bool:
        """Acknowledge the stored interaction. Return False if it is a repeat, or if the platform
        took the acknowledgement too late."""

    async def notify(self, words: str) -> None:
        """Show words to this person only; they take the place of an acknowledgement. Raises
        nothing."""


@dataclass
class Interactions:
    """Handles the commands, clicks and forms of one chat platform: checks rights, stores each as a
    message, and acknowledges it to the platform in time."""

    conversations: Conversations
    people: People
    board: StatusBoard
    tasks: BackgroundTasks
    is_open: bool = field(default=True, init=False)
    """False once intake has stopped: everybody is then asked to try again."""

    async def show_form(
        self, interaction: ChatInteraction, show: Callable[[], Awaitable[str]]
    ) -> bool:
        """Call `show` if the person may chat, and return whether they see the form.

        `show` returns "", or a sentence for the person if the platform does not show the form.
        """
        words = await self._find_refusal(interaction, "chat", interaction.limits.without_rights)
        words = words or await show()
        if words:
            await interaction.notify(words)
        return not words

    async def submit(self, interaction: ChatInteraction, request: InteractionRequest) -> bool:
        """Store a command, a click or a form, then acknowledge it. Return whether both happened in
        time, for the first time; otherwise the person is notified."""
        began = asyncio.get_running_loop().time()  # the check of rights uses up a part of the time
        limits, message = interaction.limits, None
        refusal = ""
        if limits.checks_rights_before_storing:
            refusal = await self._find_refusal(interaction, request.action)
        if refusal:
            await interaction.notify(refusal)
            return False
        deadline = None if limits.store_seconds is None else began + limits.store_seconds
        try:
            async with asyncio.timeout_at(deadline):
                message = await interaction.make_message(request)
                receipt = await self.conversations.inbox.accept(message)
        except (NotStored, TimeoutError) as error:
            if message is not None and isinstance(error, TimeoutError):
                # The store may still complete it. The person is notified that it does not count,
                # so it must not be answered later.
                self.tasks.start(self.conversations.inbox.amend(message.event_key, None))
            with use_locale(interaction.locale):
                await interaction.notify(NotStored().words())
            return False
        return await interaction.acknowledge(receipt, request)

    async def find_quick_commands(
        self, interaction: ChatInteraction, seconds: float
    ) -> Sequence[QuickCommand]:
        """Return the quick commands that the person may use there; none if they are not known
        within `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                return await self.board.commands(interaction.person, interaction.address)
        except TimeoutError:
            return ()

    async def find_code(
        self, interaction: ChatInteraction, turn: str, post: str, seconds: float
    ) -> Sequence[tuple[File, bytes]] | str:
        """Return the code that a turn ran, by the file of each run. Return a sentence for the
        person if they may not chat there, if `post`, where they pressed the button, does not belong
        to the turn, or if this is not known within `seconds`."""
        code = await self._run_in_time(
            interaction, seconds, CODE_LATE, partial(self.conversations.find_code, turn, post)
        )
        return code or say(_CODE_GONE, interaction.locale)

    async def vote(
        self, interaction: ChatInteraction, press: Press, seconds: float, *, toggles: bool = False
    ) -> bool | str:
        """Store a press of a thumb, and return whether the person has that vote now. Return a
        sentence for them if it was not stored: they may not chat there, the post is no answer that
        can be rated, or it took longer than `seconds`."""
        work = partial(self.conversations.votes.vote, press, toggles=toggles)
        return await self._run_in_time(interaction, seconds, _VOTE_LATE, work)

    async def explain_vote(
        self, interaction: ChatInteraction, press: Press, reason: str, shares: bool, seconds: float
    ) -> str:
        """Store why a person voted against an answer. Return a sentence if it was not stored, as
        `vote` does; "" if it was."""
        work = partial(self.conversations.votes.explain, press, reason, shares)
        return await self._run_in_time(interaction, seconds, _VOTE_LATE, work) or ""

    async def _run_in_time(
        self,
        interaction: ChatInteraction,
        seconds: float,
        late_sentence: str,
        work: Callable[[], Awaitable[T]],
    ) -> T | str:
        """Return the result of `work` if the person may chat in the place of the interaction.
        Otherwise, or if `work` fails or takes longer than `seconds`, return a sentence for the
        person."""
        late = say(late_sentence, interaction.locale)
        try:
            async with asyncio.timeout(seconds):
                if words := await self._find_refusal(interaction, "chat", late):
                    return words
                return await work()
        except (NotStored, TimeoutError):
            return late
        except PonteError as error:
            with use_locale(interaction.locale):
                return error.words()

    async def find_form(
        self, interaction: ChatInteraction, press_id: str, seconds: float
    ) -> ChangeForm | str:
        """Return the form that changes the proposal, or a sentence for the person if they may not
        change it, if it was replaced or decided, or if it is not known within `seconds`.
        `press_id` is that of a button; without a revision it means the first one."""
        press_id = press_id if "." in press_id else f"{press_id}.1"
        try:
            async with asyncio.timeout(seconds):
                person, address = interaction.person, interaction.address
                if words := await self._find_refusal(interaction, "chat"):
                    return words
                with use_locale(interaction.locale):
                    return await self.board.find_form(press_id, person, address)
        except TimeoutError:
            return say(FORM_LATE, interaction.locale)
        except PonteError as error:
            with use_locale(interaction.locale):
                return error.words()

    async def submit_form(
        self, interaction: ChatInteraction, press_id: str, values: Mapping[str, str], seconds: float
    ) -> bool:
        """Submit the values that a person changed in the form of `find_form`, as `submit` does. If
        the form is not valid any more, or no value was changed, notify the person.

        `values` are by the position of their field in the form.
        """
        form = await self.find_form(interaction, press_id, seconds)
        if isinstance(form, ChangeForm):
            try:
                text = render_change(press_id, find_new_values(form, values))
                return await self.submit(interaction, InteractionRequest(text))
            except BadInput as error:
                with use_locale(interaction.locale):
                    refusal = error.words()
        else:
            refusal = form
        await interaction.notify(refusal)
        return False

    async def _find_refusal(
        self, interaction: ChatInteraction, action: Action, while_unknown: str = ""
    ) -> str:
        """Return why the person may not do this, in their language; "" if they may, and
        `while_unknown` if their rights are not known in time. The turn checks all rights again."""
        # Ponte is about to stop and stores nothing more.
        if not self.is_open:
            return say(RESTARTING, interaction.locale)
        await interaction.learn_about_person()
        person, address = interaction.person, interaction.address
        try:
            async with asyncio.timeout(interaction.limits.rights_seconds):
                verdict = await self.people.policy.may(person, address, action)
        except TimeoutError:
            return while_unknown
        if verdict.is_unknown:
            return while_unknown
        if verdict.allowed:
            return ""
        self.people.note_refusal(person, address, verdict)
        with use_locale(interaction.locale):
            return verdict.words()
