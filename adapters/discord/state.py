"""State that the adapter keeps across restarts: channels, threads, people, and the tokens that
allow the answer to a command or click.

It is stored as one row of JSON. If the changes of the last second are lost, some history is read
twice; no message or answer is lost.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, cast

import discord
from discord.utils import DEFAULT_FILE_SIZE_LIMIT_BYTES
from pydantic import TypeAdapter

from adapters.discord import DISCORD_STATE_NAME
from adapters.discord.client import Interaction, TokenOver
from core.chat.incoming import Participants
from core.journal.jobs import Alone, Peers
from core.store.remembered import remove_ids

MAX_REMEMBERED, MAX_REMEMBERED_FORMS = 2000, 100
"""How many entries of each kind are kept, and how many files for open forms. The oldest are
dropped."""
ALIAS_SECONDS = 24 * 3600.0
"""So long, the id of a thread that could not be created names the person's conversation."""


@dataclass(slots=True)
class SeenChannel:
    """A channel in which Ponte was addressed.

    `last_message` is the id of the last message that was processed there, `updated_at` the time of
    that in seconds since the epoch.
    """

    last_message: int
    guild: int = 0
    updated_at: float = 0.0


@dataclass(slots=True)
class ThreadState(Participants):
    """The participants of a thread. `last_message` is the id of the last message that the
    conversation knows, `previous_message` its previous value."""

    last_message: int = 0
    previous_message: int = 0

    def hear(self, message: int) -> int:
        """Note that the conversation knows the thread up to `message`. Return the id up to which it
        knew it before, 0 for nothing. A repeated call returns the same, because a turn may run
        again after a crash."""
        if message > self.last_message:
            self.previous_message, self.last_message = self.last_message, message
        return self.previous_message


SHARE_AFTER_SECONDS = 0.2
"""So long, a process that does not lead collects changes before it stores them for the leader."""


@dataclass
class StoredState:
    """The part of the state that survives a restart, as JSON."""

    commands: str = ""
    """Hash of the registered slash commands."""
    channels: dict[int, SeenChannel] = field(default_factory=dict)
    """Channel id → the last message processed there."""
    parents: dict[int, int] = field(default_factory=dict)
    """Thread id → id of its parent channel; 0 for a channel that is not a thread."""
    threads: dict[int, ThreadState] = field(default_factory=dict)
    aliases: dict[str, tuple[int, float]] = field(default_factory=dict)
    """`channel:person` → id of a thread that could not be created, and when."""
    hint_times: dict[str, float] = field(default_factory=dict)
    """Key of a hint → when it was given last."""
    hourglasses: dict[str, str] = field(default_factory=dict)
    """Turn → the message that has an hourglass, as `channel:message`."""
    form_files: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """Message id → its files, while a form about it is open: a form cannot contain them."""
    languages: dict[str, str] = field(default_factory=dict)
    """Person id → their language. Only interactions contain it."""


_STORED_FORM = TypeAdapter(StoredState)


