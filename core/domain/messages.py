"""Messages and answers as plain frozen data that can be stored as JSON, and the text of attached
files.

Decoding checks the types of all values. A row that a newer version wrote therefore fails completely
instead of loading in part.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

from pydantic import TypeAdapter
from pydantic_core import PydanticSerializationError

from core.base.errors import TooLarge, Unstorable
from core.base.file_text import UNSURE_ENCODING as UNSURE_ENCODING
from core.base.file_text import decode_text
from core.base.file_text import find_encoding as find_encoding
from core.base.i18n import format_size
from core.base.json_text import is_deeper, make_storable
from core.base.markdown import escape_markdown
from core.base.splitting import make_code_block
from core.base.text import clean_text, safe_file_name, truncate_with_note
from core.base.trust import Trust
from core.domain.rows import Placed

T = TypeVar("T")
CONTEXT_NAME, NOTE_NAME = "context", "note"
"""Names of transcript items that the asker did not write: `CONTEXT_NAME` for texts of others around
a message, `NOTE_NAME` for Ponte's notes about changes."""
ONE_REQUEST_PREFIX = "one-request--"
"""The prefix of a channel that belongs to a single request. Such channels are in no list and are
forgotten after a day."""
MAX_STORED_JSON_DEPTH = 100
"""The deepest nesting of stored JSON. pydantic reads at most 200 levels but writes more, so a
deeper value could be stored and not be read again."""
_adapter_of: Callable[[Any], TypeAdapter[Any]] = functools.cache(TypeAdapter)

CardKind = Literal["proposal", "change"]
ChangeAction = Literal["approve", "change", "deny", "undo", "reason", "again"]
Status = Literal["done", "stopped", "failed"]


@dataclass(frozen=True)
class Person:
    """`id` is the platform's own id. `is_bot`: the author is another program, which may chat but
    cannot decide on changes. `api_token`: the id of the token with which a program acts for the
    person."""

    platform: str
    id: str
    workspace: str = ""
    name: str = ""
    is_bot: bool = False
    api_token: str = ""

    @functools.cached_property
    def key(self) -> str:
        return ":".join(filter(None, (self.platform, self.workspace, self.id)))

    @property
    def label(self) -> str:
        return self.name or self.id


@dataclass(frozen=True)
class Address:
    """An address does not change after the message is accepted.

    `person` is set only where a conversation belongs to one person in a channel: in a shared
    Discord channel without a thread, or a person's own conversation on the page. `is_shared`: more
    than one person reads this place.
    """

    platform: str
    channel: str
    workspace: str = ""
    thread: str = ""
    person: str = ""
    is_shared: bool = False

    @functools.cached_property
    def conversation(self) -> str:
        """The turns of a conversation run one after the other, and the model remembers what was
        said within it."""
        person = f"@{self.person}" if self.person else ""
        parts = (self.platform, self.workspace, self.channel, self.thread, person)
        return ":".join(filter(None, parts))

    @functools.cached_property
    def channel_key(self) -> str:
        return ":".join(filter(None, (self.platform, self.workspace, self.channel)))

    def is_same_channel(self, other: Address) -> bool:
        """Return whether the same people read both places, so that what one of them shows may be
        shown in the other. The thread does not matter: all threads of a channel have its readers.
        In a channel that is not shared, each person has a conversation of their own."""
        same = (self.platform, self.workspace, self.channel) == (
            other.platform,
            other.workspace,
            other.channel,
        )
        return same and (self.is_shared or self.person == other.person)


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that came with a message; `size` is in bytes.

    `file` is its id in `Files` once its bytes are stored. Until then, `reference` is what the
    platform needs to download it. The reference may contain a secret and is never shown to a model.
    `seconds`: the length of a voice message of the author, 0 if it is not known; None for any other
    file, and for recordings of others.
    """

    name: str
    type: str
    size: int
    file: str = ""
    reference: str = ""
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class PlaceMessage:
    """An earlier message of a channel, as a chat platform returns it, with its author's display
    name. `id` is the platform's."""

    sent_at: float
    author: str
    text: str
    id: str = ""
    is_own: bool = False


