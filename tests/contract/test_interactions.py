"""Commands, clicks and forms: the order of rights, storing, acknowledging and notices."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from core.base.errors import NotStored
from core.base.tasks import BackgroundTasks
from core.chat.interactions import InteractionLimits, InteractionRequest, Interactions
from core.domain.buttons import ButtonForm, ButtonPress, PressResult
from core.domain.changes import ChangeForm
from core.domain.messages import Address, Message, Person
from core.domain.ports import NO_STEP, TransactionStep
from core.domain.records import Receipt
from core.domain.rights import Verdict
from core.people.policy import Policy
from tests.fakes.choices import EmptyStatusBoard, allow_list, make_message

ANA = Person("discord", "1")
CHANNEL = Address("discord", "7", "9", is_shared=True)


class RecordedInbox:
    """Stores a message, fails, or takes longer than any deadline."""

    def __init__(self, events: list[str], trouble: str = "") -> None:
        self._events = events
        self._trouble = trouble
        self._keys: set[str] = set()

    async def accept(self, message: Message, also: TransactionStep = NO_STEP) -> Receipt:
        if self._trouble == "full":
            raise NotStored
        if self._trouble == "slow":
            await asyncio.Event().wait()
        self._events.append("stored")
        is_new = message.event_key not in self._keys
        self._keys.add(message.event_key)
        return Receipt(1, message.turn, is_new)

    async def amend(self, event_key: str, message: Message | None) -> str:
        assert message is None
        self._events.append(f"withdrawn {event_key}")
        return "unstarted"


@dataclass
class RecordedPeople:
    policy: Policy
    events: list[str]

    def note_refusal(self, person: Person, address: Address, verdict: Verdict) -> None:
        self.events.append("refusal noted")


class RecordedInteraction:
    """The port `ChatInteraction`, which writes down the calls."""

    person = ANA
    address = CHANNEL
    locale = "en"

    def __init__(self, events: list[str], limits: InteractionLimits) -> None:
        self._events = events
        self.limits = limits

    async def learn_about_person(self) -> None:
        self._events.append("learned")

    async def make_message(self, request: InteractionRequest) -> Message:
        return make_message(request.text, "k1", CHANNEL.conversation)

    async def acknowledge(self, receipt: Receipt, request: InteractionRequest) -> bool:
        self._events.append("acknowledged")
        return receipt.is_new

    async def notify(self, words: str) -> None:
        self._events.append(f"notified: {words}")

    async def open_form(self, press: ButtonPress, form: ButtonForm | ChangeForm) -> str:
        self._events.append(f"opened: {form.title}")
        return ""

    async def show(self, result: PressResult) -> None:
        self._events.append(f"shown: {result.words}")


class InteractionSetting:
    def __init__(self, allow: frozenset[str] = frozenset({"*"}), trouble: str = "") -> None:
        self.events: list[str] = []
        self.tasks = BackgroundTasks("test")
        people = RecordedPeople(allow_list(allow), self.events)
        inbox = RecordedInbox(self.events, trouble)
        stores = SimpleNamespace(inbox=inbox)
        self.kit = Interactions(stores, people, EmptyStatusBoard(), self.tasks)  # type: ignore[arg-type]

    def interaction(self, limits: InteractionLimits) -> RecordedInteraction:
        return RecordedInteraction(self.events, limits)


LIMITS = InteractionLimits(60.0, 60.0)
ASK = InteractionRequest("hello")


async def test_it_is_stored_before_it_is_acknowledged_and_a_repeat_counts_once() -> None:
    setting = InteractionSetting()
    assert await setting.kit.submit(setting.interaction(LIMITS), ASK)
    assert setting.events == ["learned", "stored", "acknowledged"]
    assert not await setting.kit.submit(setting.interaction(LIMITS), ASK)


async def test_without_the_right_nothing_is_stored() -> None:
    setting = InteractionSetting(frozenset())
    request = InteractionRequest("quick-command x", "spend")
    assert not await setting.kit.submit(setting.interaction(LIMITS), request)
    assert setting.events[:2] == ["learned", "refusal noted"]
    assert setting.events[2].startswith("notified: ")
    assert len(setting.events) == 3


async def test_where_the_turn_alone_checks_rights_nobody_is_asked_before_storing() -> None:
    setting = InteractionSetting(frozenset())
    limits = InteractionLimits(60.0, checks_rights_before_storing=False)
    request = InteractionRequest("quick-command x", "spend")
    assert await setting.kit.submit(setting.interaction(limits), request)
    assert setting.events == ["stored", "acknowledged"]


@pytest.mark.parametrize("trouble", ["full", "slow"])
async def test_a_message_that_is_not_stored_is_not_acknowledged(trouble: str) -> None:
    setting = InteractionSetting(trouble=trouble)
    assert not await setting.kit.submit(setting.interaction(InteractionLimits(60.0, 0.01)), ASK)
    await asyncio.sleep(0)
    notices = [event for event in setting.events if event.startswith("notified: ")]
    assert len(notices) == 1
    assert "I couldn't save your message" in notices[0]
    assert "acknowledged" not in setting.events
    withdrawals = [event for event in setting.events if event.startswith("withdrawn")]
    assert len(withdrawals) == (1 if trouble == "slow" else 0), "it may be stored later"


async def test_once_intake_has_stopped_everybody_is_asked_to_try_again() -> None:
    setting = InteractionSetting()
    setting.kit.is_open = False
    assert not await setting.kit.submit(setting.interaction(LIMITS), ASK)
    assert setting.events == ["notified: I'm about to restart. Try again in a minute."]


async def test_a_form_that_cannot_be_shown_is_replaced_by_a_sentence() -> None:
    setting = InteractionSetting()

    async def show() -> str:
        return "Type it instead."

    assert not await setting.kit.show_form(setting.interaction(LIMITS), show)
    assert setting.events == ["learned", "notified: Type it instead."]
