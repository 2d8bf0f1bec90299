"""A platform that nobody has: notes pinned to a cork board. All that Ponte needs of it is here."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from pydantic import ConfigDict, StrictInt

from core.base.errors import Undeliverable
from core.chat.people import Conversations, People
from core.chat.reply import GrowingReply
from core.domain.changes import DisplayName
from core.domain.messages import (
    Address,
    Attachment,
    File,
    Message,
    Person,
    PlaceMessage,
    Quote,
    ReplyTo,
    turn_id,
)
from core.domain.ports import PostJournal, Reply, StatusBoard
from core.domain.records import Health
from core.integrations import (
    ChatIntegration,
    IntegrationDependencies,
    SettingsPart,
    SharedSettings,
    setting,
)
from core.people.rules import PlatformRights
from tests.fakes.recorder import Recorder, RecordingSurface

BoardFile = tuple[str, str, bytes]


@dataclass(frozen=True)
class Note:
    id: str
    author: str
    text: str
    files: Sequence[BoardFile] = ()
    about: str = ""


@dataclass
class CorkBoard:
    """The service: keeps notes, and tells whoever listens of each new one."""

    notes: dict[str, Note] = field(default_factory=dict)
    posts: Recorder = field(default_factory=Recorder)
    listener: Callable[[Note], Coroutine[Any, Any, None]] | None = None
    numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    async def pin(
        self, author: str, text: str, files: Sequence[BoardFile] = (), about: str = ""
    ) -> Note:
        note = Note(f"n{next(self.numbers)}", author, text, files, about)
        self.notes[note.id] = note
        if self.listener:
            await self.listener(note)
        return note

    @property
    def visible_texts(self) -> list[str]:
        return [post.text for post in self.posts.posts if post.visible]


class CorkSettings(SettingsPart):
    cork_name: str | None = setting(None, "what Ponte is called on the cork board: with it, on")


@dataclass(frozen=True, slots=True)
class Section:
    """`limit`: characters of one note."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")
    limit: StrictInt = 200


class CorkAdapter:
    name = "cork"
    find_workspace = None

    def __init__(
        self, board: CorkBoard, called: str, limit: int, conversations: Conversations
    ) -> None:
        self._board, self._called, self._limit, self._conversations = (
            board,
            called,
            limit,
            conversations,
        )

    def reply(self, to: ReplyTo, posts: PostJournal) -> Reply:
        return GrowingReply(RecordingSurface(self._board.posts, to, self._limit), posts, to.turn)

    async def start(self, *, listens: bool = True) -> None:
        self._board.listener = self._hear

    async def health(self) -> Health:
        return Health("cork", "on" if self._board.listener else "failing", "pinned")

    async def stop_intake(self) -> None:
        self._board.listener = None

    async def close(self) -> None:
        self._board.listener = None

    async def _hear(self, note: Note) -> None:
        mention, _, text = note.text.partition(" ")
        if mention != f"@{self._called}":
            return
        key, author = f"cork:{note.id}", Person("cork", note.author, "W1", note.author.title())
        address = Address("cork", "hall", "W1", note.author, is_shared=True)
        context = (Quote("", "", True, note.about),) if note.about else ()
        to = ReplyTo(address, author, note.id, turn_id(key))
        await self._conversations.inbox.accept(
            Message(key, text, author, address, to, context=context)
        )

    async def look_up(self, message: Message, pointed: bool) -> tuple[Message, Sequence[str]]:
        if not pointed or not message.context:
            return replace(message, context=()), ()
        note = self._board.notes[message.context[0].reference]
        files = [
            Attachment(name, type, len(data), reference=f"{note.id} {number}")
            for number, (name, type, data) in enumerate(note.files)
        ]
        text = "".join(f" [file: {file.name}]" for file in files)
        quote = Quote(note.author.title(), note.text + text, True)
        return replace(message, context=(quote,), attachments=tuple(files)), ()

    async def fetch(self, message: Message, attachment: Attachment) -> File | None:
        note, number = attachment.reference.split()
        name, type, data = self._board.notes[note].files[int(number)]
        return await self._conversations.files.put(
            message.event_key, name, type, data, message.author, message.address.conversation
        )

    async def membership(self, person: Person, max_age: float) -> frozenset[str]:
        return frozenset()

    async def guest(self, person: Person, max_age: float) -> bool | None:
        return False

    async def has_left(self, person: Person, address: Address, since: float) -> bool | None:
        return False

    async def forget(self, ids: frozenset[str]) -> None:
        return None

    async def members(self, names: Collection[str]) -> Sequence[Person]:
        return [Person("cork", name.partition(":")[2], "W1") for name in names]

    async def can_read(self, person: Person, address: Address) -> bool:
        return True

    async def link_to(self, address: Address, post: str) -> str:
        return ""

    async def is_public(self, address: Address) -> bool:
        return True

    async def may_have_outsiders(self, address: Address) -> bool:
        return False

    async def can_write(
        self, person: Person | None, address: Address, *, afresh: bool = False
    ) -> bool:
        return True

    async def can_write_to(self, person: Person, other: Person, address: Address) -> bool:
        return True

    async def read_messages(
        self, to: ReplyTo, since: float, most: int, after: str = ""
    ) -> tuple[Sequence[PlaceMessage], bool]:
        return (), False

    async def labels(self, names: Collection[str]) -> Mapping[str, DisplayName]:
        return {name: DisplayName(name.partition(":")[2].title()) for name in names}

    async def title(self, address: Address) -> str:
        return "the hall"

    async def open_direct_message(self, person: Person) -> tuple[ReplyTo, str]:
        raise Undeliverable(reason="a board has no letters")

    def destination_in(self, address: Address, person: Person) -> ReplyTo:
        return ReplyTo(address, person, "", "")

    def destination_after(self, to: ReplyTo, post: str = "") -> ReplyTo:
        return to

    def surface(self, to: ReplyTo) -> RecordingSurface:
        return RecordingSurface(self._board.posts, to, self._limit)

    async def find_post(self, to: ReplyTo, key: str, text: str) -> None:
        return None

    async def http(
        self, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, Mapping[str, str], bytes]:
        return 204, {}, b""


class Cork(ChatIntegration[CorkSettings]):
    name = "cork"
    settings = CorkSettings
    section = Section
    ids = "[a-z]+"
    rights = PlatformRights(frozenset({"chat", "read"}))

    def __init__(self, board: CorkBoard) -> None:
        self.board = board

    def summary(self, own: CorkSettings, shared: SharedSettings) -> Health:
        if own.cork_name:
            return Health("cork", "on", f"as @{own.cork_name}")
        return Health("cork", "off", "set CORK_NAME")

    async def build(
        self,
        deps: IntegrationDependencies[CorkSettings],
        conversations: Conversations,
        people: People,
        board: StatusBoard,
    ) -> CorkAdapter:
        limit = deps.config.section("cork").limit
        return CorkAdapter(self.board, deps.own.cork_name or "", limit, conversations)