@dataclass(frozen=True, slots=True)
class Reading:
    """Marks a text with `count` messages of other people that nobody sent to Ponte: it read them at
    `place` for the person with the name `asker`, and keeps them for a day."""

    asker: str
    count: int
    place: Address


@dataclass(frozen=True, slots=True)
class Quote:
    """A text around a person's message that they did not write for it: an earlier message of the
    thread, or the message that they reply to. The model reads it as context, never as an
    instruction.

    `is_replied_to`: the message is a reply to it. `reference`: where the platform has the full
    text, to be loaded when the turn starts. `is_note`: the text is not by a person but a note by
    the adapter.
    """

    name: str
    text: str
    is_replied_to: bool = False
    reference: str = ""
    is_note: bool = False
    place: Address | None = None
    """The channel of a linked message."""


@dataclass(frozen=True, slots=True)
class MessageOrigin:
    """The origin of a message, and what follows from it wherever the message is handled. The origin
    is stored with the message, and with each change that the message's turn proposes.

    - `name`: the origin that decides about the turn (`core.turn.origins`).
    - `id`: the schedule, the webhook, or the token and arguments of a request over MCP; else "".
    - `may_be_command`: the text can be a command. Clicks always are one.
    - `is_authored`: a person typed the text for this message, so its addresses may be links. A
      model wrote that of a schedule; that of a pipe, a file, a program or a webhook can come from
      anybody.
    - `is_attended`: somebody waits for the answer. Otherwise a person approves each change.
    - `reads_history`: the turn reads earlier messages of its conversation.
    - `is_by_person`: the author is an account. A webhook is its own author, and nobody can approve
      in its name.
    - `per_minute`: the most messages of its author that are stored in a minute; 0 for the limits
      that hold for people.
    - `data`: what the origin itself stores with the message.
    - `client`: the name that the program behind the message gives itself; "" for none.
    """

    name: str = "person"
    id: str = ""
    may_be_command: bool = True
    is_authored: bool = True
    reads_history: bool = True
    is_by_person: bool = True
    is_attended: bool = True
    per_minute: int = 0
    # Not hashed: pydantic copies a default that it cannot hash at each decoding.
    data: dict[str, Any] = field(default_factory=dict, hash=False)
    client: str = ""


PERSON = MessageOrigin()
PROGRAM = MessageOrigin("program", may_be_command=False, is_authored=False)
"""A pipe, a file, an API token or another bot: its text is never a command."""
CHOICE = MessageOrigin("choice", may_be_command=False, is_authored=False)
"""A person chose an answer to a `Question`. A model wrote it, and a table's cell may have told it
what to write, so it has nothing of the person's authority."""


@dataclass(frozen=True, slots=True)
class ReplyTo:
    """Everything that a Reply needs. It is stored with the message, so that any process can answer.

    `source` is the platform's id of the message to answer. `token` is a secret that expires at
    `token_expires_at` (seconds since the epoch). Only the adapter interprets it, and it is erased
    after use.
    """

    address: Address
    asker: Person
    source: str
    turn: str
    token: str = ""
    token_expires_at: float = 0.0