class DiscordState(StoredState):
    """The state that the adapter keeps across restarts. Of several processes, the one that `leads`
    holds the gateway and reads the changes that the others store."""

    def __init__(self, peers: Peers | None = None) -> None:
        super().__init__()
        self._peers = peers or Alone()
        self._row = self._peers.remembered_state(DISCORD_STATE_NAME, self._dump_data)
        self.leads = not self._peers.is_shared
        """This process holds the gateway's session, and so the newest state."""
        self._sharing: asyncio.Task[None] | None = None
        """The task that sends this process's changes to the leader."""
        self._peers.on("remembered", self._on_remembered)

    async def open(self) -> None:
        self._replace_data(await self._row.read())

    async def forget(self, ids: frozenset[str]) -> None:
        """Erase these people and places and store the result. A thread keeps the number of its
        participants, which decides whether Ponte needs a mention there."""
        stored_form = json.loads(json.dumps(self._dump_data()))  # with texts for keys, as `ids` are
        self._replace_data(remove_ids(stored_form, ids))
        await self.flush()

    def _replace_data(self, data: Mapping[str, Any]) -> None:
        """`data` is the JSON of a row. The dictionaries stay the same objects, because other parts
        of the adapter hold them."""
        for name, value in vars(_STORED_FORM.validate_python(data)).items():
            if isinstance(value, dict):
                entries = getattr(self, name)
                entries.clear()
                entries.update(value)
            else:
                setattr(self, name, value)

    async def lead(self) -> None:
        """Store our own changes, merged into what the former leader stored, read the result, and
        lead from now on."""
        await self.flush()
        await self.open()
        self.leads = True

    async def close(self) -> None:
        await self._row.close()

    async def _on_remembered(self, name: str) -> None:
        if self.leads and name == DISCORD_STATE_NAME:
            await self._row.flush()
            await self.open()

    def note_taken(self, channel: int, message: int) -> None:
        """All messages of `channel` up to `message` are processed. A channel in which Ponte was
        never addressed is ignored."""
        record = self.channels.get(channel)
        # `CatchUp` notes the messages that it skips after newer ones.
        if record and message > record.last_message:
            record.last_message, record.updated_at = message, time.time()
            self.note_change()

    def add_channel(self, channel: int, message: int, guild: int) -> None:
        """Messages up to `message` need not be read back."""
        self.channels[channel] = SeenChannel(message, guild, time.time())
        self.note_change()

    async def note_channel(self, channel: int, message: int, guild: int) -> None:
        """Store a new channel durably before its first message. A bot cannot list its direct
        messages, so Ponte reads back only channels that it knows."""
        if channel not in self.channels:
            self.add_channel(channel, message - 1, guild)
            await self.flush()

    def find_alias(self, channel: int, person: str) -> int | None:
        """Return the id of the thread that could not be created for this person here, within
        ALIAS_SECONDS."""
        thread, at = self.aliases.get(f"{channel}:{person}", (None, 0.0))
        return thread if time.time() - at < ALIAS_SECONDS else None

    def note_language(self, person: int, language: str) -> None:
        if self.languages.get(str(person)) != language:
            self.languages[str(person)] = language
            self.note_change()

    async def set_alias(self, channel: int, person: str, thread: int) -> None:
        """Remember durably that `thread` could not be created."""
        self.aliases[f"{channel}:{person}"] = (thread, time.time())
        await self.flush()

    def is_first_notice(self, key: str, every: float) -> bool:
        """Return whether the hint `key` was not given within `every` seconds, and count it as given
        now."""
        if time.time() - self.hint_times.get(key, 0.0) < every:
            return False
        self.hint_times[key] = time.time()
        self.note_change()
        return True

    def note_change(self) -> None:
        """Store the state soon. A process that does not lead also notifies the others."""
        self._row.mark_changed()
        if not self.leads and (self._sharing is None or self._sharing.done()):
            self._sharing = asyncio.create_task(self._share_changes())

    async def flush(self) -> None:
        await self._row.flush()
        if not self.leads:
            await self._peers.notify("remembered", DISCORD_STATE_NAME)

    async def _share_changes(self) -> None:
        await asyncio.sleep(SHARE_AFTER_SECONDS)
        await self.flush()

    def _dump_data(self) -> object:
        """Return the state as JSON, without the oldest entries of each kind. A dictionary has the
        order in which its keys were first set."""
        # A changed channel keeps its place, so channels are sorted before the cut.
        if len(self.channels) > MAX_REMEMBERED:
            channels = sorted(self.channels.items(), key=lambda item: item[1].updated_at)
            self.channels.clear()
            self.channels.update(channels)
        # The last entries are the newest.
        for kind in fields(StoredState):
            if isinstance(entries := getattr(self, kind.name), dict):
                most = MAX_REMEMBERED_FORMS if entries is self.form_files else MAX_REMEMBERED
                for key in list(entries)[:-most]:
                    del entries[key]
        return _STORED_FORM.dump_python(self, mode="json")


