"""What people see of changes: cards, lists and answers, drawn for a person at a place."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from core.base.errors import NotAllowed, StatusUnknown
from core.base.i18n import say
from core.base.text import clip_line
from core.changes.approval import ASKER_UNKNOWN, Approval
from core.changes.cards import CardBuilder
from core.changes.ledger import SqlLedger
from core.domain.changes import Change, Consent, DecisionRequest, DisplayName, PendingRequest
from core.domain.messages import Address, Answer, Card, ChangeAction, Person
from core.domain.platforms import Platforms
from core.people.outbox import Outbox
from core.people.ports import OwnerNames
from core.people.rules import NO_RIGHTS, OWNER_ID

MAX_LISTED_CHANGES = 20
"""The largest number of changes that the command `changes` lists."""
MAX_NAMED_DECIDERS = 4
"""The largest number of people and groups that a card names as those who can decide on it."""
_MAX_NAME_CHARS = 60
_OTHERS, _AN_ADMIN = "another designated approver", "an admin"
_THE_OWNER = "the owner of the page"
_ON_THE_PAGE = "someone on the page"
_ON_PLATFORM = "someone on {platform}"
_IN_GROUP = "someone in {group}"
_IN_PROGRESS = "`{id}` was already decided and is in progress."
_UNDO_WITH = "To undo it, type `undo {id}`."


@dataclass(frozen=True, slots=True)
class ChangeViews:
    """Draws changes for people."""

    ledger: SqlLedger
    approval: Approval
    builder: CardBuilder
    clock: Callable[[], float]
    outbox: Outbox
    platforms: Platforms
    owner: OwnerNames

    async def cards(self, ids: Sequence[str]) -> Sequence[Card]:
        """Return the cards of these changes in their current state."""
        return [await self.card(await self.ledger.get(id)) for id in ids]

    async def card(
        self,
        change: Change,
        viewer: Person | None = None,
        address: Address | None = None,
        reached: bool = False,
    ) -> Card:
        """Return the card of a change as `viewer` sees it at `address`.

        Without these arguments, it is drawn for the asker, where they asked.
        A card in a shared place has all buttons, and its text names who can decide. A private card
        has only the buttons that its viewer may use. `reached`: this card is the copy that was sent
        to the viewer.
        """
        change = await self.without_void(change)
        viewer, address = viewer or change.proposal.asker, address or change.proposal.address
        shown = self.builder.possible_actions(change)
        if not address.is_shared:
            shown = tuple([
                action
                for action in shown
                if await self._may_use(action, change, viewer, address, reached)
            ])  # fmt: skip
        if change.state != "open":
            return self.builder.build(change, shown)
        is_named = bool(self.approval.named_deciders(change))
        deciders = ""
        if address.is_shared or is_named or "approve" not in shown:
            deciders = await self._deciders(change, viewer, address)
        count = self.approval.approvers(change.proposal).count
        # Where nobody is named, only admins can give the approvals of several people.
        needs_admin = self.approval.needs_admin(change) or (count > 1 and not is_named)
        asker = self.name_of_asker(change, viewer, address)
        return self.builder.build(change, shown, deciders, needs_admin, count, asker)

    async def find_latest(self, conversation: str) -> Sequence[Card]:
        """Return the cards of the latest changes, newest first. The
        conversation "" means all conversations."""
        found = await self.ledger.list_of_conversation(conversation, MAX_LISTED_CHANGES)
        return [await self.card(change) for change in found]

    async def waiting_for(self, person: Person, address: Address) -> Sequence[Change]:
        """Return the open changes that this person may approve now and has not approved yet, oldest
        first."""
        found = []
        for waiting in await self.ledger.list_waiting_for_people():
            change = await self.without_void(waiting)
            given = {consent.person.key for consent in change.consents}
            if change.proposal.expires_at <= self.clock() or person.key in given:
                continue
            reached = await self.outbox.has_reached(change.id, person.key)
            with suppress(NotAllowed, StatusUnknown):
                await self.approval.check_approval(person, address, change, reached)
                found.append(change)
        return found

    async def list_requests(self, person: Person, address: Address) -> Sequence[PendingRequest]:
        """Return the changes that wait for this person, with the cards as they see them at
        `address`, oldest first; at most MAX_LISTED_CHANGES."""
        waiting = await self.waiting_for(person, address)
        return [
            PendingRequest(change, await self.card(change, person, address))
            for change in waiting[:MAX_LISTED_CHANGES]
        ]

    def name_of_asker(self, change: Change, viewer: Person, address: Address) -> str:
        """Return the display name of the person who asked for the change; "" if it is the viewer,
        who has no name, in a private place."""
        asker = change.proposal.asker
        if asker.name:
            return clip_line(asker.name)
        if asker.key == viewer.key and not address.is_shared:
            return ""
        return say(_THE_OWNER) if self.approval.is_owner(asker) else clip_line(asker.id)

    async def _may_use(
        self,
        action: ChangeAction,
        change: Change,
        viewer: Person,
        address: Address,
        reached: bool = False,
    ) -> bool:
        """Return whether the button is shown to the viewer. If their rights are not known now, it
        is shown, because a click checks them again."""
        if action == "approve" and viewer.key in [one.person.key for one in change.consents]:
            return False
        reached = reached or await self.outbox.has_reached(change.id, viewer.key)
        checks = {
            "approve": self.approval.check_approval,
            "deny": self.approval.check_denial,
            "undo": self.approval.check,
        }
        try:
            await checks[action](viewer, address, change, reached)
        except StatusUnknown:
            return True
        except NotAllowed as error:
            return error.sentence == ASKER_UNKNOWN
        return True

    async def _deciders(self, change: Change, viewer: Person, address: Address) -> str:
        """Return who can decide on the change, as text such as "Ana, someone in Finance or an
        admin"; "" if no name is known.

        It names at most MAX_NAMED_DECIDERS people and groups. Names of another platform than that
        of `address` are left out, unless the viewer may see all changes.
        """
        proposal = change.proposal
        named = sorted(self.approval.named_deciders(change))
        labels = await self.platforms.labels([name for name in named if ":" in name])
        everywhere = self.approval.sees_all(viewer)
        known = [self._label(name, labels, "" if everywhere else address.platform)
                 for name in named]  # fmt: skip
        words = [label for label in known if label]
        if named and not words:
            return ""
        if not self.approval.needs_admin(change):
            asker = proposal.asker
            if await self._may_use(
                "approve", replace(change, consents=()), asker, proposal.address
            ):
                words.append(self.name_of_asker(change, viewer, address) or say("you"))
        if not words:
            return ""
        words = list(dict.fromkeys(words))
        if None in known or len(words) > MAX_NAMED_DECIDERS:
            words = [*words[:MAX_NAMED_DECIDERS], say(_OTHERS)]
        if not self.approval.approvers(proposal).is_exclusive:
            words.append(say(_AN_ADMIN))
        *others, last = words
        return say("{names} or {last}", names=", ".join(others), last=last) if others else last

    def _label(self, name: str, labels: Mapping[str, DisplayName], platform: str) -> str | None:
        """Return how a card names this person, group or set to readers on `platform` ("" for
        readers who may see the names of every platform); None if the name is not known."""
        home, _, id = name.partition(":")
        platforms = self.approval.policy.platforms
        on_page = platforms.get(home, NO_RIGHTS).has_one_owner
        reads_page = platforms.get(platform, NO_RIGHTS).has_one_owner or not platform
        if on_page:
            if id in ("", OWNER_ID):
                return (self.owner.current if reads_page else "") or say(_THE_OWNER)
            return clip_line(id, _MAX_NAME_CHARS) if reads_page else say(_ON_THE_PAGE)
        if not id:
            return say(_IN_GROUP, group=clip_line(name, _MAX_NAME_CHARS))
        if platform not in ("", home):
            return say(_ON_PLATFORM, platform=home.capitalize())
        if (label := labels.get(name)) is None:
            return None
        shown = clip_line(label.name, _MAX_NAME_CHARS)
        return say(_IN_GROUP, group=shown) if label.is_group else shown

    async def without_void(self, change: Change) -> Change:
        """Return the change as people see it. While it is open, its approvals are those that still
        count, one for each person. An approval that cannot be checked now stays in the list."""
        if change.state != "open" or not change.consents:
            return change
        listed = {}
        for given in change.consents:
            key = self.approval.canonical_person(given.person.key)
            if key not in listed and await self.counts(given, change) is not False:
                listed[key] = given
        return replace(change, consents=tuple(listed.values()))

    async def counts(self, given: Consent, change: Change) -> bool | None:
        """Return whether this approval still counts; None if the platform does not report that
        now."""
        reached = await self.outbox.has_reached(change.id, given.person.key)
        return await self.approval.counts(given, change, reached)

    async def describe_state(
        self, change: Change, decision: DecisionRequest, unaudited: str = ""
    ) -> Answer:
        """Return the answer that describes the state of the change."""
        if change.state == "applying":
            words = [say(_IN_PROGRESS, id=change.id)]
        else:
            count = self.approval.approvers(change.proposal).count
            words = [self.builder.describe_outcome(await self.without_void(change), count)]
        answer = await self.build_answer([*words, unaudited], [change], decision)
        if (
            self.builder.is_undoable(change) and not answer.cards
        ):  # a card says itself how to undo it
            return replace(answer, text=f"{answer.text} {say(_UNDO_WITH, id=change.id)}")
        return answer

    async def build_answer(
        self, words: Sequence[str], shown: Sequence[Change], decision: DecisionRequest
    ) -> Answer:
        """Return an answer with the cards of these changes, where it shows them.

        Cards are shown after a click, and if a card is in another conversation. In a shared place
        other than that of the change, the answer is private and shows no values.
        """
        here, places = decision.address, [change.proposal.address for change in shown]
        text = " ".join(word for word in words if word)
        if here.is_shared and any(not here.is_same_channel(there) for there in places):
            return Answer(text, is_private=True)
        away = any(there.conversation != here.conversation for there in places)
        drawn = [await self.card(change, decision.person, here) for change in shown]
        return Answer(text, cards=tuple(drawn) if decision.is_click or away else ())