@dataclass(frozen=True, slots=True)
class AskedIn:
    """The channel in which a person asked something for themselves alone. `name` is as in `#sales`;
    "" if the platform does not tell it."""

    address: Address
    name: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    """A person's message, or the command that their click represents (`is_click`). `sent_at` is
    in seconds since the epoch. `locale` and `time_zone` are "" if the platform does not report
    them."""

    event_key: str
    text: str
    author: Person
    address: Address
    reply_to: ReplyTo
    attachments: tuple[Attachment, ...] = ()
    context: tuple[Quote, ...] = ()
    locale: str = ""
    time_zone: str = ""
    sent_at: float = 0.0
    is_click: bool = False
    replaced_turn: str = ""
    """The id of the turn that this message asks again, with the same or other words; "" for
    none."""
    program_context: tuple[Quote, ...] = ()
    """Texts that the asker's own program sends with the message, by role: earlier messages as the
    program stores them, and its instructions. They have the asker's authority and are not verified.
    """
    model: str = ""
    """The model that the person chose, if a rule lets them; "" for the model of the place."""
    origin: MessageOrigin = PERSON
    is_answer_linkified: bool = True
    """True if the display of the answer turns addresses into links. A pipe and a file do not."""
    has_conversation_title: bool = False
    """True if the conversation is listed with a title, which the model may suggest."""
    mentions: tuple[tuple[str, str], ...] = ()
    """The people and channels that the author mentions: the words in `text`, as in `@Ana` or
    `#sales`, and the platform's id."""
    asked_in: AskedIn | None = None

    @property
    def may_be_command(self) -> bool:
        """True if a person typed or clicked it, or it is a command that runs on a schedule."""
        return self.is_click or (self.origin.may_be_command and not self.author.is_bot)

    @property
    def turn(self) -> str:
        return self.reply_to.turn


_RUN_CODE_NAME = re.compile(r"code-[0-9a-f]{6}\.py")


@dataclass(frozen=True, slots=True)
class File:
    """`id` is its id in `Files`, which has the bytes; `size` is in bytes. `outline`: the beginning
    of a long table, which the model reads in place of all its rows; "" for any other file."""

    id: str
    name: str
    type: str
    size: int
    outline: str = ""

    @property
    def is_run_code(self) -> bool:
        return _RUN_CODE_NAME.fullmatch(self.name) is not None


def name_run_code(digest: str) -> str:
    """`digest` is the hash of the code, so that each code has a name of its own."""
    return f"code-{digest[:6]}.py"


def make_press_id(id: str, revision: int) -> str:
    """Return the id that a button of a card or form carries: that of the change, with the revision
    that people saw (`abc234.2`), so that an approval counts for what they saw."""
    return id if revision == 1 else f"{id}.{revision}"


MAX_CARD_RESULT_CHARACTERS, SHOWN_RESULT_CHARACTERS = 20_000, 1_500


@dataclass(frozen=True, slots=True)
class Card:
    """A proposed or applied change as people see it, with its buttons (`actions`), built from
    stored data. Each of `rows` has the keys "before" and "after"."""

    id: str
    kind: CardKind
    title: str
    text: str
    rows: tuple[dict[str, Any], ...] = ()
    actions: tuple[ChangeAction, ...] = ()
    state: str = "open"
    expires_at: float | None = None
    is_whole: bool = False
    """True if people must see all of `text` and `rows` before they approve it. A platform that has
    to cut them shows no button to approve."""
    revision: int = 1
    seq: int = 0
    """The turn that proposed it. Open cards of one turn can be approved together."""
    decided_at: float | None = None
    """The moment of the decision, or of the undo, in Unix seconds."""
    result: str = ""
    """What a call or a quick command returned, where the answer to the decision does not tell it:
    at most MAX_CARD_RESULT_CHARACTERS."""
    label: str = ""
    """What the button to approve does (`Kind.name_deed`); "" for *Approve*."""
    has_plan: bool = False
    """True if `rows` are samples of what is written, and the whole is a file."""

    @property
    def text_with_result(self) -> str:
        # On Slack and Discord, three backticks end the block, also one that began with four.
        result = self.result.replace("```", "'''")
        excerpt = truncate_with_note(result, SHOWN_RESULT_CHARACTERS)
        return f"{self.text}\n\n{make_code_block(excerpt)}" if excerpt else self.text

    @property
    def press_id(self) -> str:
        return make_press_id(self.id, self.revision)


