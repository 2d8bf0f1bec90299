"""What people of a company's provider may do by a group that the provider confirmed some time ago:
with a clock that a test turns."""

from __future__ import annotations

import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from bot.compose import compose
from bot.config.ponte_toml import AccessRule, Config, read_config
from bot.features.sign_in import accounts
from bot.home import Home, Start
from bot.integrations import FACES
from bot.ponte import Ponte
from bot.settings import load
from core.domain.messages import Address, Answer, Message, Person, ReplyTo, turn_id
from core.people.audit import OPERATOR
from core.people.sign_ins import ABSENT_SECONDS, Identity
from core.schedules.schedule import ScheduleDraft, ScheduleRule
from tests.dialogues.decisions import typed_code
from tests.discord.discord_ponte import Speaker
from tests.fakes.clock import Clock
from tests.fakes.schedules import put_schedule
from tests.toys.shelf import Shelf, ShelfSource
from tests.toys.test_toys import Scripted

FILE = """
[sign_in.acme]
issuer = "https://login.acme.example"
client_id = "ponte"
secret = "ACME_SECRET"
anyone = true

[tools.shelf_add]
approvers = ["oidc:acme:group:leads"]
approvals = {approvals}

[[rules]]
who = ["oidc:acme:group:sales"]
allow = ["read", "propose", "tool:shelf_find"]

[[rules]]
deny = ["propose", "tool:shelf_find"]
"""
HOUR = 3600.0
SIX_DAYS_23_HOURS = ABSENT_SECONDS - HOUR
GROUPS = {"ana": ("sales",), "bia": ("leads",), "cleo": ("leads",)}
FIND = 'call shelf_find {"name": "Saw"}'
PROPOSE = 'call shelf_add {"things": [{"Name": "Saw"}]}'


def person_of(name: str) -> Person:
    return Person("oidc", f"acme:{name}", name=name)


@dataclass
class Office:
    """The page's people of Acme, and a shelf whose changes its leads must approve."""

    ponte: Ponte
    shelf: ShelfSource
    clock: Clock
    numbers: itertools.count[int]

    async def sign_in(self, name: str, *groups: str) -> None:
        """The provider confirms the person now."""
        identity = Identity("acme", person_of(name), groups or GROUPS[name])
        await self.ponte.accounts.record_sign_in(identity, self.clock.now)

    async def say(self, person: Person, text: str) -> Answer:
        address = Address("web", "main", person=person.key)
        key = f"{person.key} {next(self.numbers)}"
        to = ReplyTo(address, person, key, turn_id(key))
        inbox = self.ponte.engine.conversations.inbox
        receipt = await inbox.accept(Message(key, text, person, address, to))
        return await inbox.wait_for_answer(receipt.seq)

    async def propose(self, person: Person) -> str:
        answer = await self.say(person, PROPOSE)
        assert answer.cards, answer.text
        return answer.cards[0].id

    async def approve(self, name: str, id: str) -> str:
        """Press *Approve* on a card that was read. The approver is at the page."""
        await self.sign_in(name)
        answer = await self.say(person_of(name), f"approve {id}")
        if "approve" in answer.text and f"{id}-" in answer.text:
            answer = await self.say(person_of(name), f"approve {typed_code(answer)}")
        return answer.text

    async def start_schedule(self) -> Callable[[], Awaitable[tuple[Answer, str, str]]]:
        """Store a schedule of Ana's. The result runs it, and returns the answer with the state of
        the schedule."""
        ana, engine = person_of("ana"), self.ponte.engine
        to = ReplyTo(Address("web", "main", person=ana.key), ana, "source", "")
        draft = ScheduleDraft("ask", FIND, ScheduleRule("0 9 1 1 *"), "UTC")
        schedule = await put_schedule(engine.schedules.store, to, draft)

        async def run() -> tuple[Answer, str, str]:
            once = f"run {next(self.numbers)}"
            started = await engine.schedules.store.run_now(schedule.id, once, ana)
            answer = await engine.conversations.inbox.wait_for_answer(started.seq)
            await engine.schedules.scheduler.start_due_runs()
            stored = await engine.schedules.store.get(schedule.id)
            return answer, stored.state, stored.reason

        return run

    @property
    def is_done(self) -> bool:
        return bool(self.shelf.rows)

    def set_config(self, **changes: object) -> None:
        """Reload ponte.toml."""
        live = self.ponte.live
        live.current = replace(live.current, **changes)  # type: ignore[arg-type]


@pytest.fixture
def approvals() -> int:
    return 1


@pytest.fixture
async def office(
    nothing_set: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, approvals: int
) -> AsyncIterator[Office]:
    for name, value in {"SHELF": "on", "PONTE_WEB_PORT": "0", "ACME_SECRET": "s"}.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "ponte.toml").write_text(FILE.format(approvals=approvals))
    shelf, clock = ShelfSource(), Clock(time.time())
    monkeypatch.setattr(accounts, "time", SimpleNamespace(time=clock))
    others = [face for face in FACES if face.name not in ("model", "code")]
    faces = (Scripted(Speaker()), *others, Shelf(shelf))
    settings = load(faces)
    config: Config = read_config(settings.ponte_config, faces=faces)
    parts = Start(settings, config, Home(tmp_path / "h"))
    with parts.home.take():
        ponte = await compose(parts.settings, parts.config, parts.home)
        ponte.engine.people.policy.clock = clock
        await ponte.start()
        office = Office(ponte, shelf, clock, itertools.count())
        for name in GROUPS:
            await office.sign_in(name)
        yield office
        await ponte.stop()


