"""The tool with which a model proposes a post in another place. Only a person can approve it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from core.chat.elsewhere import (
    NO_MEMBER,
    NO_UNDO,
    NOT_KNOWN,
    POST_APPLIER,
    TELL_HINT,
    Messengers,
    check_writer,
)
from core.chat.platform import Messenger
from core.domain.changes import Draft, RowWrite
from core.domain.errors import PlatformBusy, ToolError
from core.domain.messages import HOOK_PLATFORM, Address, Person, encode_json
from core.domain.records import Health, Outcome, ToolContext
from core.ports.tools import Tool
from core.text.i18n import say
from core.text.markdown import defang, escape_markdown
from core.text.text import clean_text, to_one_line
from core.tools.tool import FunctionTool

MAX_POST_BYTES = 880
"""Bytes of a post with its last line, as a card writes it. Discord divides 6,000 characters between
up to five cards, and the text must not be cut on any card."""
_NOT_HERE = "Posts to another place can only be asked for on {platforms}."
_TOO_LONG = "This text is too long to post in another place: its card must show all of it."
_HERE = "This is the current conversation."


class _PostTool(FunctionTool):
    """A tool whose calls post nothing before a person approves, so that they may run again."""

    def only_proposes(self, arguments: str) -> bool:
        """Return True."""
        return True


class PlacePostSource:
    """The tool `post_message` (the port `ToolSource`), offered while a chat platform is on."""

    name = "posting"

    def __init__(
        self, messengers: Messengers, is_guest: Callable[[Person], Awaitable[bool | None]]
    ) -> None:
        self._messengers = messengers
        self._is_guest = is_guest
        self._tools: Sequence[Tool] = (
            _PostTool.of(self.post_message, effect="write", doing="is preparing a post…"),
        )

    async def tools(self) -> Sequence[Tool]:
        """Return the tool; nothing where no chat platform is on."""
        return self._tools if self._messengers() else ()

    async def health(self) -> Health:
        """Return "on"."""
        return Health(self.name, "on", "")

    async def close(self) -> None:
        """Do nothing."""

    async def post_message(self, ctx: ToolContext, to: str, text: str) -> Outcome:
        """Propose to post a text in another channel, or to another person, of this chat platform.
        A person sees the whole text on a card, and nothing is posted before they approve it. Only
        for a post that the person asked for; answer them here otherwise.

        Args:
            to: the id of a channel or of a person, as in C0123ABC or U0123ABC.
            text: the whole text, at most 700 characters.
        """
        messenger = self._messengers().get(ctx.address.platform)
        if messenger is None or ctx.asker.platform == HOOK_PLATFORM:
            platforms = ", ".join(name.title() for name in self._messengers())
            raise ToolError(_NOT_HERE, platforms=platforms, hint=TELL_HINT)
        id = to.strip().strip("<>@#!&").partition("|")[0]
        if id == ctx.address.channel:
            raise ToolError(_HERE, hint="answer here")
        body = _write_body(text, ctx.asker)
        if len(escape_markdown(body).encode()) > MAX_POST_BYTES:
            raise ToolError(_TOO_LONG, hint="write at most 700 characters")
        address, person, title = await self._find_place(messenger, ctx, id)
        name = f"{address.platform}:{address.workspace}:{id}"
        target = {
            "asker": encode_json(ctx.asker), "address": encode_json(address),
            "person": encode_json(person) if person else "",
            "place": f"{address.platform}:{id}" if person else name,
        }  # fmt: skip
        row = RowWrite(after={"text": body})
        return await ctx.propose(Draft(POST_APPLIER, "post", target, title, (row,), NO_UNDO))

    async def _find_place(
        self, messenger: Messenger, ctx: ToolContext, id: str
    ) -> tuple[Address, Person | None, str]:
        """Return the place with this id, its person if it is one, and its name. Raise ToolError."""
        address = Address(ctx.address.platform, id, ctx.address.workspace, shared=True)
        try:
            people = await messenger.members([f"{address.platform}:{id}"])
            if len(people) == 1 and people[0].id == id:
                # Only people of this channel: Discord finds people of all servers, and a
                # guest can write to few people only.
                knows = await messenger.reads(people[0], ctx.address)
                if knows is not True or await self._is_guest(ctx.asker) is not False:
                    raise ToolError(NO_MEMBER, hint=TELL_HINT)
                return address, people[0], to_one_line(people[0].name or id, 80)
            await check_writer(messenger, ctx.asker, address)
        except PlatformBusy as error:
            raise ToolError(NOT_KNOWN) from error
        return address, None, to_one_line(await messenger.title(address) or id, 80)


def _write_body(text: str, asker: Person) -> str:
    """Return the text as it is posted: no address is a link, nobody is mentioned, and the last line
    names the asker. Raise ToolError for an empty text."""
    words = defang(clean_text(text)).strip()
    if not words:
        raise ToolError("The text is empty.")
    # A space of no width would be invisible on the card, so the mark itself is replaced.
    words = words.replace("@", "＠").replace("<!", "‹!").replace("<#", "‹#")
    name = escape_markdown(to_one_line(asker.name or asker.id, 80)).replace("@", "＠")
    return f"{words}\n\n{say('Requested by {name}.', name=name)}"
