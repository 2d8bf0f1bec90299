"""Sends notices (cards to approvers who do not read the channel, reminders, expiry, and notices to
a person that are about no change), and redraws cards when the state of their change differs.

The outbox stores the recipients before anything is posted, and each post before and after it is
made. The first decision closes all copies of a card.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import structlog

from core.base.errors import (
    NotFound,
    PlatformBusy,
    PonteError,
    PostRemoved,
    TakenOver,
    Undeliverable,
)
from core.base.i18n import format_duration, say, use_locale
from core.base.markdown import escape_markdown
from core.base.tasks import retry
from core.base.text import clip_line
from core.base.trust import show_reason
from core.changes.service import ChangeService
from core.changes.standing import RULES, NotKnown, RuleRefusal, judge_notice
from core.chat.buttons import BUTTONS
from core.chat.reply import TurnPosts
from core.commands.grammar import localize_command
from core.domain.changes import ApprovalNotice, Change, NoticeKind, NoticeStage
from core.domain.messages import Address, Answer, Card, Person, Post, ReplyTo, turn_id
from core.domain.ports import Messenger, Reply, ReplyFactory
from core.domain.records import FINAL_STATES, Turn
from core.journal.journal import Journal
from core.people.notices import ACCESS_REMOVED, SENTENCES, Outbox, PersonNotice

log = structlog.get_logger("approvals")
MAX_COPIES = 20
"""How many copies one card can have."""
OUTGOING_POST_SECONDS = 30.0
"""After this time, the round continues without a post, which is retried later."""
MAX_COPY_REDRAWS = 20
"""Failed redraws of a copy after which Ponte gives up."""
_STATUS_RETRY_SECONDS = 20.0
"""The pause before an unknown status of a person is looked up again."""
_FOREVER = float("inf")
_HOUR_SECONDS = 3_600.0
_REMINDERS: tuple[NoticeKind, ...] = ("reminder", "last_hour")
MORE_REQUESTS = (
    "{count} more request is waiting for you.",
    "{count} more requests are waiting for you.",
)
_COPY = "{name} requested this in {place}. You can decide: type `approve {id}` or `deny {id}`."
_AGE = "This request has been waiting for more than {duration}."
_DIRECT, _ELSEWHERE = "a direct message with me", "another conversation"
_REMINDER = (
    "`{id}` is waiting for approval: {title}. It expires in {left}. Type `approve {id}` or "
    "`deny {id}`."
)
_REMINDER_OF_ASKER = "`{id}` is waiting for someone else's approval: {title}. It expires in {left}."
_EXPIRED = (
    "`{id}` expired because no one approved it within 24 hours: {title}. Nothing was changed."
)
_AGAIN = "To propose this request again, type `again {id}`."
_ASK_AGAIN = "If you still want this, ask again."
_DENIED = "{name} denied `{id}`: {title}. Reason: “{reason}”"


@dataclass
class OutgoingPosts:
    """Records whether the post of one notice was made (the port `PostJournal`), in the table
    `outbox`, so that no notice is posted twice. `outgoing` is the notice."""

    outbox: Outbox
    outgoing: ApprovalNotice
    check_ownership: Callable[[], None]
    version: int = 0
    """The version of the change that is about to be shown."""
    is_resumed = False

    async def list_posts(self) -> Sequence[Post]:
        """Return the post of the notice, if it is posted, removed, or being posted. A `Reply` makes
        the first part of an answer under the same key. Without `reply_to`, nothing was posted:
        nobody was to be told."""
        notice = self.outgoing
        key = f"{notice.reply_to.turn if notice.reply_to else ''}:1"
        match notice.state:
            case "posting":
                return [Post(1, key)]
            case "posted" | "removed" as state:
                return [Post(1, key, notice.post, state)]
            case _:  # "new": not posted yet; "refused": the platform does not take it
                return []

    async def record_posting(self, number: int, key: str) -> None:
        """A crash then leaves a sign that the notice may have been posted."""
        await self.put(state="posting")

    async def record_posted(self, number: int, post: str, last: bool = False) -> None:
        """Record the post's id, and which version of the change it shows. The text is stored only
        for a copy of a card, which is redrawn later."""
        text = self.outgoing.text if self.outgoing.kind == "copy" else ""
        await self.put(state="posted", post=post, text=text, drawn_version=self.version)

    async def record_removed(self, number: int) -> None:
        """A person deleted the post, or it is not needed: it is not posted again."""
        await self.put(state="removed", text="")

    async def put(self, **values: Any) -> None:
        """Store the notice with other values of some fields."""
        self.outgoing = replace(self.outgoing, **values)
        await self.outbox.put(self.outgoing)


@dataclass(slots=True)
class ApprovalNotices:
    """Sends notices about proposals to the people who can decide on them, and redraws their cards.
    `replies` and `messengers` are by platform. `locale` is for a person whose language is not
    known."""

    outbox: Outbox
    changes: ChangeService
    journal: Journal
    replies: Mapping[str, ReplyFactory]
    messengers: Mapping[str, Messenger]
    locale: str = "en"
    _begun: dict[object, tuple[OutgoingPosts, Reply]] = field(default_factory=dict, init=False)
    """Notices whose post may still be under way after the timeout."""
    _tries: Counter[object] = field(default_factory=Counter, init=False)
    """Failed redraws of a copy, by copy and version."""

    async def once(self) -> int:
        """Run one round: store the notices that are due (requests for a decision, reminders,
        expiries), post them, and redraw outdated copies of cards. Return how many failed for now,
        so that the caller comes back soon. Raises NotStored."""
        outbox, failures = self.outbox, 0
        rules, now = self.changes.approval.config.table_rules, self.changes.views.clock()
        reminded_before = now - (rules.remind_after or now)
        escalated_before = now - (rules.escalate_after or now)
        # A step stores the notices that a later one posts. Of reminders that are due at the same
        # time, only that of the last stage is sent.
        for find, step in (
            (lambda: outbox.list_due("asked", _FOREVER), self._ask),
            (lambda: outbox.list_due("escalated", escalated_before), self._escalate),
            (lambda: outbox.list_due("last_hour", now + _HOUR_SECONDS), self._remind_of_end),
            (lambda: outbox.list_due("reminded", reminded_before), self._remind),
            (lambda: outbox.list_due("expired", _FOREVER), self._announce_expiry),
            (outbox.list_unposted, self._post),
            (outbox.list_outdated, self._redraw),
        ):
            failures += await self._each(step, await find())
        return failures

    async def _each(
        self, step: Callable[[Any], Coroutine[Any, Any, None]], things: Collection[Any]
    ) -> int:
        """Run `step` on all `things` (ids of changes, or notices) at the same time, and return how
        many failed. Raises TakenOver: another process counts this one as dead, so that it must post
        nothing more."""
        # One failure must not cancel the others, which may be in the middle of a post.
        results = await asyncio.gather(*(step(thing) for thing in things), return_exceptions=True)
        failures = 0
        for error in results:
            if isinstance(error, TakenOver):
                raise error
            if error is not None and not isinstance(error, NotFound):  # purged meanwhile
                failures += 1
                write_line = log.info if isinstance(error, PlatformBusy) else log.warning
                name = step.__name__.strip("_")
                write_line("approval notice postponed", step=name, error=repr(error))
        return failures

    async def _ask(self, id: str, stage: NoticeStage = "asked") -> None:
        """Store a copy of the card of a new proposal for each approver who does not see it where it
        was asked for. That also records that they were asked, even if there is nobody. A process
        without the platform of the proposal leaves that to another one."""
        change = await self.changes.ledger.get(id)
        if self.messengers and change.proposal.address.platform in self.replies:
            people = await self._people(change, is_escalated=stage == "escalated")
            copies = [ApprovalNotice(id, "copy", person) for person in people]
            is_reminding = self.changes.approval.config.table_rules.remind_after > 0
            if stage == "escalated" and not copies and is_reminding:
                await self._remind(id)  # now, because no reminder follows an escalation
            await self.outbox.record_notices(id, stage, copies)

    async def _escalate(self, id: str) -> None:
        """Store a copy for each other person who can approve. It gives nobody a right."""
        await self._ask(id, "escalated")

    async def _people(self, change: Change, *, is_escalated: bool) -> Sequence[Person]:
        """Return the people who should get a copy of the card, at most MAX_COPIES: they may decide
        on the change, and do not see it where it was asked for. If it is escalated, admins and
        those who see it there are among them.

        Raises PlatformBusy if a platform cannot tell yet who they are.
        """
        approval, proposal = self.changes.approval, change.proposal
        asker = approval.canonical_person(proposal.asker.key)
        # `names` are the people and groups (`platform:ID`) who can decide.
        names, people = approval.to_be_asked(change), dict[str, Person]()
        if is_escalated and names:
            names |= approval.policy.admins
        have_copies = {copy.person.key for copy in await self.outbox.list_copies(change.id)}
        for platform, messenger in self.messengers.items():
            own_names = [name for name in names if name.startswith(f"{platform}:")]
            for person in await messenger.members(own_names) if own_names else ():
                # The asker sees the card in the answer, also under another account of theirs.
                if approval.canonical_person(person.key) == asker or person.key in have_copies:
                    continue
                standing = await approval.find_standing(
                    change, person, proposal.address, actions=["approve"] if is_escalated else ()
                )
                judgment = RULES["approve"](standing) if is_escalated else judge_notice(standing)
                if isinstance(judgment, NotKnown):
                    # Nobody is notified before everybody is known: the next round does it.
                    raise PlatformBusy(_STATUS_RETRY_SECONDS)
                if isinstance(judgment, RuleRefusal):
                    continue
                # A platform can tell only of its own channels who reads them. An unknown answer
                # (None) counts as no: a second card is better than an approver without one.
                here = platform == proposal.address.platform and not is_escalated
                if not here or not await messenger.can_read(person, proposal.address):
                    people[person.key] = person
        if len(people) > MAX_COPIES:
            log.warning(
                "too many approvers; only some were notified",
                change=change.id,
                notified_approvers=len(people),
            )
        return list(people.values())[:MAX_COPIES]

    async def _remind(self, id: str) -> None:
        """Store the reminders of an open proposal: to the approvers who got a copy of its card and
        have not approved it, or, without any, to the asker."""
        await self._store_reminders(id, "reminded", "reminder")

    async def _remind_of_end(self, id: str) -> None:
        """Store the reminders to the approvers and to the asker."""
        change = await self.changes.ledger.get(id)
        if change.proposal.expires_at > self.changes.views.clock():  # else it is closed soon
            await self._store_reminders(id, "last_hour", "last_hour")

    async def _store_reminders(self, id: str, stage: NoticeStage, kind: NoticeKind) -> None:
        change = await self.changes.ledger.get(id)
        # A person may have lost the right to approve since.
        approvers = (await self.changes.views.without_void(change)).approver_keys
        copies = [
            copy for copy in await self.outbox.list_copies(id) if copy.person.key not in approvers
        ]
        platform, people = change.proposal.address.platform, [copy.person for copy in copies]
        if platform in self.messengers:
            people += [change.proposal.asker] if not people or kind == "last_hour" else []
        elif not people and platform not in self.replies:
            return  # only a process that can remind the asker there may record that it did
        await self.outbox.record_notices(
            id, stage, [ApprovalNotice(id, kind, person) for person in people]
        )

    async def _announce_expiry(self, id: str) -> None:
        """Store the notice to the asker that a proposal has expired. Where Ponte sends no messages
        of its own, such as the page, only the card shows it; then record that nobody is to be
        notified. A process without the platform leaves this to another one."""
        change = await self.changes.ledger.get(id)
        platform = change.proposal.address.platform
        if platform in self.messengers:
            line = ApprovalNotice(id, "expired", change.proposal.asker)
            await self.outbox.record_notices(id, "expired", [line])
        elif platform in self.replies:
            await self.outbox.record_notices(id, "expired", [])

    async def _post(self, one: ApprovalNotice) -> None:
        """Post a notice. If an earlier attempt may have posted it, look for that post first.

        A notice about a proposal that was decided meanwhile is not needed any more. A post that
        takes too long goes on, and the next round waits for it again.
        """
        change = None if one.kind == "person" else await self.changes.ledger.get(one.change)
        # What is for the asker goes to where it was asked for.
        platform = one.person.platform
        if change is not None and one.person.key == change.proposal.asker.key:
            platform = change.proposal.address.platform
        # `messengers`: the platforms of this process on which Ponte can write unasked.
        if platform not in self.messengers:
            # Only a process with this platform can post there. Where Ponte sends no messages of its
            # own, the card shows the reason of a denial.
            if one.kind == "denied" and platform in self.replies:
                await self.outbox.put(replace(one, state="removed"))
            return
        # The reply of a post that timed out knows the call that may be under way. A new one could
        # post a second time.
        posts, reply = self._begun.get(one.key, (None, None))
        if posts is None or reply is None:
            posts = OutgoingPosts(self.outbox, one, self.journal.check_ownership)
            # A copy or a reminder is too late once somebody has decided.
            is_late = change is not None and one.kind != "expired" and change.state != "open"
            if change is not None and one.kind == "denied":
                is_late = not change.denial_reason  # erased meanwhile
            if one.state == "new" and is_late:  # nobody was notified, and no later round posts it
                await posts.record_removed(1)
                return
            try:
                to = await self._prepare_post(posts, change)
            except Undeliverable as error:
                await self._note_refusal(posts, error)
                return
            if to is None:  # there is nobody to notify any more
                return
            reply = self.replies[platform](to, posts)
        notice = posts.outgoing
        cards: tuple[Card, ...] = ()
        if change is not None:
            posts.version = change.version
        if change is not None and one.kind == "copy" and notice.reply_to is not None:
            cards = (await self._draw_copy(change, notice, notice.reply_to.address),)
        # After a timeout or another error, the next round continues this post.
        self._begun[one.key] = posts, reply
        try:
            async with asyncio.timeout(OUTGOING_POST_SECONDS):
                with use_locale(notice.locale):
                    await reply.finish(Answer(notice.text, parts=(notice.text,), cards=cards))
        except Undeliverable as error:
            await self._note_refusal(posts, error)
        except PostRemoved:
            log.info(
                "approval notice was deleted by its recipient", change=one.change, kind=one.kind
            )
        del self._begun[one.key]

    async def _note_refusal(self, posts: OutgoingPosts, error: Undeliverable) -> None:
        one = posts.outgoing
        log.warning(
            "could not send an approval notice", change=one.change, kind=one.kind, error=str(error)
        )
        await posts.put(state="refused", text="")

    async def _prepare_post(self, posts: OutgoingPosts, change: Change | None) -> ReplyTo | None:
        """Find the destination and the text of a notice, and store both before the post, so that
        an attempt after a crash looks for the post in the same place. Return the destination;
        None if there is none. `change` is None for a notice that is about no change.

        The text is in the language of its reader, if the platform tells it.
        """
        one = posts.outgoing
        if one.reply_to is not None:  # stored by an earlier attempt
            return one.reply_to
        destination = await self._find_destination(one, change)
        if destination is None:
            # Nobody to tell: no later round tries it.
            await posts.record_removed(1)
            return None
        to, locale = destination
        locale = locale or (change.proposal.locale if change else self.locale)
        with use_locale(locale):
            if change is None:
                # Its text is stored as data. The notice's time (0.0) is not in its words.
                text = PersonNotice.read(one.change, one.text, 0.0).words(escape_markdown)
            else:
                id, proposal = change.id, change.proposal
                title = escape_markdown(self.changes.views.builder.build_title(change))
                if one.kind == "expired":
                    text = say(_EXPIRED, id=id, title=title)
                    is_offered = "again" in self.changes.views.builder.possible_actions(change)
                    text += " " + (say(_AGAIN, id=id) if is_offered else say(_ASK_AGAIN))
                elif one.kind == "denied" and (decider := change.decider):
                    name = escape_markdown(clip_line(decider.label))
                    reason = escape_markdown(show_reason(change.denial_reason))
                    text = say(_DENIED, id=id, title=title, name=name, reason=reason)
                elif one.kind in _REMINDERS:
                    seconds = proposal.expires_at - self.changes.views.clock()
                    remaining = format_duration(max(60, seconds))  # not "0 minutes"
                    waits_for_others = (
                        one.person.key == proposal.asker.key
                        and not proposal.address.is_shared
                        and self.changes.approval.to_be_asked(change)
                    )
                    sentence = _REMINDER_OF_ASKER if waits_for_others else _REMINDER
                    text = say(sentence, id=id, title=title, left=remaining)
                else:
                    messenger = self.messengers.get(proposal.address.platform)
                    place = await messenger.title(proposal.address) if messenger else ""
                    where = say(_ELSEWHERE if proposal.address.is_shared else _DIRECT)
                    name = escape_markdown(clip_line(proposal.asker.label))
                    place = escape_markdown(clip_line(place)) or where
                    text = say(_COPY, id=id, name=name, place=place)
                    if (age := self.changes.views.clock() - proposal.created_at) > _HOUR_SECONDS:
                        age -= age % _HOUR_SECONDS
                        text += " " + say(_AGE, duration=format_duration(age))
        # Each attempt has the same key.
        to = replace(to, turn=turn_id(":".join(one.key)))
        await posts.put(reply_to=to, locale=locale, text=text)
        return to

    async def _find_destination(
        self, one: ApprovalNotice, change: Change | None
    ) -> tuple[ReplyTo, str] | None:
        """Return the destination of a notice and the locale of its reader; None if the place was
        forgotten or the notice is not needed any more.

        A copy of a card, and a notice that is about no change, go to a direct message. A reminder
        to an approver goes below their copy. All others go to where the change was asked for.
        """
        if change is None or one.kind == "copy":
            return await self.messengers[one.person.platform].open_direct_message(one.person)
        proposal = change.proposal
        if one.kind in _REMINDERS:
            # The buttons are on the copy of the card.
            copies = await self.outbox.list_copies(one.change)
            copy = next((copy for copy in copies if copy.person.key == one.person.key), None)
            if copy is not None and copy.reply_to is not None:
                messenger = self.messengers[one.person.platform]
                return messenger.destination_after(copy.reply_to, copy.post), copy.locale
            if one.person.key != proposal.asker.key:
                return None  # the person's copy was removed, so no reminder is needed
        turn = await self.journal.replace_cards(proposal.seq)  # replaces none: it reads the turn
        if turn is None:
            return None
        messenger = self.messengers[proposal.address.platform]
        return messenger.destination_after(turn.message.reply_to), proposal.locale

    async def _draw_copy(self, change: Change, one: ApprovalNotice, address: Address) -> Card:
        """Return the card as the recipient of the copy `one` sees it at `address`. They count as
        one who has a copy already, so that they may see it before it is posted."""
        recipients = change.copy_recipients | {one.person.key}
        change = replace(change, copy_recipients=recipients)
        with use_locale(one.locale):
            return await self.changes.views.card(change, one.person, address)

    async def _redraw(self, one: ApprovalNotice) -> None:
        """Redraw an approver's copy of a card. A copy that the platform refuses for good, or that
        failed MAX_COPY_REDRAWS times, counts as drawn, so that it is not tried again. Do nothing
        without a connection to the platform, or while it is not known where the copy is posted
        (`reply_to`)."""
        if one.person.platform not in self.messengers or one.reply_to is None:
            return
        change = await self.changes.ledger.get(one.change)
        posts = OutgoingPosts(self.outbox, one, self.journal.check_ownership)
        card = await self._draw_copy(change, one, one.reply_to.address)
        reply = self.replies[one.person.platform](one.reply_to, posts)
        name = (one.key, change.version)  # a newer version gets new attempts
        try:
            async with asyncio.timeout(OUTGOING_POST_SECONDS):
                with use_locale(one.locale):
                    await reply.refresh(Answer(one.text, parts=(one.text,), cards=(card,)))
        except Undeliverable as refused:
            log.info(
                "approval notice cannot be updated any more", change=one.change, error=str(refused)
            )
        except Exception as error:
            self._tries[name] += 1
            if self._tries[name] < MAX_COPY_REDRAWS:
                raise
            log.warning("could not update an approval notice", change=one.change, error=repr(error))
        self._tries.pop(name, None)
        # Otherwise `refresh` recorded that the person deleted the post.
        if posts.outgoing.state == "posted":
            await posts.put(drawn_version=change.version)


class PersonNoticeService:
    """Lists and deletes the notices that Ponte has for a person by itself, not as the answer to a
    message: for example that a schedule was paused, or a token renewed.

    `canonical_person` returns one key for a person who has several accounts (Slack, the page).
    `wake` makes the task that sends notices look for new ones now.
    """

    def __init__(
        self, outbox: Outbox, canonical_person: Callable[[str], str], wake: Callable[[], None]
    ) -> None:
        self._outbox = outbox
        self._canonical_person = canonical_person
        self.wake = wake

    async def list_waiting(self, person: Person) -> Sequence[PersonNotice]:
        """Return the notices that this person has not closed, oldest first. A later person of the
        same name does not get the notice that an earlier account was removed."""
        waiting = await self._outbox.list_person_notices(self._canonical_person(person.key))
        return [one for one in waiting if one.kind in SENTENCES and one.kind != ACCESS_REMOVED]

    async def dismiss(self, person: Person, id: str) -> bool:
        """Delete a notice that the person has closed. False if they have none with this id."""
        return await self._outbox.remove_person_notice(self._canonical_person(person.key), id)


cards_log = structlog.get_logger("cards")
CARD_STATES = {
    "open": "waiting for approval", "applying": "in progress", "done": "done",
    "partial": "partly done", "failed": "failed", "denied": "denied", "expired": "expired",
    "withdrawn": "withdrawn", "undone": "undone",
}  # fmt: skip
"""The words for the states of a card in English; `say` translates them."""
_STATE_SIGNS = {
    "open": "●", "applying": "…", "done": "✓", "partial": "!", "failed": "!", "denied": "✕",
    "expired": "–", "withdrawn": "–", "undone": "↶",
}  # fmt: skip
_UNMARKED_STATES = ("denied", "failed", "expired", "withdrawn", "undone")


def describe_state(state: str) -> str:
    """Return sign and word, as in "✓ done", in the language of the current task."""
    return f"{_STATE_SIGNS.get(state, '●')} {say(CARD_STATES.get(state, state))}"


def marks_values(card: Card) -> bool:
    """Return whether a platform marks new values on the card and strikes old ones. Not for a change
    that was not made or was undone: its values are neither new nor gone."""
    return card.state not in _UNMARKED_STATES


def list_typed(id: str, actions: Sequence[str]) -> list[str]:
    """Return what a person types in place of pressing these buttons of a card, such as
    `approve abc234`, in the language of the current task."""
    return [
        say(typed, id=id)
        if (typed := BUTTONS[action].typed)
        else f"{localize_command(action)} {id}"
        for action in actions
    ]


REDRAW_RETRY_SECONDS = 20.0
"""The pause before a failed redraw is retried."""
REDRAW_PERIOD_SECONDS = 60.0
"""The pause between two checks for expired proposals."""
MAX_REDRAW_TRIES = 20
"""Failed redraws of a card after which Ponte gives up."""
_POSTED_STATES = ("done", "stopped", "failed")
"""The turn has ended with a posted answer. Only then can its cards be edited."""


@dataclass(slots=True)
class CardRedraw:
    """The background task that redraws cards in posts when the state of their change differs from
    what they show, and has the notices about changes sent.

    - `due`: set when a change has a new state, so that the task looks at once.
    - `replies`: builds the reply that edits a post, by platform. Only a process with the platform
      has one.
    - `requests`: sends the notices about proposals.
    - `outbox`: knows which cards of requests the answers to the command `approvals` show.
    """

    due: asyncio.Event
    changes: ChangeService
    journal: Journal
    replies: Mapping[str, ReplyFactory]
    requests: ApprovalNotices
    outbox: Outbox
    _tries: Counter[tuple[str, str]] = field(default_factory=Counter, init=False)
    """Failed redraws, by change and by the turn whose answer shows its card."""

    async def run(self) -> None:
        """Redraw cards until cancelled: when `due` is set, and periodically, because proposals
        expire without an event. After a failure, try again after REDRAW_RETRY_SECONDS."""
        while True:
            self.due.clear()  # before the look, so that an event during it causes another one
            wait = REDRAW_RETRY_SECONDS
            try:
                wait = REDRAW_RETRY_SECONDS if await self.once() else REDRAW_PERIOD_SECONDS
            except PonteError as error:
                cards_log.warning("could not load cards; retrying", error=str(error))
            except Exception:
                cards_log.exception("updating cards failed unexpectedly")
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self.due.wait()

    async def once(self) -> int:
        """Redraw all outdated cards and send due notices. Return how many failed for now. Raises
        NotStored.

        The ledger has a version for each change and the version that its card shows. A card that
        cannot be drawn yet (None: its turn is not posted) stays outdated, and does not count as a
        failure: the end of its turn posts it.
        """
        await self.changes.lifecycle.end_overdue()
        failures, ledger, views = 0, self.changes.ledger, self.changes.views
        # All cards of a message at once: an edit sends them all, and puts back the buttons of those
        # that were decided and not yet replaced.
        by_message: dict[int, list[Change]] = defaultdict(list)
        for change in await ledger.list_undrawn():
            # Only a process with this platform can post there.
            if change.proposal.address.platform in self.replies:
                by_message[change.proposal.seq].append(change)
        for seq, changes in by_message.items():  # `seq` is the turn whose answer shows them
            with use_locale(changes[0].proposal.locale):
                cards = [await views.card(change) for change in changes]
            is_drawn = await self._replace_cards(seq, cards)
            for change in changes if is_drawn else ():
                await ledger.record_drawn(change)
            failures += is_drawn is False
        # The answers to the command `approvals`, which lists requests.
        for listed in await self.outbox.list_outdated("list"):
            if listed.person.platform not in self.replies:
                continue
            change, is_drawn = await ledger.get(listed.change), True
            if listed.text and listed.reply_to is not None:  # not forgotten
                with use_locale(listed.locale):
                    card = await views.card(change, listed.person, listed.reply_to.address)
                # The text is the number of the message with the command.
                is_drawn = await self._replace_cards(int(listed.text), [card])
            if is_drawn:
                await self.outbox.put(replace(listed, drawn_version=change.version))
            failures += is_drawn is False
        # Due notices to approvers are sent at the end.
        return failures + await self.requests.once()

    async def _replace_cards(self, seq: int, cards: Sequence[Card]) -> bool | None:
        """Draw these cards in the answer of the turn `seq`, in the journal and on its platform.
        True if nothing is left to do, None if the end of the turn posts them, and False if they
        must be retried later."""
        turn = await self.journal.replace_cards(seq, cards)
        if turn is None:  # deleted or forgotten
            return True
        if turn.state not in FINAL_STATES:
            return None
        # A card that the answer does not show cannot be drawn in it. Other final states have no
        # post: it failed for good, a person removed it, or the message was withdrawn.
        answer = turn.answer if turn.state in _POSTED_STATES else None
        if answer is None or not {card.id for card in answer.cards} & {card.id for card in cards}:
            return True
        # All cards of the answer are drawn. One id is enough for the log and the count.
        return await self._refresh(turn, answer, cards[0].id)

    async def _refresh(self, turn: Turn, answer: Answer, change: str) -> bool:
        """Edit the post that shows the cards of the turn's answer. If the platform is busy, wait
        once and retry. False if it must be retried later. After MAX_REDRAW_TRIES failures True:
        Ponte gives up. `change` is an id for the log and the count of failures."""
        build = self.replies.get(turn.message.address.platform)
        # Only a process with this platform can edit there.
        if build is None:
            return True
        reply = build(turn.message.reply_to, TurnPosts(self.journal, turn))
        try:
            with use_locale(turn.message.locale):
                # A second busy answer leaves the card to a later round: others need not wait.
                await retry(
                    lambda: reply.refresh(answer),
                    PlatformBusy,
                    lambda busy, failed: busy.seconds if failed == 1 else None,
                )
        except Undeliverable as gone:
            cards_log.info("card cannot be updated any more", turn=turn.id, error=str(gone))
        except Exception as error:
            self._tries[change, turn.id] += 1
            cards_log.warning("could not update a card", change=change, error=repr(error))
            return self._tries[change, turn.id] >= MAX_REDRAW_TRIES
        return True
