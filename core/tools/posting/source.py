"""The tool with which a model proposes a post in another place. Only a person can approve it."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import replace
from types import MappingProxyType

from core.base.errors import PlatformBusy, ToolError
from core.base.i18n import say
from core.base.markdown import escape_markdown, quote_inert
from core.base.text import clean_text, fold_case, to_one_line
from core.domain.changes import Draft, RowWrite
from core.domain.messages import Address, Message, Person, encode_json
from core.domain.platform import Messenger
from core.domain.records import Health, Outcome, ToolContext, Viewer
from core.domain.tool_ports import Tool
from core.tools.posting.place_posts import (
    NO_MEMBER,
    NO_UNDO,
    NOT_KNOWN,
    POST_APPLIER,
    TELL_HINT,
    Messengers,
    may_write,
)
from core.tools.tool import FunctionTool

MAX_POST_CHARACTERS = 1_200
"""Characters of the longest post, with its quote marks and its last line. A card of Slack or
Discord shows all of it."""
MAX_POST_BYTES = 2_200
"""Bytes of the longest post, after `&`, `<` and `>` are escaped. Slack's card has 2,900 bytes."""
_NOT_HERE = "Posts to another place can only be asked for on {platforms}."
_TOO_LONG = "This text is too long to post in another place: its card must show all of it."
_HERE = "This is the current conversation."
_NOT_MENTIONED = "Mention the channel or the person in your message, so that I know where to post."


class _PostTool(FunctionTool):
    """A tool whose calls post nothing before a person approves, so that they may run again."""

    messengers: Messengers = MappingProxyType({})

    def only_proposes(self, arguments: str) -> bool:
        """Return True."""
        return True

    def is_offered(self, message: Message) -> bool:
        """Return whether a person of a chat platform wrote the message just now."""
        is_typed_now = message.origin.is_authored and not message.author.is_bot
        return is_typed_now and message.author.platform in self.messengers


class PlacePostSource:
    """The tool `post_message` (the port `ToolSource`), offered on chat platforms."""

    name = "posting"

    def __init__(self, messengers: Messengers) -> None:
        self._messengers = messengers
        tool = _PostTool(self.post_message, effect="write", doing="is preparing a post…")
        tool.messengers = messengers
        self._tools: Sequence[Tool] = (tool,)

    async def tools(self, viewer: Viewer) -> Sequence[Tool]:
        """Return the tool; nothing where no chat platform is on."""
        return self._tools if self._messengers else ()

    async def health(self) -> Health:
        """Return "on"."""
        return Health(self.name, "on", "")

    async def close(self) -> None:
        """Do nothing."""

    async def post_message(self, ctx: ToolContext, to: str, text: str) -> Outcome:
        """Propose to post a text in another channel, or to a person, if the asker wants that.
        Nothing is posted before they approve it on a card.

        Args:
            to: the channel or person as the asker's message mentions it, as #sales or @Ana.
            text: at most 1000 characters.
        """
        messenger = self._messengers.get(ctx.asker.platform)
        if messenger is None or ctx.asker.is_bot:
            platforms = ", ".join(name.title() for name in self._messengers)
            raise ToolError(_NOT_HERE, platforms=platforms, hint=TELL_HINT)
        words, id = _find_mention(ctx, to)
        if id == ctx.address.channel:
            raise ToolError(_HERE, hint="answer here")
        body = _write_body(text, ctx.asker)
        if (
            len(body) > MAX_POST_CHARACTERS
            or len(html.escape(body, quote=False).encode()) > MAX_POST_BYTES
        ):
            raise ToolError(_TOO_LONG, hint="write at most 1000 characters")
        address = Address(ctx.address.platform, id, ctx.address.workspace, is_shared=True)
        person = await _find_person(messenger, address) if words.startswith("@") else None
        may = await may_write(messenger, ctx.asker, address, person)
        if may is False:
            raise ToolError(NO_MEMBER, hint=TELL_HINT)
        # The name of a channel is shown only to its members. If it is not known whether the asker
        # is one, that is asked again before the post is made.
        if person is not None:
            words = f"@{person.name or id}"
        elif may:
            words = await messenger.title(address) or words
        place = (
            f"{address.platform}:{id}" if person else f"{address.platform}:{address.workspace}:{id}"
        )
        target = {
            "asker": encode_json(replace(ctx.asker, name="")), "address": encode_json(address),
            "person": encode_json(replace(person, name="")) if person else "", "place": place,
        }  # fmt: skip
        row = RowWrite(after={"text": body})
        title = to_one_line(words, 80)
        return await ctx.turn.propose(Draft(POST_APPLIER, "post", target, title, (row,), NO_UNDO))


def _find_mention(ctx: ToolContext, to: str) -> tuple[str, str]:
    """Return the words and the id of a channel or person that the asker's own message mentions.
    Raise ToolError. Only mentions that the platform reports count. Text, also the display name of
    a person who is mentioned, can therefore not choose where a model posts."""
    written = to.strip().strip("<>").partition("|")[0]
    found = {
        (words[:1] + words.lstrip("#@!"), id)
        for words, id in ctx.message.mentions
        if fold_case(written).lstrip("#@!") in (fold_case(words).lstrip("#@!"), fold_case(id))
    }
    if len({id for _, id in found}) != 1:
        raise ToolError(_NOT_MENTIONED, hint=TELL_HINT)
    return min(found)


async def _find_person(messenger: Messenger, address: Address) -> Person:
    """Return the person whose id is that of `address`. Raise ToolError for a bot, a group, or a
    person who is not known."""
    try:
        people = await messenger.members([f"{address.platform}:{address.channel}"])
    except PlatformBusy as error:
        raise ToolError(NOT_KNOWN) from error
    if len(people) != 1 or people[0].id != address.channel:
        raise ToolError(NO_MEMBER, hint=TELL_HINT)
    return people[0]


def _write_body(text: str, asker: Person) -> str:
    """Return the text as it is posted: a quote, so that no line of it can be taken for the last
    line, which names the asker. Raise ToolError for an empty text."""
    if not clean_text(text).strip():
        raise ToolError("The text is empty.")
    name = escape_markdown(to_one_line(asker.name or asker.id, 80)).replace("@", "＠")
    return f"{quote_inert(text)}\n\n{say('Requested by {name}.', name=name)}"
