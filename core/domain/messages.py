"""What people say and what they are answered: plain frozen data, JSON both ways.

`encode` and `decode` turn any of these into JSON text and back; what they read is checked
against the types, so a row written by a newer version fails loudly instead of half-loading.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from pydantic import TypeAdapter
from pydantic_core import PydanticSerializationError

from core.domain.errors import Unstorable
from core.text.markdown import Trust
from core.text.text import is_deeper, make_storable

T = TypeVar("T")
CONTEXT_NAME, NOTE_NAME = "context", "note"
"""Under these names a transcript holds what its asker did not say: others' words around a message,
and what Ponte tells of changes."""
ONE_REQUEST_PREFIX = "once--"
"""A channel whose name begins so is one request's: in no list, and forgotten after a day."""
MAX_STORED_JSON_DEPTH = 100
"""How deep stored JSON is nested, at most: pydantic reads 200 levels, and would write some more."""
_ADAPTERS: dict[object, TypeAdapter[Any]] = {}

CardKind = Literal["proposal", "change"]
CardAction = Literal["approve", "deny", "undo"]
Status = Literal["done", "stopped", "failed"]


@dataclass(frozen=True, slots=True)
class Person:
    """Who said it. `id` is the platform's own; `key` is unique over all platforms. `robot`: another
    program, which may talk and decides nothing."""

    platform: str
    id: str
    workspace: str = ""
    name: str = ""
    robot: bool = False

    @property
    def key(self) -> str:
        return _join(self.platform, self.workspace, self.id)


@dataclass(frozen=True, slots=True)
class Address:
    """Where it was said. Final before the message is accepted.

    `person` is set only where the conversation is (channel, person): a shared Discord channel
    without a thread, or a person's own on the page. `shared` says that more than one person reads
    this place.
    """

    platform: str
    channel: str
    workspace: str = ""
    thread: str = ""
    person: str = ""
    shared: bool = False

    @property
    def conversation(self) -> str:
        """The key that turns are ordered by and that memory belongs to."""
        person = f"@{self.person}" if self.person else ""
        return _join(self.platform, self.workspace, self.channel, self.thread, person)

    @property
    def channel_key(self) -> str:
        """The key of the channel, whatever the thread or person."""
        return _join(self.platform, self.workspace, self.channel)

    def is_same_channel(self, other: Address) -> bool:
        """Whether the same people read it, whatever the thread."""
        same = (self.platform, self.workspace, self.channel) == (
            other.platform, other.workspace, other.channel
        )  # fmt: skip
        return same and (self.shared or self.person == other.person)


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that came with a message: `size` in bytes.

    `file` is its id in `Files` once the bytes are there; until then `reference` is what the
    platform needs to fetch it (it may hold a secret and is never shown to a model).
    """

    name: str
    type: str
    size: int
    file: str = ""
    reference: str = ""


@dataclass(frozen=True, slots=True)
class Quote:
    """What somebody else said around the message: context for the model, never an order.

    `replied`: the message is a reply to it. `reference`: where its platform has the whole of it,
    to be read when the turn starts. `ours`: nobody said it; the adapter tells what it knows.
    """

    name: str
    text: str
    replied: bool = False
    reference: str = ""
    ours: bool = False


@dataclass(frozen=True, slots=True)
class ReplyTo:
    """All that a Reply needs, stored with the message, so that any process can build one.

    `source` is the platform's id of the message that is answered. `token` is short-lived
    (`token_expires`, seconds since the epoch), opaque to the core, a secret: erased when done.
    """

    address: Address
    asker: Person
    source: str
    turn: str
    token: str = ""
    token_expires: float = 0.0


@dataclass(frozen=True, slots=True)
class Message:
    """What a person said, or the command that their click stands for (`clicked`).

    `sent_at` is in seconds since the epoch; `locale` and `time_zone` are empty where the
    platform does not tell.
    """

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
    clicked: bool = False
    replaces: str = ""
    """The turn that is asked again by this one, in the same words or in others."""
    brought: tuple[Quote, ...] = ()
    """What the asker's own program sends along, by role: earlier messages as it keeps them, and
    its wishes. It has the asker's authority, and nobody vouches for it."""
    model: str = ""
    """Which model they ask for, where a rule lets them choose; "" for the place's."""
    linked: bool = True
    """Whether what shows the answer makes links of addresses; a pipe and a file do not."""

    @property
    def turn(self) -> str:
        return self.reply_to.turn


