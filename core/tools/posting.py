"""Posts in another channel, or to another person: the model proposes one, and a person approves its
text before it is posted.

The tool writes the whole text into its draft, and the card shows it. The applier chooses the key of
the post and the start of the search when it begins, and the ledger stores both before the post is
made. After a crash the platform is asked for that post, twice, because the dead process's request
may still take effect. Only a post that is not there then is made again.
"""

from __future__ import annotations

import asyncio
import html
import json
import secrets
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

import structlog

from core.base.errors import (
    NotAllowed,
    PlatformBusy,
    PonteError,
    StatusUnknown,
    ToolError,
    Undeliverable,
    WriteUnsure,
)
from core.base.i18n import say
from core.base.markdown import escape_markdown
from core.base.tasks import retry
from core.base.text import clean_text, clip_line, fold_case, to_one_line
from core.base.trust import quote_inert
from core.changes.kinds import TEXT_KEY, Batch, Changer, Kind, is_deed_title
from core.chat.reply import FILES_NUMBER
from core.domain.changes import Change, Draft, FormField, RowCheck, RowWrite
from core.domain.messages import (
    Address,
    Answer,
    Message,
    Person,
    ReplyTo,
    decode_json,
    encode_json,
    turn_id,
)
from core.domain.ports import ARRIVAL_SECONDS, AnswerPart, Messenger
from core.domain.records import NOTE_TEMPLATE, Outcome, ToolContext, Turn
from core.domain.rights import Need
from core.tools.tool import FixedToolSource, FunctionTool

log = structlog.get_logger("posting")
POST_APPLIER, POST_TOOL = "post", "post_message"
PLACE_CHECK_SECONDS = 30.0
"""Seconds that the platform may take to report who can write in a place."""
BUSY_POST_SECONDS = 30.0
"""Seconds for which a post is tried again while the platform's rate limit delays it."""
POST_TIMEOUT_SECONDS = 60.0
NO_UNDO = "Posts can't be undone."
NO_MEMBER = "You can only post in channels where you can write and where I'm a member."
NOT_KNOWN = "I couldn't check whether you can write there. Try again later."
_BUSY = "The platform isn't accepting posts right now. Try again later."
_UNREAD = "I couldn't read the messages there."
_UNFINISHED = "The platform didn't answer."
TELL_HINT = "tell the person; do not look for another way"

Messengers = Mapping[str, Messenger]
FindHidden = Callable[[Person, Address, Collection[Need]], Awaitable[str]]
"""Returns the name of something that the person may not read at the address, "" for nothing. Raises
NotAllowed and StatusUnknown."""