@dataclass(frozen=True, slots=True)
class Question:
    """A question of the model, which ends its answer, with the labels of buttons that answer it.

    `number` counts the questions to one person in a row, from 1.
    """

    text: str
    choices: tuple[str, ...]
    number: int = 1
    is_open: bool = True

    @property
    def lines(self) -> str:
        labels = map(escape_markdown, self.choices)
        return "\n".join(f"{number}. {label}" for number, label in enumerate(labels, 1))


@dataclass(frozen=True, slots=True)
class Answer:
    """`parts` is `text` split for its platform, one part for each post.

    `is_private`: the platform should show it only to the asker, if it can. `code` is the code of
    the error if `status` is "failed". `has_own_post`: post the text of a decision in the
    conversation, because it contains more than the card does.
    """

    text: str
    status: Status = "done"
    parts: tuple[str, ...] = ()
    cards: tuple[Card, ...] = ()
    files: tuple[File, ...] = ()
    code: str = ""
    is_private: bool = False
    has_own_post: bool = False
    is_cut: bool = False
    """True if the answer ends early: at the limit of tokens, or because an allowance is used up."""
    placed: tuple[Placed, ...] = ()
    is_rateable: bool = False
    """True for a finished text of the model to somebody who waits for it: people can vote on it."""
    can_run_again: bool = False
    """Queries of tables alone made what it shows."""
    share_place: str = ""
    """The name of the channel in which the asker can have a private answer posted."""
    card_sentence: str = ""
    """Says that `cards` wait, for readers of `text_without_cards`."""
    is_told_elsewhere: bool = False
    """Another answer in the conversation says it, so chat platforms and the page show no post."""
    mentions_asker: bool = False
    """True where chat platforms notify the asker, and nobody else."""
    question: Question | None = None

    @property
    def choices(self) -> tuple[str, ...]:
        return self.question.choices if self.question and self.question.is_open else ()

    @property
    def text_without_cards(self) -> str:
        lines = self.question.lines if self.question and self.question.is_open else ""
        lines = "" if lines in self.text else lines
        return "\n\n".join(filter(None, [self.text, self.card_sentence, lines]))

    def close_question(self, reply: str = "") -> Answer:
        """Return the answer without buttons of its question, and with `reply` below the text if it
        is one of the choices."""
        question = self.question
        if not (question and question.is_open):
            return self
        mark = f"\n\n✓ {escape_markdown(reply)}" if reply in question.choices else ""
        return replace(
            self,
            text=self.text + mark,
            parts=(*self.parts[:-1], self.parts[-1] + mark),
            question=replace(question, is_open=False),
        )

    @property
    def has_run_code(self) -> bool:
        return any(file.is_run_code for file in self.files)

    def with_notes(self, sentences: Sequence[str]) -> Answer:
        notes = [f"_{sentence}_" for sentence in sentences]
        return replace(self, text="\n\n".join(filter(None, [self.text, *notes])))


@dataclass(frozen=True, slots=True)
class Progress:
    """`trust`: the links that may work in the text; None if links need no check. `placed`: the rows
    and charts in the text."""

    text: str = ""
    current_step: str = ""
    trust: Trust | None = None
    placed: tuple[Placed, ...] = ()


@dataclass(frozen=True, slots=True)
class Post:
    """One post of an answer on its platform. Ponte stores `key`, its own id of the post, before the
    call that makes the post, and `id`, the platform's, after it. So after a crash it can look
    whether the post exists."""

    number: int
    key: str
    id: str = ""
    state: Literal["posting", "posted", "removed"] = "posting"


