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
from core.domain.records import Health, QuickCommand, Receipt
from core.domain.rights import Action
from core.feedback.votes import Press
from core.observability import metrics
from core.people.policy import Policy

T = TypeVar("T")
EARLIER_MESSAGE_CHARACTERS, MAX_CONTEXT_FILES = 500, 10
"""Limits of a turn's context: characters of an earlier message, and the newest files."""
CONTEXT_SECONDS = 10.0
"""Seconds that a turn waits for the messages that its own message quotes, and for earlier ones."""
MAX_EDITED_MESSAGE_AGE_SECONDS = 24 * 3600.0
"""Age up to which a message is answered because an edit adds a mention. An older one may have been
answered, and its row deleted since."""
WAITS_FOR_MENTION = "Several people are here now, so I only answer when you mention me."
THREAD_CUT = (
    "I read only {count} of {total} messages in the thread: its beginning and the newest ones."
)
THREAD_UNREAD = "I couldn't read the earlier messages in this thread, so I answered without them."


def describe_cut(count: int, total: int, locale: str) -> tuple[list[Quote], list[str]]:
    """Return what the model and the person read about a thread of which only `count` of `total`
    messages were read; nothing if all were."""
    if count >= total:
        return [], []
    values = {"count": count, "total": total}
    note = Quote("Ponte", f"[{THREAD_CUT.format(**values)}]", is_note=True)
    return [note], [say(THREAD_CUT, locale, **values)]


class AddressingSettings(Protocol):
    """The operator's settings on which messages of a channel Ponte answers, and where. None means
    the default."""

    @property
    def strict_mention(self) -> bool | None:
        """True if Ponte answers only messages of this channel that mention it."""

    @property
    def answer_everything(self) -> bool | None:
        """True if Ponte answers every message of this channel, except those that mention others and
        not Ponte."""

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
    """Return whether a message is for Ponte, so that it is answered, in a channel with these
    settings. A mention counts more than the settings; a direct message always is for Ponte.

    By default, replies to Ponte's posts are, too, and all messages of a thread with Ponte in which
    only one person writes. A message without its text, or one that got a mention by a late edit,
    is not.
    """
    if facts.is_direct:
        return True
    # Late: the message may have been answered, and its record, which would show that, deleted.
    if facts.is_late_edit or facts.is_withheld:
        return False
    if facts.mentions_us:
        return True
    # Everything but what people write to each other: a mention of others, or a reply in a thread
    # that began with one.
    if settings.answer_everything:
        return not (facts.names_others or facts.is_thread_of_others)
    if settings.strict_mention:  # without a mention, no message is
        return False
    return facts.answers_us or (facts.is_our_thread and not facts.has_several_people)


class ConfiguredPlaces(Protocol):
    """The part of the configuration that has the settings of single channels. It is read for each
    message, because the operator can reload the configuration while Ponte runs."""

    @property
    def channels(self) -> Mapping[str, AddressingSettings]:
        """The settings of single channels, by the channels' names in ponte.toml."""

    def channel(self, address: Address) -> AddressingSettings:
        """Return the settings that apply in the channel of this address."""


def list_answer_all_places(places: ConfiguredPlaces, platform: str) -> Sequence[str]:
    """Return the names of the platform's channels in which Ponte answers every message
    (`answer_everything`), as in ponte.toml. They are worth a note to the operator."""
    return [
        place
        for place, own in places.channels.items()
        if own.answer_everything and place.partition(":")[0] == platform
    ]