class PlacePosts:
    """Makes the posts in other channels, and to people, that somebody approved (the port
    `CheckedApplier`). `messengers` are the connected chat platforms by name."""

    name = POST_APPLIER
    patience = POST_TIMEOUT_SECONDS

    def __init__(self, messengers: Messengers, find_hidden: FindHidden) -> None:
        self.messengers = messengers
        self.find_hidden = find_hidden

    def batch(self, draft: Draft) -> int:
        """Each post is a batch of its own, so that its outcome is known by itself."""
        return 1

    def open(self, draft: Draft) -> Batch:
        return _PostBatch(draft, self)

    async def check_asker(self, draft: Draft) -> None:
        """Raise NotAllowed, also if it is not known whether the asker can write in the place
        now."""
        try:
            await _PostBatch(draft, self).check_asker()
        except ToolError as error:
            raise NotAllowed(error.sentence, **error.values) from error

    def revert(self, change: Change) -> Draft:
        """People may have read the post."""
        raise ToolError(NO_UNDO)

    async def revise(self, change: Change, values: Mapping[str, str], changer: Changer) -> Draft:
        """Return the draft with another text, as a post of the changer: the post then says that
        they requested it. Raise ToolError unless they can write in the place, also if that is not
        known."""
        draft, asker = change.draft, changer.person
        # "typed" is the text as a person typed it, without the quote marks and the last line that
        # the post has.
        text = values.get(TEXT_KEY, str((draft.rows[0].after or {}).get("typed", "")))
        # Names of people are not stored with a draft: only their ids are needed.
        target = {**draft.target, "asker": encode_json(replace(asker, name=""))}
        revised = replace(draft, target=target, rows=(_build_row(text, asker),))
        await _PostBatch(revised, self).check_asker()
        return revised

    async def draft_answer(self, former: Turn, needs: Collection[Need]) -> Draft:
        """Return the draft that posts a private answer in the channel of its question, with its
        rows and files. Raise ToolError if the asker may not show it there, `needs` being what it
        came from, and if that is not known."""
        asked_in, answer, asker = former.message.asked_in, former.answer, former.message.author
        if asked_in is None or answer is None or not answer.share_place:
            raise ToolError("This answer can't be shared.")
        address = asked_in.address
        # Ponte's line comes first, so that no line of the answer can be taken for it.
        lead = say("Shared by {name} from a private question:", name=_name_asker(asker))
        text = f"{lead}\n\n{answer.text}"
        _check_length(text)
        files = tuple(file for file in answer.files if not file.is_run_code)
        post = Answer(text, parts=(text,), placed=answer.placed, files=files)
        draft = _build_draft(asker, address, None, answer.share_place, RowWrite())
        rights = {*needs, ("chat",), ("propose",), ("post", draft.target["place"])}
        target = {**draft.target, "needs": json.dumps(sorted(rights)), "answer": former.id}
        draft = replace(draft, target=target)
        await self.check_asker(draft)
        names = ", ".join(f"`{file.name}`" for file in files)
        notes = [say("Files included: {names}", names=names)] if files else []
        if await self.messengers[address.platform].may_have_outsiders(address):
            notes.append(say(_OUTSIDERS))
        after = {"text": text, "answer": encode_json(post), "note": "\n\n".join(notes)}
        return replace(draft, rows=(RowWrite(after=after),))