@dataclass(frozen=True, slots=True)
class Item:
    """One item of a transcript, which the model reads: a message, a tool call or its output.

    - `message`: `role`, `text`, `files` by id, and the author's `name`.
    - `call`: `call_id` (Ponte's own), `name`, and `arguments` (JSON text as the model wrote it).
    - `output`: `call_id`, `text`, and `files`: those for the person, or with `shows_files` those
      that the model reads.
    - `opaque`: an item of a model's server (such as reasoning).

    `raw` holds what the model's server sent with the item in a form of its own. It is given back to
    that server, to no other one, and shown to nobody, except `sources`. Its keys:

    - `host`: the name of that server.
    - `id`: the server's id of a call.
    - `item`: an opaque item.
    - `message`, `call`, `phase`: fields that the server wants back, which may be the model's
      thoughts.
    - `sources`: addresses and titles that an answer names outside its text, for the reader.
    """

    kind: Literal["message", "call", "output", "opaque"]
    role: Literal["user", "assistant", ""] = ""
    text: str = ""
    call_id: str = ""
    name: str = ""
    arguments: str = ""
    files: tuple[File, ...] = ()
    raw: dict[str, Any] = field(default_factory=dict)
    is_authored: bool = False
    """True if it is the text of a message whose author wrote it (`MessageOrigin.is_authored`)."""
    spoken: str = ""
    shows_files: bool = False
    reading: Reading | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """The tokens of an answer, as the server counted them. `cost` is in US dollars; None if
    unknown."""

    input: int = 0
    cached: int = 0
    output: int = 0
    reasoning: int = 0
    cost: float | None = None
    cache_writes: int = 0
    is_estimated: bool = False
    """The server reported no counts, or impossible ones. The values are upper bounds, and the
    reserved amount is charged."""


def turn_id(event_key: str) -> str:
    """A hash of the event key, so it is known before the message is accepted."""
    return base64.b32encode(hashlib.sha256(event_key.encode()).digest()[:10]).decode().lower()


def encode_json(value: object) -> str:
    """Fields with their default value are left out. UTF-8 can encode the text and `decode_json` can
    read it: half of a surrogate pair, which a model or a tool may send, is replaced. Raise
    Unstorable for values that JSON cannot hold or that are nested too deeply."""
    adapter = _adapter_of(type(value))  # pydantic's (de)serializer of that class, kept per class
    try:
        encoded = adapter.dump_json(value, exclude_defaults=True)
    # Half of a surrogate pair is rare, and the repair copies the value, so it is done only here.
    except PydanticSerializationError:
        try:
            encoded = adapter.dump_json(make_storable(value), exclude_defaults=True)
        except (PydanticSerializationError, RecursionError):
            raise Unstorable from None
    # Counting brackets is cheap, so the depth is determined only where it can be too large.
    if encoded.count(b"[") + encoded.count(b"{") > MAX_STORED_JSON_DEPTH and is_deeper(
        encoded, MAX_STORED_JSON_DEPTH
    ):
        raise Unstorable
    return encoded.decode()


def decode_json(kind: type[T], text: str | bytes) -> T:
    """Raise pydantic.ValidationError for anything else."""
    value: T = _adapter_of(kind).validate_json(text)
    return value


def prepare_codecs(*kinds: type) -> None:
    """Building a type's pydantic adapter takes tens of milliseconds."""
    for kind in kinds:
        _adapter_of(kind)


_QUOTE = re.compile(r"> (?:'[^'\n]*'|\"[^\"\n]*\"): ")


def render_quote(quote: Quote) -> str:
    """`>` stands before each line, so that no line of the quote looks like the asker's own text."""
    return "\n".join(
        f"> {line}" for line in f"{quote.name!r}: {clean_text(quote.text)}".splitlines()
    )


def remove_quotes_of(context: str, names: Collection[str]) -> str:
    """Return the text of a context item without the quotes of people with these names, for example
    because these people had their data erased. A quote has the form that `render_quote` writes: it
    begins with `> 'NAME': `, and all its lines with `>`."""
    lines_now, left_out = list[str](), False
    begins = tuple(f"> {name!r}: " for name in names)
    for line in context.split("\n"):
        if _QUOTE.match(line):
            left_out = line.startswith(begins)
        if not (left_out and line.startswith(">")):
            lines_now.append(line)
    return "\n".join(lines_now)