@dataclass(frozen=True, slots=True)
class File:
    """A file that Ponte keeps: `id` finds it in `Files`, `size` in bytes."""

    id: str
    name: str
    type: str
    size: int


@dataclass(frozen=True, slots=True)
class Card:
    """What a person decides on, rendered from the ledger. `rows` hold {"before", "after"}."""

    id: str
    kind: CardKind
    title: str
    text: str
    rows: tuple[dict[str, Any], ...] = ()
    actions: tuple[CardAction, ...] = ()
    state: str = "open"
    expires_at: float | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What a turn ends in. `parts` is `text` as split for its platform, one post each.

    `private` asks the platform to show it to the asker alone, where it can. `code` is the
    error's code when `status` is "failed". `aloud`: a decision's text that belongs to the
    conversation, because it says more than the card that was decided on.
    """

    text: str
    status: Status = "done"
    parts: tuple[str, ...] = ()
    cards: tuple[Card, ...] = ()
    files: tuple[File, ...] = ()
    code: str = ""
    private: bool = False
    aloud: bool = False


@dataclass(frozen=True, slots=True)
class Progress:
    """What a person may see while it works: `text` so far, and what is being done (`doing`).

    `trust` says where links in its parts may lead, where that is not left to the text itself.
    """

    text: str = ""
    doing: str = ""
    trust: Trust | None = None


@dataclass(frozen=True, slots=True)
class Post:
    """One post of an answer. `key` was journalled before the call, `id` after it."""

    number: int
    key: str
    id: str = ""
    state: Literal["posting", "posted", "removed"] = "posting"


@dataclass(frozen=True, slots=True)
class Item:
    """One thing in a transcript, in the field's terms.

    `message`: `role` and `text` (`files` by id, `name` of the speaker). `call`: `call_id`,
    `name`, `arguments` (JSON text as the model wrote it). `output`: `call_id` and `text`.
    `opaque`: `raw` is a server's own item (reasoning), replayed only to the server it is from.
    """

    kind: Literal["message", "call", "output", "opaque"]
    role: Literal["user", "assistant", ""] = ""
    text: str = ""
    call_id: str = ""
    name: str = ""
    arguments: str = ""
    files: tuple[File, ...] = ()
    raw: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one model call, as the server counted them; `cost` in US dollars, None unknown."""

    input: int = 0
    cached: int = 0
    output: int = 0
    reasoning: int = 0
    cost: float | None = None
    written: int = 0
    """Input tokens that were written to the server's cache."""
    estimated: bool = False
    """The server did not count, or counted what cannot be: these are the most that it can have
    been, and what was reserved is charged."""


def turn_id(event_key: str) -> str:
    """The turn's name in logs, posts and URLs: 16 characters of base32, known before `accept`."""
    digest = hashlib.sha256(event_key.encode()).digest()[:10]
    return base64.b32encode(digest).decode().lower()


def encode_json(value: object) -> str:
    """Return the JSON text of a dataclass, always one that UTF-8 can hold and `decode` can read.
    Raises Unstorable for what is no JSON, or nested too deeply."""
    adapter = _adapter_of(type(value))
    try:
        encoded = adapter.dump_json(value, exclude_defaults=True)
    except PydanticSerializationError:  # half of a surrogate pair: rare, and costs a copy
        try:
            encoded = adapter.dump_json(make_storable(value), exclude_defaults=True)
        except (PydanticSerializationError, RecursionError):
            raise Unstorable from None
    if encoded.count(b"[") + encoded.count(b"{") > MAX_STORED_JSON_DEPTH and is_deeper(
        encoded, MAX_STORED_JSON_DEPTH
    ):
        raise Unstorable
    return encoded.decode()


def decode_json(kind: type[T], text: str | bytes) -> T:
    """The value that `encode` wrote; raises pydantic.ValidationError on anything else."""
    value: T = _adapter_of(kind).validate_json(text)
    return value


def prepare_codecs(*kinds: type) -> None:
    """Build what `encode` and `decode` need for these, tens of milliseconds, ahead of use."""
    for kind in kinds:
        _adapter_of(kind)


def _adapter_of(kind: Any) -> TypeAdapter[Any]:
    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]


def _join(*parts: str) -> str:
    return ":".join(part for part in parts if part)