class _PostBatch:
    """The `Batch` that posts one text to another place. Its only row has the text; the row's id is
    that of the post, once it is made."""

    def __init__(self, draft: Draft, posts: PlacePosts) -> None:
        target = draft.target
        self._needs = [tuple(need) for need in json.loads(str(target.get("needs") or "[]"))]
        self._find_hidden = posts.find_hidden
        self._has_files = False
        """This process has posted the files."""
        self._asker = decode_json(Person, str(target["asker"]))
        self._address = decode_json(Address, str(target["address"]))
        # None for a post in a channel, else who gets it as a direct message.
        self._person = decode_json(Person, str(target["person"])) if target["person"] else None
        self._platform = posts.messengers.get(self._address.platform)
        self._may_arrive = False
        """True if this process began the post and got no answer, so it may be made later."""

    @property
    def _messenger(self) -> Messenger:
        if self._platform is None:
            raise ToolError(NOT_KNOWN, code="drift")
        return self._platform

    async def check_asker(self) -> None:
        """Raise ToolError if the asker cannot write in the place, and if that is not known."""
        is_shared = bool(self._needs)
        if is_shared and await may_write(self._messenger, None, self._address, None) is False:
            raise ToolError(_NOT_INVITED)
        may = await may_write(
            self._messenger, self._asker, self._address, self._person, afresh=True
        )
        if not may:
            raise ToolError(NOT_KNOWN if may is None else NO_MEMBER)
        try:
            hidden = await self._find_hidden(self._asker, self._address, self._needs)
        except (NotAllowed, StatusUnknown) as error:
            raise ToolError(error.sentence, right=error.values.get("right")) from error
        if hidden:
            raise ToolError(_NOT_SHOWN, name=hidden)

    async def check(self, rows: Sequence[RowWrite]) -> Sequence[RowCheck]:
        """Raise ToolError if it is not known whether the post was made.

        It is called before the post and after it, and after a crash again. The first call makes the
        key of the post (the turn's id in `applier_data`), by which later calls find the post.
        """
        (row,) = rows
        # Not begun yet: the key is made now and stored before the post, to find the post after a
        # crash.
        if not row.applier_data:
            turn = turn_id(f"post:{secrets.token_hex(16)}")
            if self._person is None:
                to = self._messenger.destination_in(self._address, self._asker)
            else:
                # A direct message has its own channel, whose id only the platform knows.
                try:
                    to, _ = await self._messenger.open_direct_message(self._person)
                except PonteError as error:
                    sentence = NO_MEMBER if isinstance(error, Undeliverable) else NOT_KNOWN
                    # "drift": the change then fails with this sentence as it is.
                    raise ToolError(sentence, code="drift") from error
            place = encode_json(replace(to, turn=turn))
            return [RowCheck("before", replace(row, applier_data=place))]
        id = row.id or await self._find(row)
        # This process got no answer to its post (`_may_arrive`), so the outcome stays unknown.
        if not id and self._may_arrive:
            raise ToolError(_UNFINISHED)
        # Another process began the post and died. Its request may still take effect, so the post
        # is searched for once more before it is made again.
        if not id:
            await asyncio.sleep(ARRIVAL_SECONDS)
            id = await self._find(row)
        if not id:
            return [RowCheck("before", row)]
        if not self._has_files and _read_answer(row).files:
            return [RowCheck("before", replace(row, id=id))]
        # The last value is the row as it is now: a post that was found has what was to be written.
        return [RowCheck("after", replace(row, id=id), dict(row.after or {}))]

    async def write(self, rows: Sequence[RowWrite]) -> Sequence[RowWrite]:
        """Raise ToolError if nothing was posted, WriteUnsure if that is not known."""
        (row,) = rows
        # The asker may have left the channel since the approval.
        await self.check_asker()
        to, text = self._read(row)
        answer = _read_answer(row)
        part = AnswerPart(1, text, answer, is_final=True)
        surface = self._messenger.surface(to)
        # Set before the call: from now on, nobody knows whether a post was made. Without an
        # answer, `check` reports an unknown outcome, so that this process does not post again.
        self._may_arrive = True

        try:
            post = row.id or await retry(
                lambda: surface.post(_key(to), part),
                PlatformBusy,
                lambda busy, failed: busy.seconds,
                max_wait_seconds=BUSY_POST_SECONDS,
            )
        except (PlatformBusy, Undeliverable) as refused:
            # The platform refused it, so no post can arrive later.
            self._may_arrive = False
            log.info("platform refused a post", error=str(refused))
            raise ToolError(_BUSY if isinstance(refused, PlatformBusy) else NO_MEMBER) from refused
        except Exception as error:
            raise WriteUnsure(_UNFINISHED) from error
        if answer.files:
            try:
                if row.id:  # of a process that died before it posted the files
                    await surface.edit(post, part)
                key = f"{to.turn}:{FILES_NUMBER}"
                if not await surface.find(FILES_NUMBER, key):
                    await surface.upload(key, answer.files)
            except Exception as error:
                raise WriteUnsure(_UNFINISHED) from error
            self._has_files = True
        return [replace(row, id=post)]

    async def _find(self, row: RowWrite) -> str:
        """Return "" if there is certainly no post. Raise ToolError if that is not known."""
        to, text = self._read(row)
        try:
            return await self._messenger.find_post(to, _key(to), text) or ""
        except Exception as error:
            log.info("could not search for an earlier post", error=repr(error))
            raise ToolError(_UNREAD) from error

    def _read(self, row: RowWrite) -> tuple[ReplyTo, str]:
        to = decode_json(ReplyTo, row.applier_data)
        # There is one part: `MAX_POST_CHARACTERS` is below the lengths at which platforms split.
        return to, self._messenger.surface(to).split(str((row.after or {})["text"]))[0]


def _build_row(text: str, asker: Person) -> RowWrite:
    """Raise ToolError if the text is empty, or too long for the card that people approve."""
    # Invisible characters alone are no text.
    if not clean_text(text).strip():
        raise ToolError("The text is empty.")
    # The text is a quote, so that no line of it can be taken for the last line. A name must not
    # mention anybody, so its @ is replaced by a similar character.
    body = f"{quote_inert(text)}\n\n{say('Requested by {name}.', name=_name_asker(asker))}"
    # 1000 characters leave room for the quote marks and the last line.
    _check_length(body)
    return RowWrite(after={"text": body, "typed": text})