MAX_ATTACHMENT_BYTES = 20 * 1024 * 1024
"""The largest file that Ponte takes: a request to a model holds no more
(`core.models.model_input`)."""
FILE_TOO_LARGE = "`{name}` ({size}) is too large. I accept files of up to {limit}."
MAX_FILE_TEXT_CHARACTERS = 100_000
_TEXT_TYPES = ("application/json", "application/xml", "application/x-yaml", "application/yaml",
          "application/toml", "application/javascript", "application/sql",
          "application/csv", "application/x-csv")  # fmt: skip
# Browsers on a machine with Excel report a .csv file as application/vnd.ms-excel
# (https://developer.mozilla.org/en-US/docs/Web/HTTP/Guides/MIME_types/Common_types).
_UNSPECIFIC_TYPES = ("", "application/octet-stream", "application/vnd.ms-excel")
_TEXT_SUFFIXES = (".csv", ".tsv", ".md", ".txt", ".json", ".yaml", ".yml", ".log", ".py", ".sql")
_AUDIO_SUFFIXES = (".ogg", ".oga", ".opus", ".wav", ".m4a", ".mp3", ".flac")
DOCUMENT_TYPE = "application/pdf"
_SIGNATURES = {
    "image/png": rb"\x89PNG\r\n", "image/jpeg": rb"\xff\xd8\xff", "image/webp": rb"RIFF....WEBP",
    "image/gif": rb"GIF8", DOCUMENT_TYPE: rb".{0,1024}%PDF",
}  # fmt: skip
"""How the bytes of pictures and documents begin that models accept (developers.openai.com, Images
and vision)."""


def too_large(attachment: Attachment) -> TooLarge | None:
    # One with an id in `file` is stored already, so it was accepted.
    if attachment.size <= MAX_ATTACHMENT_BYTES or attachment.file:
        return None
    name, size = safe_file_name(attachment.name), format_size(attachment.size)
    return TooLarge(FILE_TOO_LARGE, name=name, size=size, limit=format_size(MAX_ATTACHMENT_BYTES))


def mark_recording(file: Attachment, seconds: float | None = None) -> Attachment:
    """A model's server then writes down its words. A length that is not known is 0."""
    is_audio = file.type.lower().startswith("audio/") or file.name.lower().endswith(_AUDIO_SUFFIXES)
    return replace(file, seconds=seconds or 0.0) if is_audio or seconds is not None else file


def is_text(kind: str, name: str) -> bool:
    """`kind` is the type in lower case, without parameters. Some browsers report no useful type, so
    that the name decides."""
    plain = kind in _UNSPECIFIC_TYPES and name.lower().endswith(_TEXT_SUFFIXES)
    return (
        plain or kind.startswith("text/") or kind in _TEXT_TYPES or kind.endswith(("+json", "+xml"))
    )


def file_kind(type: str, name: str) -> str:
    """Return `text`, `picture`, `pdf`, or "" for any other content, which no model reads."""
    kind = type.split(";")[0].strip().lower()
    if kind == DOCUMENT_TYPE:
        return "pdf"
    return "picture" if kind in _SIGNATURES else "text" if is_text(kind, name) else ""


def find_type(data: bytes) -> str:
    """Return the media type of a picture or document by its bytes: a phone's HEIC may be called
    IMG_1.jpg."""
    found = (type for type, start in _SIGNATURES.items() if re.match(start, data, re.DOTALL))
    return next(found, "")


def decode_file_text(data: bytes) -> str:
    """`data` may end in the middle of a character.

    A longer text is cut to one character more than a model reads, which shows that it is longer.
    """
    most = MAX_FILE_TEXT_CHARACTERS + 1
    # The supported encodings use at most four bytes for a character.
    return decode_text(data[: 4 * most], find_encoding(data), is_whole=False).text[:most]
