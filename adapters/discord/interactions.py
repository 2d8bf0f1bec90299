"""Commands, clicks and modals: each goes through rights, store and ack, in this order, before any
work is done on it.

What is stored of one lets any process answer it while its token lives.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any, Literal, cast

import discord
import structlog
from discord.utils import DEFAULT_FILE_SIZE_LIMIT_BYTES

from adapters.discord import events, render
from adapters.discord.client import (
    ALREADY_ACKNOWLEDGED,
    IN_DOUBT,
    UNKNOWN_INTERACTION,
    Interaction,
    Lanes,
    TokenOver,
)
from adapters.discord.events import Places, person
from adapters.discord.participants import Roles
from adapters.discord.state import Notes
from core.chat.files import Downloads
from core.conversation import grammar
from core.conversation.grammar import Command
from core.errors import NotStored
from core.i18n import nearest, say
from core.messages import Address, Attachment, Message, Quote, ReplyTo
from core.ports import Inbox, Policy, StatusBoard
from core.records import Action, QuickCommand

log = structlog.get_logger("discord")

MOST_ACKS = 1000
"""Turns whose acks are remembered."""
TOKEN_LIFE = 14.5 * 60
"""Seconds; Discord takes a token for 15 minutes
(interactions/receiving-and-responding.mdx#followup-messages)."""
RIGHTS, STORED = 0.5, 1.8
"""Seconds from an interaction's coming until its rights are known, and until it is stored. Of the 3
until the ack must be there (receiving-and-responding.mdx#responding-to-an-interaction) more than
one is left for the way."""
PATIENCE = 0.5
"""Seconds to look a command up before the modal that asks for its inputs."""

RESTARTING = "I am about to restart. Please try again in a minute."
WHISPERED = frozenset({"new", "status", "stop", "usage"})
"""Words whose answer is for the asker alone."""

# components/reference.mdx: #text-input-text-input-structure, #label-label-structure.
LONGEST_INPUT, LONGEST_LABEL, LONGEST_ABOUT, LONGEST_ID = 4000, 45, 100, 100
# interactions/receiving-and-responding.mdx#interaction-response-object-modal
LONGEST_TITLE, MOST_FIELDS = 45, 5

# What a modal is about stands in its id, so that it outlives us.
ASK_ID = "ponte:ask"
ABOUT_ID = re.compile(r"ponte:about(?::(?P<message>\d{1,20}))?")
QUICK_ID = re.compile(r"ponte:quick:(?P<slug>[a-z0-9][a-z0-9_-]{0,79})(?P<named>:named)?")
"""A longer slug has no room in an id; its command runs without a form."""
PROMPT, QUOTE, INPUT = "prompt", "quote", "input"

File = discord.Attachment | None


@dataclass(frozen=True, slots=True)
class Token:
    """Answers an interaction while it lives. A secret, erased with the turn's end: whoever has it
    can write in the app's name.

    `kind`: a command's answer is the original response, a click's stands where the card is.
    `private`: the asker alone sees the original response, which the first ack has fixed.
    """

    value: str
    app: int
    kind: Literal["command", "click"]
    locale: str = "en"
    private: bool = False
    largest: int = DEFAULT_FILE_SIZE_LIMIT_BYTES
    """Bytes of one file in the answer: the interaction's `attachment_size_limit`."""

    @classmethod
    def of(
        cls,
        interaction: Interaction,
        kind: Literal["command", "click"],
        private: bool = False,
    ) -> Token:
        locale = str(interaction.locale)
        app, largest = interaction.application_id, interaction.filesize_limit
        return cls(interaction.token, app, kind, locale, private, largest)

    @classmethod
    def read(cls, to: ReplyTo) -> Token | None:
        return cls(**json.loads(to.token)) if to.token else None

    def text(self) -> str:
        return json.dumps(asdict(self))


@dataclass(frozen=True, slots=True)
class Said:
    """What a command or click stands for; `action` is the right that it needs at least."""

    text: str
    action: Action = "chat"
    private: bool = False
    context: tuple[Quote, ...] = ()
    files: tuple[Attachment, ...] = ()


class Acks:
    """Whether each turn's interaction was acked: the answer waits for that, since there is nothing
    to edit before. None for a turn that this process knows nothing of: a restart came between."""

    def __init__(self) -> None:
        self._acked: OrderedDict[str, asyncio.Future[bool]] = OrderedDict()

    def expect(self, turn: str) -> None:
        if turn in self._acked:
            return
        self._acked[turn] = asyncio.get_running_loop().create_future()
        while len(self._acked) > MOST_ACKS:
            self.settle(next(iter(self._acked)), False)
            self._acked.popitem(last=False)

    def settle(self, turn: str, acked: bool) -> None:
        future = self._acked.get(turn)
        if future is not None and not future.done():
            future.set_result(acked)

    async def of(self, turn: str) -> bool | None:
        future = self._acked.get(turn)
        return None if future is None else await asyncio.shield(future)


class Original:
    """The original response, through its token. Raises TokenOver once that has ended."""

    def __init__(self, client: discord.Client, token: Token, expires: float) -> None:
        self._expires = expires
        self._hook = discord.Webhook.partial(token.app, token.value, client=client)
        # A partial one passes for an incoming webhook, which may not whisper.
        self._hook.type = discord.WebhookType.application

    async def edit(self, **form: Any) -> discord.WebhookMessage:
        self._check()
        return await self._hook.edit_message(_ORIGINAL, **form)

    async def read(self) -> discord.WebhookMessage:
        self._check()
        return await self._hook.fetch_message(_ORIGINAL)

    async def whisper(self, text: str) -> None:
        """A follow-up that the person alone sees. It has no nonce: repeated, it stands twice."""
        self._check()
        await self._hook.send(text, ephemeral=True, wait=True)

    def _check(self) -> None:
        if time.time() > self._expires:
            raise TokenOver


class Door:
    """Discord waits 3 seconds for the ack. So rights are looked up locally, rights and storing have
    deadlines, and where storing fails the person is told at once that nothing was taken."""

    def __init__(
        self,
        inbox: Inbox,
        policy: Policy,
        places: Places,
        roles: Roles,
        acks: Acks,
        fetch: Downloads,
        lanes: Lanes,
    ) -> None:
        self._inbox = inbox
        self._policy = policy
        self._places = places
        self._roles = roles
        self._acks = acks
        self._fetch = fetch
        self._lanes = lanes
        self.open = True
        """False once intake has stopped."""

    async def command(self, interaction: Interaction, said: Said) -> None:
        """Its whole answer will stand in the original response."""
        came = asyncio.get_running_loop().time()
        if not await self.may(interaction, said.action):
            return
        token = Token.of(interaction, "command", said.private)
        message = self._message(interaction, said, token)
        if not await self._stored(interaction, message, came):
            return
        await self._ack(interaction, message.turn, thinking=True, ephemeral=said.private)
        if message.attachments:
            self._lanes.aside(lambda: self._fetch.all_of(message))

    async def click(self, interaction: Interaction, said: Said, asker: int = 0) -> bool:
        """Whether it was taken and acked. Its outcome will stand where the button is.

        `asker`: whose conversation the click is about, where it is not the clicker's own.
        """
        came = asyncio.get_running_loop().time()
        if interaction.message is None or not await self.may(interaction, said.action):
            return False
        token = Token.of(interaction, "click")
        message = self._message(interaction, said, token, asker)
        if not await self._stored(interaction, message, came):
            return False
        return await self._ack(interaction, message.turn, thinking=False, ephemeral=False)

    async def modal(self, interaction: Interaction, modal: discord.ui.Modal) -> None:
        """Shown at once: a modal can only be the first answer, and nothing was said yet."""
        if await self.may(interaction, "chat"):
            await interaction.response.send_modal(modal)

    async def may(self, interaction: Interaction, action: Action) -> bool:
        """The first right; the turn checks each again. A refusal is the asker's alone to see."""
        if not self.open:
            await self._whisper(interaction, say(RESTARTING, locale(interaction)))
            return False
        self._roles.saw(interaction.user)
        try:
            async with asyncio.timeout(RIGHTS):
                who, where = person(interaction.user), self.address(interaction)
                verdict = await self._policy.may(who, where, action)
        except TimeoutError:
            return True
        if not verdict.allowed:
            await self._whisper(interaction, say(verdict.reason, locale(interaction)))
        return verdict.allowed

    def address(self, interaction: Interaction) -> Address:
        place = self._places.of_interaction(interaction)
        return self._places.aliased(place, interaction.user.id)

    def _message(
        self, interaction: Interaction, said: Said, token: Token, asker: int = 0
    ) -> Message:
        clicked = token.kind == "click" and interaction.message is not None
        return events.from_interaction(
            interaction,
            self._places.of_interaction(interaction),
            self._places,
            said.text,
            token.text(),
            time.time() + TOKEN_LIFE,
            source=str(interaction.message.id) if clicked and interaction.message else "",
            asker=asker,
            clicked=clicked,
            context=said.context,
            files=said.files,
        )

    async def _stored(self, interaction: Interaction, message: Message, came: float) -> bool:
        """Durable; False where that failed, and the person was told, or where it is a repeat."""
        self._acks.expect(message.turn)
        try:
            async with asyncio.timeout_at(came + STORED):
                receipt = await self._inbox.accept(message)
        except (NotStored, TimeoutError) as error:
            self._acks.settle(message.turn, False)
            if isinstance(error, TimeoutError):
                # It may come to be stored yet, and then it must not be answered.
                self._lanes.aside(lambda: self._inbox.amend(message.event_key, None))
            await self._whisper(interaction, NotStored().words(locale(interaction)))
            return False
        return receipt.fresh

    async def _ack(
        self, interaction: Interaction, turn: str, *, thinking: bool, ephemeral: bool
    ) -> bool:
        """Whether Discord took the ack in time; a late one's answer goes to the channel."""
        acked = True
        try:
            await interaction.response.defer(thinking=thinking, ephemeral=ephemeral)
        except discord.HTTPException as refused:
            acked = refused.code == ALREADY_ACKNOWLEDGED
            if refused.code != UNKNOWN_INTERACTION:
                log.warning("not acked", why=f"{refused.status}/{refused.code}")
        except IN_DOUBT as error:
            # It may have come through: the first edit will tell.
            log.info("ack in doubt", why=type(error).__name__)
        self._acks.settle(turn, acked)
        return acked

    async def _whisper(self, interaction: Interaction, words: str) -> None:
        try:
            await interaction.response.send_message(words, ephemeral=True)
        except (discord.DiscordException, *IN_DOUBT) as error:
            log.info("not told", why=type(error).__name__)


class Choices:
    """What autocomplete offers: the registry's quick commands, and changes that can be undone."""

    def __init__(self, board: StatusBoard, door: Door) -> None:
        self._board = board
        self._door = door

    async def slugs(self, interaction: Interaction, typed: str) -> Sequence[tuple[str, str]]:
        """(shown, value) of each that holds what was typed."""
        typed = typed.lower()
        known = [
            (one.slug, one.told(locale(interaction))[0]) for one in await self._known(interaction)
        ]
        return [
            (f"{slug} – {title}" if title else slug, slug)
            for slug, title in known
            if typed in slug or typed in title.lower()
        ]

    async def undoable(self, interaction: Interaction, typed: str) -> Sequence[tuple[str, str]]:
        typed = typed.lower()
        conversation = self._door.address(interaction).conversation
        return [
            (f"{card.id} – {card.title}", card.id)
            for card in await self._board.changes(conversation)
            if "undo" in card.actions and (typed in card.id or typed in card.title.lower())
        ]

    async def command(self, interaction: Interaction, slug: str) -> QuickCommand | None:
        """The one of that name; None too where the registry does not answer in time."""
        try:
            async with asyncio.timeout(PATIENCE):
                known = await self._known(interaction)
        except TimeoutError:
            return None
        return next((command for command in known if command.slug == slug), None)

    async def _known(self, interaction: Interaction) -> Sequence[QuickCommand]:
        who, where = person(interaction.user), self._door.address(interaction)
        return await self._board.commands(who, where)


class Interactions:
    """What each command, click and filled-in modal stands for."""

    def __init__(self, door: Door, choices: Choices, notes: Notes) -> None:
        self._door = door
        self._choices = choices
        self._notes = notes

    async def take(self, interaction: Interaction) -> None:
        """Clicks and modals; commands come through the SDK's tree."""
        data: Mapping[str, Any] = interaction.data or {}
        id = str(data.get("custom_id", ""))
        if interaction.type is discord.InteractionType.component:
            await self._clicked(interaction, id)
        elif interaction.type is discord.InteractionType.modal_submit:
            await self._submitted(interaction, id)

    async def ask(self, interaction: Interaction, prompt: str, file: File) -> None:
        if not prompt and file is None:
            await self._door.modal(interaction, ask_form(locale(interaction)))
        else:
            await self._door.command(interaction, Said(prompt, files=_files(file)))

    async def ask_about(self, interaction: Interaction, message: discord.Message) -> None:
        """This interaction alone tells all of the message, its files too: they are kept until the
        form comes back, and none of it is said to anybody before."""
        me = interaction.client.user.id if interaction.client.user else 0
        files = events.files(message)
        if files:
            self._notes.asked[str(message.id)] = [asdict(file) for file in files]
            await self._notes.flush()
        text = events.quote(message, me).text
        about = message.id if files else 0
        names = [file.name for file in files]
        await self._door.modal(interaction, about_form(text, about, names, locale(interaction)))

    async def quick(self, interaction: Interaction, slug: str, input: str, file: File) -> None:
        if not input and file is None and QUICK_ID.fullmatch(f"ponte:quick:{slug}"):
            known = await self._choices.command(interaction, slug)
            if known is None or known.inputs:
                modal = quick_form(slug, known, locale(interaction))
                await self._door.modal(interaction, modal)
                return
        said = Said(_quick_words(slug, input), "spend", files=_files(file))
        await self._door.command(interaction, said)

    async def word(self, interaction: Interaction, word: str) -> None:
        await self._door.command(interaction, Said(word, private=word in WHISPERED))

    async def undo(self, interaction: Interaction, change: str) -> None:
        await self._door.command(interaction, Said(f"undo {change.lower()}"))

    async def slugs(self, interaction: Interaction, typed: str) -> Sequence[tuple[str, str]]:
        return await self._choices.slugs(interaction, typed)

    async def undoable(self, interaction: Interaction, typed: str) -> Sequence[tuple[str, str]]:
        return await self._choices.undoable(interaction, typed)

    async def _submitted(self, interaction: Interaction, id: str) -> None:
        given = filled_in(interaction)
        prompt = given.get(PROMPT, "")
        if id == ASK_ID:
            await self._door.command(interaction, Said(prompt))
        elif found := ABOUT_ID.fullmatch(id):
            files, lost = self._asked_about(interaction, found["message"])
            quoted = given.get(QUOTE, "") or ("[no words, but files]" if lost else "")
            context = (Quote("the message asked about", quoted, reference=lost),) if quoted else ()
            await self._door.command(interaction, Said(prompt, context=context, files=files))
        elif found := QUICK_ID.fullmatch(id):
            said = _quick_words(found["slug"], given.get(INPUT, ""))
            if found["named"]:
                filled = {name: value for name, value in given.items() if value}
                said = grammar.typed(Command("quick-command", slug=found["slug"], input=filled))
            await self._door.command(interaction, Said(said, "spend"))

    def _asked_about(
        self, interaction: Interaction, message: str | None
    ) -> tuple[tuple[Attachment, ...], str]:
        """The files of the message that a form is about, else where they may be found again."""
        if not message:
            return (), ""
        kept = self._notes.asked.get(message)
        if kept is None:
            return (), f"{interaction.channel_id}/{message}"
        return tuple(Attachment(**each) for each in kept), ""

    async def _clicked(self, interaction: Interaction, id: str) -> None:
        if found := render.ID.fullmatch(id):
            await self._door.click(interaction, Said(f"{found['action']} {found['card']}"))
        elif found := render.STOP.fullmatch(id):
            await self._stop(interaction, int(found["asker"]))

    async def _stop(self, interaction: Interaction, asker: int) -> None:
        """The button goes with the first click on it: what it stands under may grow no more."""
        taken = await self._door.click(interaction, Said("stop"), asker)
        if taken and interaction.message is not None:
            view = render.without_stop(interaction.message)
            with suppress(discord.HTTPException, *IN_DOUBT):
                await interaction.edit_original_response(view=view)


def ask_form(locale: str) -> discord.ui.Modal:
    modal = _modal(say("Ask Ponte", locale), ASK_ID)
    modal.add_item(_lines(say("Your message", locale), PROMPT))
    return _unkept(modal)


def about_form(text: str, message: int, files: Sequence[str], locale: str) -> discord.ui.Modal:
    """The message's text goes into the modal: after a restart nobody would know it. `message` is
    its id where it has files, which are named."""
    modal = _modal(say("Ask about this message", locale), f"ponte:about:{message or ''}".strip(":"))
    modal.add_item(_lines(say("What do you want to know?", locale), PROMPT))
    quoted = _lines(say("The message", locale), QUOTE, text[:LONGEST_INPUT], required=False)
    if files:
        along = say("Its files come along: {names}", locale, names=", ".join(files))
        quoted.description = along[:LONGEST_ABOUT]
    modal.add_item(quoted)
    return _unkept(modal)


def quick_form(slug: str, known: QuickCommand | None, locale: str) -> discord.ui.Modal:
    """A field for each input where the command has a few by name, else one for all."""
    title = (known.told(locale)[0] if known else "") or slug
    inputs = dict(known.inputs) if known else {}
    if not inputs or len(inputs) > MOST_FIELDS:
        modal = _modal(title, f"ponte:quick:{slug}")
        modal.add_item(_lines(say("Its text, or key=value …", locale), INPUT, required=False))
        return _unkept(modal)
    modal = _modal(title, f"ponte:quick:{slug}:named")
    for name, about in inputs.items():
        modal.add_item(_lines(name, name, required=bool(about.get("required"))))
    return _unkept(modal)


def filled_in(interaction: Interaction) -> dict[str, str]:
    """What was filled in, by field."""
    data: Mapping[str, Any] = interaction.data or {}
    found: dict[str, str] = {}
    for item in _items(data.get("components") or []):
        if "value" in item:
            found[str(item["custom_id"])] = str(item["value"])
    return found


def locale(interaction: Interaction) -> str:
    return nearest(str(interaction.locale))


def _modal(title: str, id: str) -> discord.ui.Modal:
    return discord.ui.Modal(title=title[:LONGEST_TITLE], custom_id=id, timeout=None)


def _lines(label: str, id: str, default: str = "", required: bool = True) -> discord.ui.Label[Any]:
    field: discord.ui.TextInput[Any] = discord.ui.TextInput(
        style=discord.TextStyle.paragraph,
        custom_id=id[:LONGEST_ID],
        default=default or None,
        required=required,
        max_length=LONGEST_INPUT,
    )
    return discord.ui.Label(text=label[:LONGEST_LABEL], component=field)


def _unkept(modal: discord.ui.Modal) -> discord.ui.Modal:
    """The SDK must not keep it: what is sent in is found by its id, also after a restart."""
    modal.stop()
    return modal


def _items(components: list[Any]) -> list[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = []
    for item in components:
        found.append(item)
        inner = item.get("components") or ([item["component"]] if "component" in item else [])
        found.extend(_items(inner))
    return found


def _files(file: File) -> tuple[Attachment, ...]:
    return () if file is None else (events.given(file),)


def _quick_words(slug: str, input: str) -> str:
    return f"quick-command {slug} {input}".strip()


class _AtOriginal:
    """Where an id stands in the path; the SDK would quote the @ of a text there."""

    def __str__(self) -> str:
        return "@original"


_ORIGINAL = cast(int, _AtOriginal())