def _read_answer(row: RowWrite) -> Answer:
    after = row.after or {}
    if stored := after.get("answer"):
        return decode_json(Answer, str(stored))
    text = str(after.get("text", ""))
    return Answer(text, parts=(text,))


def _build_draft(
    asker: Person, address: Address, person: Person | None, title: str, row: RowWrite
) -> Draft:
    # The name of the place in rules of ponte.toml; a direct message has no workspace there.
    workspace = [] if person else [address.workspace]
    target = {
        "asker": encode_json(replace(asker, name="")),
        "address": encode_json(address),
        "person": encode_json(replace(person, name="")) if person else "",
        "place": ":".join([address.platform, *workspace, address.channel]),
    }
    return Draft(POST_APPLIER, "post", target, title, (row,), NO_UNDO)


def _name_asker(asker: Person) -> str:
    return escape_markdown(to_one_line(asker.label, 80)).replace("@", "＠")


def _check_length(body: str) -> None:
    # Slack's card has a limit of bytes, after `&`, `<` and `>` are escaped.
    is_long = len(body) > MAX_POST_CHARACTERS
    if is_long or len(html.escape(body, quote=False).encode()) > MAX_POST_BYTES:
        raise ToolError(_TOO_LONG, hint="write at most 1000 characters")


def _key(to: ReplyTo) -> str:
    # The platform stores the key with the post where it can, and finds the post by it after a
    # crash.
    return f"{to.turn}:1"


async def may_write(
    messenger: Messenger,
    person: Person | None,
    address: Address,
    other: Person | None,
    *,
    afresh: bool = False,
) -> bool | None:
    """None if the platform cannot tell, or not within `PLACE_CHECK_SECONDS`. Callers refuse a post
    then."""

    async def ask() -> bool | None:
        if person is not None and other is not None:
            return await messenger.can_write_to(person, other, address)
        return await messenger.can_write(person, address, afresh=afresh)

    try:
        async with asyncio.timeout(PLACE_CHECK_SECONDS):
            return await retry(
                ask,
                PlatformBusy,
                lambda busy, failed: busy.seconds,
                max_wait_seconds=PLACE_CHECK_SECONDS,
            )
    except (PlatformBusy, TimeoutError):
        return None


MAX_POST_CHARACTERS = 1_200
"""Characters of the longest post, with its quote marks and its last line. A card of Slack or
Discord shows all of it."""
MAX_POST_BYTES = 2_200
"""Bytes of the longest post, after `&`, `<` and `>` are escaped. Slack's card has 2,900 bytes."""
_NOT_HERE = "You can ask for posts in other channels only on {platforms}."
_TOO_LONG = "This text is too long to post in another channel. The card has to show all of it."
_NOT_SHOWN = "`{name}` can't be shown there, so the answer isn't shared."
_NOT_INVITED = (
    "I can't post there. Add me to the channel (in Slack: `/invite`), then press the button again."
)
_OUTSIDERS = "Guests or people of another organization may be able to read this channel."
_HERE = "This is the current conversation."
_NOT_MENTIONED = "Mention the channel or the person in your message, so that I know where to post."


class _PostTool(FunctionTool):
    """A tool whose calls post nothing before a person approves, so that a call may run again after
    a crash. `messengers` are the chat platforms by name."""

    messengers: Messengers = MappingProxyType({})

    def only_proposes(self, arguments: str) -> bool:
        return True

    def is_offered(self, message: Message) -> bool:
        """Only mentions in a message that a person wrote just now say where to post."""
        is_typed_now = message.origin.is_authored and not message.author.is_bot
        return is_typed_now and message.address.platform in self.messengers