def catch_up(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return stored state in which all messages up to now count as processed: after a backup is
    restored, old messages are not answered."""
    now = discord.utils.time_snowflake(discord.utils.utcnow())
    channels = {
        channel: {**one, "last_message": max(one["last_message"], now)}
        for channel, one in data.get("channels", {}).items()
    }
    return {**data, "channels": channels}


MAX_REMEMBERED_ACKS = 1000
"""How many turns' acknowledgements are remembered."""
TOKEN_SECONDS = 14.5 * 60
"""A token is used this long. Discord accepts it for 15 minutes
(interactions/receiving-and-responding.mdx#followup-messages)."""


@dataclass(frozen=True, slots=True)
class Token:
    """The token of an interaction, with which Ponte answers it. Each call by it names `app`, the id
    of our application.

    It is a secret: anybody who has it can write in the app's name. It is erased when the turn ends.

    `kind`: a command is answered in its original response, a click on the message with the card.
    `is_private`: only the asker sees the original response; the first acknowledgement has fixed
    that.
    """

    value: str
    app: int
    kind: Literal["command", "click"]
    locale: str = "en"
    is_private: bool = False
    max_file_bytes: int = DEFAULT_FILE_SIZE_LIMIT_BYTES
    """The limit of one file in the answer: the interaction's `attachment_size_limit`."""

    @classmethod
    def of(
        cls, interaction: Interaction, kind: Literal["command", "click"], private: bool = False
    ) -> Token:
        """Return the token of an interaction, with the language of its person and the limit of a
        file there."""
        locale = str(interaction.locale)
        app, largest = interaction.application_id, interaction.filesize_limit
        return cls(interaction.token, app, kind, locale, private, largest)

    @classmethod
    def read(cls, text: str) -> Token:
        return cls(**json.loads(text))

    def text(self) -> str:
        return json.dumps(asdict(self))


class Acks:
    """Records whether each turn's interaction was acknowledged: Discord must get a first response
    within three seconds, or its token is void. The answer waits for that, because before it there
    is nothing to edit."""

    def __init__(self) -> None:
        self._acknowledgements: OrderedDict[str, asyncio.Future[bool]] = OrderedDict()
        """Whether Discord accepted the acknowledgement of a turn, once that is known."""

    def expect(self, turn: str) -> None:
        """The interaction of this turn will be acknowledged."""
        if turn in self._acknowledgements:
            return
        self._acknowledgements[turn] = asyncio.get_running_loop().create_future()
        while len(self._acknowledgements) > MAX_REMEMBERED_ACKS:
            # Whoever still waits for the oldest one must not wait for ever.
            self.settle(next(iter(self._acknowledgements)), False)
            self._acknowledgements.popitem(last=False)

    def settle(self, turn: str, acked: bool) -> None:
        """Only the first call counts."""
        future = self._acknowledgements.get(turn)
        if future is not None and not future.done():
            future.set_result(acked)

    async def wait_for(self, turn: str) -> bool | None:
        """Wait for the acknowledgement and return whether Discord accepted it. None for a turn that
        this process does not know, as after a restart."""
        future = self._acknowledgements.get(turn)
        # A cancelled caller must not cancel the future, which `settle` sets.
        return None if future is None else await asyncio.shield(future)


class OriginalResponse:
    """The first response to an interaction: a command's answer, or the message that was clicked,
    accessed by the interaction's token. Each call raises TokenOver after it has expired."""

    def __init__(self, client: discord.Client, token: Token, expires: float) -> None:
        self._expires = expires
        self._hook = discord.Webhook.partial(token.app, token.value, client=client)
        # The SDK takes a partial webhook for an incoming one, and refuses ephemeral messages on it.
        self._hook.type = discord.WebhookType.application

    async def edit(self, **form: Any) -> discord.WebhookMessage:
        """`form` has the SDK's arguments of an edit."""
        self._check_expiry()
        return await self._hook.edit_message(_ORIGINAL, **form)

    async def read(self) -> discord.WebhookMessage:
        """Return the response with its present embeds and buttons."""
        self._check_expiry()
        return await self._hook.fetch_message(_ORIGINAL)

    async def whisper(self, text: str) -> None:
        """Send a follow-up that only the person sees. It has no nonce, so a repeated call makes a
        second message."""
        self._check_expiry()
        await self._hook.send(text, ephemeral=True, wait=True)

    def _check_expiry(self) -> None:
        if time.time() > self._expires:
            raise TokenOver


class _AtOriginal:
    """The text "@original" for a message id in a URL's path. The SDK would percent-encode the @ of
    a string."""

    def __str__(self) -> str:
        return "@original"


_ORIGINAL = cast(int, _AtOriginal())