@dataclass(slots=True)
class Participants:
    """The people who write in a thread with Ponte: once there are several, Ponte answers only
    mentions there. `people` are their ids. `is_announced`: Ponte has announced that."""

    people: list[str] = field(default_factory=list)
    is_announced: bool = False

    @property
    def several(self) -> bool:
        """True if more than one person writes in the thread."""
        return len(self.people) > 1

    def join(self, *people: str) -> bool:
        """Add these people (ids) to those who write in the thread, and return whether one of them
        was not among them yet."""
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
        """Mark the message at `place` as waiting for its turn, after a pause of `patience` seconds:
        most turns begin earlier, and then need no mark."""
        if task := self.tasks.start(self._mark(turn, place)):
            self._due[turn] = task
            task.add_done_callback(lambda _: self._due.pop(turn, None))

    def mark_stored(
        self, policy: Policy, inbox: Inbox, message: Message, receipt: Receipt, place: str
    ) -> None:
        """Mark a stored message if it waits for other turns of its conversation, or as long as the
        platform has not told who its author is. Otherwise its turn begins at once, and needs no
        mark. `place` is where the platform has the message."""
        if receipt.turns_ahead:
            self.put(receipt.turn, place)
        elif not policy.is_prepared(message.author, message.address):
            self.tasks.start(self._mark_while_unknown(policy, inbox, message, receipt, place))

    def clear(self, turn: str) -> None:
        """Remove the mark of the turn's message because the turn begins, or do not set it if it was
        still to be set."""
        if waiting := self._due.pop(turn, None):
            waiting.cancel()
        if place := self.worn.pop(turn, ""):
            self.on_change()
            self.tasks.start(self.take_off(place))

    def close(self) -> None:
        """Set no further marks: this process stops."""
        for waiting in self._due.values():
            waiting.cancel()

    async def _mark(self, turn: str, place: str) -> None:
        """Mark the message as waiting, after the pause of `patience` seconds. The mark is noted
        before it is set, so that it is removed even if this process dies."""
        await asyncio.sleep(self.patience)
        self.worn[turn] = place
        self.on_change()
        await self.put_on(place)

    async def _mark_while_unknown(
        self, policy: Policy, inbox: Inbox, message: Message, receipt: Receipt, place: str
    ) -> None:
        """Mark a message if the platform has not told within UNKNOWN_MARK_SECONDS who its author
        is, because its turn must wait for that. Remove the mark once the message is answered or
        withdrawn (Forgotten), or the database fails. `place` is where the platform has the message.
        `confirmed=False`: the platform's data of the last day is enough to chat."""
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
    "I can't read {names}, so I answered without. Send fewer files in one message, or files of "
    "another type."
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
    """Downloads the files of messages from one platform and stores them, each of them once: callers
    that ask during a download wait for its result."""

    def __init__(
        self,
        platform: str,
        files: Files,
        download: Read,
        failures: tuple[type[Exception], ...] = (),
        why: Callable[[Exception], str] = repr,
    ) -> None:
        """Prepare for the platform with this name.

        `download` gets a file from the platform. If it raises an error of a type in `failures`, the
        turn goes on without the file, and the log has what `why` returns of the error. Other errors
        are raised.
        """
        self._log = structlog.get_logger(platform)
        self._files = files
        self._read = download
        # PonteError: the file cannot be stored (NotStored), or the platform refuses or is busy.
        self._failures: tuple[type[Exception], ...] = (PonteError, *failures)
        self._why = why
        self._under_way: dict[tuple[str, str], asyncio.Task[File | None]] = {}
        """Downloads that several callers may wait for, by message and file."""

    def begin(self, message: Message) -> None:
        """Start to download all files of a message at once, without waiting for them."""
        for attachment in message.attachments:
            self._task(message, attachment)

    async def fetch(self, message: Message, attachment: Attachment) -> File | None:
        """Download a file of a message, if no download of it is under way, and return it as it is
        stored. Return None if it is too large, refused or deleted. This is the `FetchAttachment` of
        a platform."""
        # Other callers may wait for this download when one of them is cancelled.
        return await asyncio.shield(self._task(message, attachment))

    async def fetch_all(self, message: Message) -> None:
        """Download all files of a message, one after the other."""
        for attachment in message.attachments:
            await self.fetch(message, attachment)

    async def close(self) -> None:
        """Cancel all downloads that are under way, because this process stops."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _task(self, message: Message, attachment: Attachment) -> asyncio.Task[File | None]:
        """Return the task that downloads the file, so that several callers can wait for it. Start
        it if the file is not being downloaded now."""
        key = (message.event_key, attachment.reference)
        task = self._under_way.get(key)
        if task is None:
            task = self._under_way[key] = asyncio.create_task(self._download(message, attachment))
            task.add_done_callback(lambda _: self._under_way.pop(key, None))
        return task

    async def _download(self, message: Message, attachment: Attachment) -> File | None:
        """Download one file and store it. Return None if it is too large, refused, or the download
        fails: the turn then goes on without the file, and says so to the person."""
        if attachment.size > MAX_ATTACHMENT_BYTES:
            self._log.info("file too large to download", file_bytes=attachment.size)
            return None
        try:
            # None: the platform refuses the file. The size of the data is checked, too, because a
            # platform may report a wrong one.
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
    """Return the sentences that tell a person which files of their message the model does not read,
    or not to the end, and which text may be decoded wrongly.

    `files` are those that were downloaded, `missing` the names of the others. `store` has their
    bytes. Raises NotFound.
    """
    # Those that are too large were not downloaded either. They have sentences of their own.
    too_large_files = [large for one in message.attachments if (large := too_large(one))]
    unread_names = [
        name for name in missing if name not in {large.values["name"] for large in too_large_files}
    ]
    sentences = [large.words() for large in too_large_files]
    for file in files:
        # Only text can be in an encoding that is not known, or be cut.
        if file_kind(file.type, file.name) == "text":
            _, data = await store.get(file.id)
            encoding = find_encoding(data)
            if not encoding:  # it is no text, whatever its name says
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
    """Return the sentence that tells a person that the model cannot read the files with these
    names, and which `kinds` of files it can."""
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
    """Counts the events of one platform (messages, clicks) that Ponte could not handle because of
    an exception, since the process started. The status of the platform shows the number."""

    def __init__(self, platform: str) -> None:
        """Begin to count for the platform with this name."""
        self._platform = platform
        self._log = structlog.get_logger(platform)
        self._count = 0
        self._last = ""
        """The type of the last error."""

    def note(self, error: BaseException, event: object) -> None:
        """Log and count an event that Ponte could not handle. `event` is its type, `error` the
        exception that it caused."""
        self._count, self._last = self._count + 1, type(error).__name__
        metrics.failed_events.labels(self._platform).inc()
        self._log.error(
            "event failed", event_type=str(event)[:100], error=self._last, exc_info=error
        )

    def describe(self, health: Health) -> Health:
        """Return the state of the platform with the number of failed events added to its words, if
        there are any."""
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
    """Return the sentence below a form that tells how to change the fields for which the form has
    no room: by a typed command with their names. Return "" if there are none. The names come from a
    table, so `escape` makes them safe on the platform."""
    names = [escape(clip_line(field.key)) for field in fields]
    if len(names) > _MAX_NAMED_FIELDS:
        names[_MAX_NAMED_FIELDS:] = ["…"]
    example = say("FIELD = VALUE")
    words = say(_NOT_IN_FORM, names=", ".join(names), id=form.id, example=example)
    return words if names else ""


def find_new_values(form: ChangeForm, values: Mapping[str, str]) -> dict[str, str]:
    """Return the values of a submitted form that the person has changed, by `FormField.key`. `form`
    has the values that the person saw; `values` are those that came back, by the position of the
    field in the form. They are compared without differences in spaces and line ends (`_normalize`).
    Raise BadInput if none differs, or if the form has no such field."""
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
    """Return a form's value in a shape in which two of them can be compared. Platforms change the
    line ends and the spaces of a text. An empty checkbox counts as not ticked."""
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
    """One use of a command, button or form by a person, and the ways in which its platform lets
    Ponte respond to it."""

    @property
    def limits(self) -> InteractionLimits:
        """The platform's time limits for responses to interactions, such as three seconds."""

    @property
    def person(self) -> Person:
        """Return the person who used the command, button or form."""

    @property
    def address(self) -> Address:
        """The place in which the person used the command, button or form."""

    @property
    def locale(self) -> str:
        """The person's language, as far as it is known now."""

    async def learn_about_person(self) -> None:
        """Store what the interaction itself tells about the person, such as their roles, before
        their rights are checked."""

    async def make_message(self, request: InteractionRequest) -> Message:
        """Return the request as a message of the person, to be stored in the inbox. Raises
        NotStored if a file of it cannot be stored."""

    async def acknowledge(self, receipt: Receipt, request: InteractionRequest) -> bool:
        """Acknowledge the stored interaction. Return False if it is a repeat, or if the platform
        took the acknowledgement too late."""

    async def notify(self, words: str) -> None:
        """Show a sentence to this person only, in place of an acknowledgement of the interaction.
        Raises nothing."""


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
        """Open a form by `show` if the person may chat with Ponte in this place, and return whether
        they see it. Otherwise tell the person why not.

        `show` returns "", or a sentence for the person if the platform does not show the form.
        While their rights are unknown, they get the sentence `limits.without_rights`, or the form
        if that is "".
        """
        words = await self._find_refusal(interaction, "chat", interaction.limits.without_rights)
        words = words or await show()
        if words:
            await interaction.notify(words)
        return not words

    async def submit(self, interaction: ChatInteraction, request: InteractionRequest) -> bool:
        """Store a command, a click or a form as a message, then acknowledge it to the platform,
        which shows the person an error if that comes too late. Return whether both happened in
        time, False also for a repeat. Notify the person if it is refused or not stored."""
        began = asyncio.get_running_loop().time()  # the check of rights uses up a part of the time
        limits, message = interaction.limits, None
        refusal = ""  # the sentence that the person gets; "" if nothing is refused
        if limits.checks_rights_before_storing:  # else only the turn checks them
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
                # The timeout ends only the waiting, so the message may still be stored. The person
                # reads that it does not count, so withdraw it: it must not be answered later.
                self.tasks.start(self.conversations.inbox.amend(message.event_key, None))
            with use_locale(interaction.locale):
                await interaction.notify(NotStored().words())
            return False
        return await interaction.acknowledge(receipt, request)

    async def find_quick_commands(
        self, interaction: ChatInteraction, seconds: float
    ) -> Sequence[QuickCommand]:
        """Return the quick commands that the person may use in the place of the interaction, to be
        offered while they type. Return none if they are not known within `seconds`, after which the
        platform takes no answer."""
        try:
            async with asyncio.timeout(seconds):
                return await self.board.commands(interaction.person, interaction.address)
        except TimeoutError:
            return ()

    async def find_code(
        self, interaction: ChatInteraction, turn: str, post: str, seconds: float
    ) -> Sequence[tuple[File, bytes]] | str:
        """Return the code that a turn ran, as a file and its bytes for each run, after a press of
        the button under the answer. Return a sentence for the person instead if they may not chat
        there, if `post`, where they pressed the button, does not belong to the turn, or if this is
        not known within `seconds`."""
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
        """Store why a person voted against an answer; with `shares`, operators may read the
        question and the answer. Return "", or a sentence for the person if it was not stored: they
        may not chat there, they have no such vote, or it took longer than `seconds`."""
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
        person. `late_sentence` also stands for rights that are not known in time, because nothing
        checks them later, and for a database that does not store (NotStored)."""
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
        """Return the form by which the person changes the values of a proposal. Return a sentence
        for them instead if they may not change it, if it was replaced or decided, or if the form is
        not known within `seconds`.

        `press_id` comes from the pressed button: the change's id and the revision that the card
        shows (`abc234.2`). A button of the first revision has the id alone.
        """
        # Without a revision, `board.find_form` would take the newest one.
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
        """Submit the values that a person changed in the form of `find_form`, as the command
        `change` with these values. Return what `submit` returns. If the form is not valid any more,
        or no value was changed, tell the person and return False.

        `values` are by the position of their field in the form. `seconds` limits the search for the
        form.
        """
        # The form is built once more, to find out which values differ from what it showed.
        form = await self.find_form(interaction, press_id, seconds)
        if isinstance(form, ChangeForm):
            try:
                text = render_change(press_id, find_new_values(form, values))
                return await self.submit(interaction, InteractionRequest(text))
            except BadInput as error:
                with use_locale(interaction.locale):
                    refusal = error.words()
        else:
            refusal = form  # the sentence that `find_form` returns in place of a form
        await interaction.notify(refusal)
        return False

    async def _find_refusal(
        self, interaction: ChatInteraction, action: Action, while_unknown: str = ""
    ) -> str:
        """Return a sentence, in the person's language, that says why they may not do this; "" if
        they may, and `while_unknown` if their rights are not known in time. With "" for that, an
        unknown person passes here, because the turn checks all rights again. A verdict is unknown
        if the platform did not tell what the right depends on. A refusal goes to the audit log,
        since it does not become a message."""
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