class PlacePostSource(FixedToolSource):
    """The source of the tool `post_message`, which proposes posts in other places (the port
    `ToolSource`). It is offered on chat platforms."""

    name = "posting"

    def __init__(self, messengers: Messengers) -> None:
        self._messengers = messengers
        tool = _PostTool(self.post_message, effect="write", doing="is preparing a post…")
        tool.messengers = messengers
        self._tools = (tool,)

    async def post_message(self, ctx: ToolContext, to: str, text: str) -> Outcome:
        """Propose to post a text in another channel or to a person, if the asker wants that.

        Args:
            to: as the asker's message mentions it: #sales, @Ana
            text: at most 1000 characters
        """
        messenger = self._messengers.get(ctx.address.platform)
        if messenger is None or ctx.asker.is_bot:
            platforms = ", ".join(name.title() for name in self._messengers)
            raise ToolError(_NOT_HERE, platforms=platforms, hint=TELL_HINT)
        # Only mentions that the platform reports in the asker's own message count. Text, also the
        # display name of a person who is mentioned, can therefore not choose where a model posts.
        name = to.strip().strip("<>").partition("|")[0]
        # `to` may be the words of a mention (#sales), its id, or the raw form (<#C1|sales>).
        # `place_text` then gets one sign, # or @, by which a person is told from a channel below.
        matches = {
            (label[:1] + label.lstrip("#@!"), id)
            for label, id in ctx.message.mentions
            if fold_case(name).lstrip("#@!") in (fold_case(label).lstrip("#@!"), fold_case(id))
        }
        # Two mentions can read alike; then the asker must say which one is meant.
        if len({id for _, id in matches}) != 1:
            raise ToolError(_NOT_MENTIONED, hint=TELL_HINT)
        place_text, id = min(matches)
        if id == ctx.address.channel:
            raise ToolError(_HERE, hint="answer here")
        row = _build_row(text, ctx.asker)
        address = Address(ctx.address.platform, id, ctx.address.workspace, is_shared=True)
        person = None
        if place_text.startswith("@"):
            try:
                people = await messenger.members([f"{address.platform}:{id}"])
            except PlatformBusy as error:
                raise ToolError(NOT_KNOWN, code=StatusUnknown.code) from error
            # `members` gives a group's members, which may be a single one, and leaves programs out.
            if len(people) != 1 or people[0].id != id:
                raise ToolError(NO_MEMBER, hint=TELL_HINT)
            person = people[0]
        may = await may_write(messenger, ctx.asker, address, person)
        # None: the platform does not tell now.
        if may is False:
            raise ToolError(NO_MEMBER, hint=TELL_HINT)
        # The name of a channel is shown only to its members. If it is not known whether the asker
        # is one, that is asked again before the post is made.
        if person is not None:
            place_text = f"@{person.name or id}"
        elif may:
            place_text = await messenger.title(address) or place_text
        title = to_one_line(place_text, 80)
        return await ctx.turn.propose(_build_draft(ctx.asker, address, person, title, row))


_OUTCOMES = {
    "applying": "In progress.",
    "done": "Posted.",
    "failed": "Not posted. {words}",
    "partial": "The result is unknown. Check that channel before you ask again. {words}",
}


class PlacePost(Kind):
    """A change that posts a text, which is its only row."""

    title = "Post to {title}"
    outcomes = _OUTCOMES
    no_undo = NO_UNDO
    has_rows = False

    def build_title(self, change: Change) -> str:
        """Return the title of the card: the name of the place, and the platform's id of it."""
        return f"{super().build_title(change)} ({change.draft.view.place.rpartition(':')[2]})"

    def name_deed(self, change: Change) -> str:
        title = change.draft.title
        return say(self.title, title=title) if is_deed_title(title) else ""

    def rights_to_propose(self, draft: Draft) -> Sequence[tuple[str, ...]]:
        return [("propose",), ("post", draft.view.place)]

    def tool_names(self, draft: Draft) -> tuple[str, ...]:
        return (POST_TOOL,)

    def describe(self, change: Change) -> str:
        """People approve the whole post."""
        after = change.steps[0].write.after or {}
        return f"{after.get('text', '')}\n\n{after.get('note', '')}".strip()

    def form_fields(self, change: Change) -> Sequence[FormField]:
        """There is no field if the text was erased."""
        text = (change.steps[0].write.after or {}).get("typed")
        return [FormField(TEXT_KEY, say("Text"), "lines", str(text))] if text else []

    def build_note(self, change: Change, outcome: str) -> str:
        what = f"post in {clip_line(change.draft.title)!r}"
        return NOTE_TEMPLATE.format(words=f"Proposal {change.id} ({what}): {outcome}")


PLACE_POST = PlacePost()