async def test_a_request_outlives_its_asker_s_evening(office: Office) -> None:
    id = await office.propose(person_of("ana"))
    office.clock.now += 2 * HOUR
    await office.approve("bia", id)
    assert office.is_done
    office.clock.now += 2 * HOUR
    assert "couldn't be checked" not in (await office.say(person_of("ana"), f"why {id}")).text


@pytest.mark.parametrize("approvals", [2])
async def test_two_approvals_may_be_two_hours_apart(office: Office) -> None:
    id = await office.propose(person_of("ana"))
    assert "1 of 2 approvals" in await office.approve("bia", id)
    office.clock.now += 2 * HOUR
    await office.approve("cleo", id)
    assert office.is_done


async def test_who_decides_now_was_confirmed_within_the_hour(office: Office) -> None:
    id = await office.propose(person_of("ana"))
    office.clock.now += HOUR + 1
    answer = await office.say(person_of("bia"), f"approve {id}")
    assert (answer.code, office.is_done) == ("status_unknown", False)


Happen = Callable[[Office, str], Awaitable[None]]
"""What happens to a person between a deed and its application."""


async def remove(office: Office, name: str) -> None:
    await office.ponte.accounts.remove_sign_in(person_of(name).key, office.clock.now, OPERATOR)


async def sign_out_everywhere(office: Office, name: str) -> None:
    await office.ponte.accounts.end_all_sessions(person_of(name), office.clock.now)
    await office.sign_in(name)


async def lose_groups(office: Office, name: str) -> None:
    await office.sign_in(name, "others")


async def change_rules(office: Office, name: str) -> None:
    rule = AccessRule(who=(person_of(name).key,), deny=("propose", "approve"))
    office.set_config(rules=(rule, *office.ponte.live.current.rules))


async def take_out_provider(office: Office, name: str) -> None:
    office.set_config(sign_in={})


BETWEEN = [remove, sign_out_everywhere, lose_groups, change_rules, take_out_provider]


@pytest.mark.parametrize("happen", BETWEEN)
async def test_what_ends_a_request_of_an_asker(office: Office, happen: Happen) -> None:
    id = await office.propose(person_of("ana"))
    office.clock.now += 2 * HOUR
    await happen(office, "ana")
    answer = await office.approve("bia", id)
    assert not office.is_done
    if happen is not take_out_provider:  # the approver is of the same provider
        assert "can no longer be applied" in answer


@pytest.mark.parametrize("approvals", [2])
@pytest.mark.parametrize("happen", BETWEEN)
async def test_what_ends_an_approval(office: Office, happen: Happen) -> None:
    id = await office.propose(person_of("ana"))
    await office.approve("bia", id)
    office.clock.now += 2 * HOUR
    await happen(office, "bia")
    answer = await office.approve("cleo", id)
    assert not office.is_done
    if happen is not take_out_provider:
        assert "Some approvals are no longer valid" in answer


async def test_a_program_has_its_person_s_groups_for_a_week(office: Office) -> None:
    program = replace(person_of("ana"), is_bot=True, api_token="t1")
    office.clock.now += SIX_DAYS_23_HOURS
    assert "[]" in (await office.say(program, FIND)).text
    id = await office.propose(program)
    office.clock.now += 2 * HOUR
    await office.approve("bia", id)
    assert office.is_done, "the request goes on, although the program may ask for nothing more"
    await lose_groups(office, "ana")
    assert not (await office.say(program, PROPOSE)).cards
    assert "permission" in (await office.say(program, FIND)).text


@pytest.mark.parametrize("seconds", [SIX_DAYS_23_HOURS, ABSENT_SECONDS + 1])
async def test_a_schedule_runs_for_a_week_after_its_owner_was_confirmed(
    office: Office, seconds: float
) -> None:
    run = await office.start_schedule()
    office.clock.now += seconds
    answer, state, reason = await run()
    if seconds < ABSENT_SECONDS:
        assert ("[]" in answer.text, state) == (True, "active")
        await lose_groups(office, "ana")
        answer, state, _ = await run()
        assert ("[]" in answer.text, state) == (False, "active")
    else:
        assert (answer.text, state, reason) == ("", "paused", "rights")
        (notice,) = await office.ponte.engine.notices.list_waiting(person_of("ana"))
        assert "hadn't signed in with their company account for 7 days" in notice.words()


async def test_schedules_pause_when_their_owner_s_provider_is_taken_out(office: Office) -> None:
    run = await office.start_schedule()
    await take_out_provider(office, "ana")
    answer, state, reason = await run()
    assert (answer.text, state, reason) == ("", "paused", "rights")


async def test_what_a_group_is_denied_stays_denied_while_its_provider_is_taken_out(
    office: Office,
) -> None:
    """A turn that runs or waits goes on then."""
    office.set_config(rules=(AccessRule(who=("oidc:acme:group:sales",), deny=("tool",)),))
    assert "not_offered" in (await office.say(person_of("ana"), FIND)).text
    await take_out_provider(office, "ana")
    assert "not_offered" in (await office.say(person_of("ana"), FIND)).text
