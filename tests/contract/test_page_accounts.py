"""Who has a name on the page, over both databases; and that every process hears of it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import AsyncMock

import pytest

from bot.features.sign_in.accounts import PageAccountService, WrongName
from bot.people import PersonalDataService
from core.base.errors import BadInput, NotFound, Refusal
from core.chat.approval_notices import PersonNoticeService
from core.domain.messages import Address, Answer, Message, Person
from core.domain.records import EndedToken
from core.erasure import SqlPersonalData
from core.journal.jobs import Alone
from core.people.audit import OPERATOR
from core.people.notices import LINK_RENEWED, Outbox, PersonNotice, put_person_notice
from core.people.page_accounts import (
    MAX_API_TOKENS,
    NameTaken,
    SqlPageAccounts,
    TooManyApiTokens,
    hash_token,
    new_token,
)
from core.people.policy import MAX_STALE_SECONDS
from core.people.rules import Rule, RuleBook
from core.people.sign_ins import (
    ABSENT_SECONDS,
    CONFIRMED_SECONDS,
    AnotherIssuer,
    Identity,
)
from tests.contract.engines import Embedded, Shared, Worker
from tests.contract.test_inbox import says
from tests.fakes.choices import allow_list
from tests.fakes.config import fixed_rules

ANA = Person("web", "ana", name="ana")
FINANCE = frozenset({"oidc:corp:group:finance"})


@pytest.fixture
def people(stores: Embedded) -> SqlPageAccounts:
    return SqlPageAccounts(stores.database)


async def test_people_are_added_once_renewed_and_removed(
    people: SqlPageAccounts, stores: Embedded
) -> None:
    assert await people.list_all() == []
    assert await people.find("web:ana") is None
    token = new_token()
    assert len(token) >= 43
    for name, key in (("bia", "bia"), ("ana", token)):
        await people.add(f"web:{name}", hash_token(key))
    with pytest.raises(NameTaken, match="ponte people renew ana"):
        await people.add("web:ana", hash_token("other"))
    position = await people.find("web:ana")
    assert position is not None
    assert (position.token_hash, position.last_visit) == (hash_token(token), "")
    assert position.added_at > 1e9
    assert [one.person for one in await people.list_all()] == ["web:ana", "web:bia"]
    for day in ("2026-11-20", "2026-11-21", "2026-11-19"):
        await people.record_visit("web:ana", day)
    await people.record_visit("web:nobody", "2026-11-21")
    assert [one.last_visit for one in await people.list_all()] == ["2026-11-21", ""]
    await people.renew("web:bia", hash_token("new"))
    assert (await people.list_all())[1].token_hash == hash_token("new")
    await people.remove("web:bia")
    assert [one.person for one in await people.list_all()] == ["web:ana"]
    for removal in (people.renew("web:bia", hash_token("x")), people.remove("web:bia")):
        with pytest.raises(NotFound, match="bia"):
            await removal
    assert not await stores.holds(token), "only its hash is stored"


async def test_an_ended_session_stays_ended_until_it_would_have_ended(stores: Embedded) -> None:
    people = SqlPageAccounts(stores.database)
    await people.end_session("old", time.time() - 1)
    assert not await people.is_session_ended("one")
    for _ in range(2):
        await people.end_session("one", time.time() + 60)
    assert await people.is_session_ended("one")
    assert not await people.is_session_ended("two")
    rows = await stores.database.read(
        lambda c: [row["session"] for row in c.execute("SELECT session FROM ended_sessions")]
    )
    assert rows == ["one"]


async def test_a_list_has_one_s_own(stores: Embedded) -> None:
    """Also where a name ends as another does, or has signs that SQL takes for others."""
    places = {name: Address("web", "main", person=name) for name in ("", "ana", "diana", "a_a")}
    for name, place in places.items():
        await _talk(stores, f"of {name or 'owner'}", place)
    for name, place in places.items():
        (list_conversations,) = await stores.journal.list_conversations("web", name)
        assert list_conversations.conversation == place.conversation
        search = await stores.journal.search("web", "of", name)
        assert search.keys() == {place.conversation}
    assert await stores.journal.list_conversations("web", "iana") == []
    assert await stores.journal.list_conversations("slack", "ana") == []


async def _talk(embedded: Embedded, text: str, place: Address) -> None:
    receipt = await embedded.inbox.accept(_message(text, place))
    turn = await embedded.journal.begin(receipt.seq)
    assert turn is not None
    await embedded.journal.record_answer(turn, Answer("so"))
    await embedded.journal.end_turn(turn, "done")


def _message(text: str, place: Address) -> Message:
    reply = says(text)
    key = f"{reply.event_key} {place.person}"
    to = replace(reply.reply_to, address=place, turn=f"turn{place.person or 'owner'}")
    return replace(reply, event_key=key, address=place, author=ANA, reply_to=to)


def make_service(engine: Embedded) -> PageAccountService:
    peers = engine.jobs if isinstance(engine, Shared) else Alone()
    return PageAccountService(engine.database, peers, lambda: {"corp"})


async def test_what_still_runs_for_who_is_removed_is_stopped(stores: Embedded) -> None:
    worker = Worker(stores, held=True).start()
    service, proposals = make_service(stores), AsyncMock()
    engine = SimpleNamespace(
        conversations=SimpleNamespace(inbox=stores.inbox),
        changes=SimpleNamespace(proposals=proposals),
    )
    data = PersonalDataService(cast(Any, engine), cast(Any, None), service, ())
    ana = service.person("ana")
    await service.invite(ana)
    place = Address("web", "main", person="ana")
    running = await stores.inbox.accept(_message("think", place))
    await worker.until_begun(1)
    waiting = await stores.inbox.accept(
        replace(says("and then"), author=ANA, address=place, event_key="web@ana:2")
    )
    other = await stores.inbox.accept(says("another's", "C9"))
    await worker.until_begun(2)
    await data.remove_account(ana.key)
    proposals.withdraw_of.assert_awaited_once_with(ana.key, "")
    assert (await stores.inbox.wait_for_answer(running.seq)).text == "stopped"
    worker.let_go()
    assert (await stores.inbox.wait_for_answer(other.seq)).text == "re: another's"
    assert waiting.seq not in worker.began


async def test_every_process_hears_of_it(on_postgres: Shared) -> None:
    other = await on_postgres.beside()
    ours, theirs = make_service(on_postgres), make_service(other)
    events = [asyncio.Event(), asyncio.Event()]
    ours.on_change(events[0].set)
    theirs.on_change(events[1].set)
    ana = ours.person("ana")
    await ours.invite(ana)
    for change in (lambda: ours.renew_link(ana), lambda: ours.remove(ana.key)):
        for event in events:
            event.clear()
        await change()
        await events[0].wait()
        await events[1].wait()
    assert await theirs.find("web:ana") is None


async def test_every_process_hears_of_an_ended_session(on_postgres: Shared) -> None:
    other = await on_postgres.beside()
    ours, theirs = make_service(on_postgres), make_service(other)
    event = asyncio.Event()
    theirs.on_change(event.set)
    await ours.end_session("one", time.time() + 60)
    async with asyncio.timeout(120):
        await event.wait()
    assert await theirs.is_session_ended("one")


async def test_invalid_names_are_refused(sqlite: Embedded) -> None:
    service = make_service(sqlite)
    for name in ("", "Ana", "-ana", ".a", "a b", "a:b", "a@b", "é", "a" * 33, "ana\n"):
        with pytest.raises(WrongName):
            pytest.fail(f"{name!r} was accepted: {service.person(name)}")
    with pytest.raises(BadInput, match="ponte link"):
        service.person("owner")


async def test_api_tokens_come_and_go(stores: Embedded) -> None:
    service = make_service(stores)
    changes, ana = list[str](), service.person("ana")
    service.on_change(lambda: changes.append("told"))
    await service.invite(ana)
    _, hers = await service.create_api_token(ana.key, "a note\nbook", 30, OPERATOR)
    own, _ = await service.create_api_token("web:owner", "", 0, OPERATOR)
    api_token = await service.find_api_token(hash_token(hers))
    assert api_token is not None
    assert (api_token.person, api_token.name, api_token.last_use) == ("web:ana", "a note book", "")
    assert api_token.expires_at - api_token.added_at == 30 * 86_400
    for day in ("2026-11-20", "2026-11-21", "2026-11-19"):
        await service.record_api_token_use(api_token.id, day)
    (api_tokens,) = await service.list_api_tokens(ana.key)
    assert (api_tokens.id, api_tokens.last_use) == (api_token.id, "2026-11-21")
    tokens = await service.list_api_tokens()
    assert [one.person for one in tokens] == ["web:ana", "web:owner"]
    with pytest.raises(NotFound):
        await service.revoke_api_token(api_token.id, "web:owner")
    assert (await service.revoke_api_token(own.id, by=OPERATOR)).person == "web:owner"
    with pytest.raises(NotFound):
        await service.revoke_api_token(own.id, by=OPERATOR)
    assert changes
    await service.remove(ana.key)
    assert await service.find_api_token(hash_token(hers)) is None, "hers go with her"
    assert not await stores.holds(hers), "only its hash was stored"


async def test_api_tokens_are_bounded(stores: Embedded) -> None:
    service = make_service(stores)
    for days in (-1, 4000):
        with pytest.raises(BadInput, match="days"):
            await service.create_api_token("web:owner", "", days)
    with pytest.raises(NotFound, match="ana"):
        await service.create_api_token("web:ana", "", 0)
    results = [await service.create_api_token("web:owner", "", 0) for _ in range(MAX_API_TOKENS)]
    with pytest.raises(TooManyApiTokens):
        await service.create_api_token("web:owner", "", 0)
    await service.revoke_api_token(results[0][0].id)
    store = SqlPageAccounts(stores.database)
    old = replace(results[0][0], id="old", token_hash="x", added_at=1.0, expires_at=2.0)
    await store.add_api_token(old)
    await service.create_api_token("web:owner", "", 0)
    assert "old" not in [one.id for one in await store.list_api_tokens()], "expired ones go"


async def test_a_person_is_notified_of_what_the_owner_does(stores: Embedded) -> None:
    """Durably, until they close the notice; nobody is notified of what they do themselves."""
    service = make_service(stores)
    outbox = Outbox(stores.database)
    notices = PersonNoticeService(outbox, str, lambda: None)
    first = await service.invite(ANA)
    await service.renew_link(ANA)
    own, _ = await service.create_api_token(ANA.key, "hers", 0)
    await service.revoke_api_token(own.id, ANA.key)
    token, _ = await service.create_api_token(ANA.key, "for the shop", 0, OPERATOR)
    await service.revoke_api_token(token.id, by=OPERATOR)
    await service.create_api_token("web:owner", "own", 0, OPERATOR)
    waiting = await notices.list_waiting(ANA)
    assert [one.kind for one in waiting] == [LINK_RENEWED, "api-token-added", "api-token-revoked"]
    assert "for the shop" in waiting[1].words()
    assert await notices.list_waiting(Person("web", "owner")) == []
    ended_token = await service.find_ended_token(hash_token(first))
    assert (ended_token, await service.list_ended_tokens(ANA.key)) == (
        EndedToken(hash_token(first), was_removed=False),
        [ended_token],
    )
    assert not await notices.dismiss(Person("web", "bia"), waiting[0].id)
    assert await notices.dismiss(ANA, waiting[1].id)
    assert not await notices.dismiss(ANA, waiting[1].id)
    assert [one.id for one in await notices.list_waiting(ANA)] == [waiting[0].id, waiting[2].id]
    second = await service.renew_link(ANA)
    await service.remove(ANA.key)
    await service.invite(ANA)
    assert await notices.list_waiting(ANA) == [], "that is another person"
    ended_token = await service.find_ended_token(hash_token(second))
    assert ended_token == EndedToken(hash_token(second), was_removed=True)
    assert await service.find_ended_token(hash_token(first)) is None
    late = replace(PersonNotice.new("n1", LINK_RENEWED), created_at=time.time() + 91 * 86_400)
    await stores.database.write(lambda c: put_person_notice(c, ANA, late))
    assert await service.find_ended_token(hash_token(second)) is None, "it waited long enough"


async def test_people_of_providers_are_stored_removed_and_let_in_again(stores: Embedded) -> None:
    service = make_service(stores)
    changes = []
    service.on_change(lambda: changes.append(1))
    identity = Identity("corp", Person("oidc", "corp:a%20b", name="Ana"), ("finance", "a, b"))
    key, person = identity.person.key, identity.person
    first = await service.record_sign_in(identity, 10.0)
    assert (first.person, first.groups, first.provider) == (person, ("finance", "a, b"), "corp")
    assert (first.first_at, first.last_at, first.confirmed_at) == (10.0, 10.0, 10.0)
    assert first.group_names == {"oidc:corp:group:finance", "oidc:corp:group:a, b"}
    renamed = replace(identity, person=replace(person, name="Ana B."), groups=())
    again = await service.record_sign_in(renamed, 20.0, is_new=False)
    assert again == replace(first, person=renamed.person, groups=(), confirmed_at=20.0), (
        "the session goes on"
    )
    await service.confirm_sign_in(key, 30.0)
    await service.confirm_sign_in(key, 25.0)
    assert (await service.find_sign_in(key)) == replace(again, confirmed_at=30.0)
    await service.end_all_sessions(person, 35.0)
    stored = await service.find_sign_in(key)
    assert stored is not None
    assert stored.session_key != first.session_key
    assert (first.sessions_since, stored.sessions_since) == (10.0, 35.0)
    token, _ = await service.create_api_token(key, "notebook", 0)
    await service.remove_sign_in(key, 40.0, OPERATOR)
    assert await service.find_api_token(token.token_hash) is None
    assert (await service.record_sign_in(identity, 50.0)).removed_at == 40.0
    removed = await service.find_sign_in(key)
    assert removed == replace(stored, confirmed_at=30.0, removed_at=40.0), "nothing changed"
    await service.end_all_sessions(person, 45.0)  # a request that began before
    removed = await service.find_sign_in(key)
    assert removed is not None
    assert removed.removed_at == 40.0
    await service.admit_sign_in(key, OPERATOR)
    admitted = await service.record_sign_in(identity, 60.0)
    assert (admitted.removed_at, admitted.last_at) == (0.0, 60.0)
    assert admitted.session_key != stored.session_key, "the sessions stay ended"
    await service.admit_sign_in(key, OPERATOR)
    assert await service.find_sign_in(key) == admitted, "who was not removed keeps their sessions"
    slack = await service.record_sign_in(Identity("slack", Person("slack", "U1", "T1", "Bo")), 1.0)
    assert (await service.find_sign_in("slack:T1:U1")) == slack
    assert [one.person.key for one in await service.list_sign_ins()] == [key, "slack:T1:U1"]
    with pytest.raises(NotFound):
        await service.admit_sign_in("oidc:corp:x", OPERATOR)
    assert len(changes) >= 2


async def test_a_person_of_slack_who_is_removed_loses_the_work_on_the_page_alone(
    stores: Embedded,
) -> None:
    worker = Worker(stores, held=True).start()
    service, proposals = make_service(stores), AsyncMock()
    engine = SimpleNamespace(
        conversations=SimpleNamespace(inbox=stores.inbox),
        changes=SimpleNamespace(proposals=proposals),
    )
    personal = SqlPersonalData(stores.database)
    data = PersonalDataService(cast(Any, engine), personal, service, ())
    ana = Person("slack", "U1", "T1", "Ana")
    await service.record_sign_in(Identity("slack", ana), 1.0)
    places = Address("web", "main", person=ana.key), Address("slack", "C1", "T1")
    page, slack = [
        await stores.inbox.accept(replace(_message("think", place), author=ana)) for place in places
    ]
    await worker.until_begun(2)
    await data.remove(ana.key, OPERATOR)
    proposals.withdraw_of.assert_awaited_once_with(ana.key, "web")
    assert (await stores.inbox.wait_for_answer(page.seq)).text == "stopped"
    worker.let_go()
    assert (await stores.inbox.wait_for_answer(slack.seq)).text == "re: think"
    with pytest.raises(Refusal, match="ponte people readmit slack:T1:U1"):
        await service.create_api_token(ana.key, "notebook", 0)


async def test_a_provider_s_name_leads_to_one_server(stores: Embedded) -> None:
    """Another server has other people under the same ids."""
    service = make_service(stores)
    ana = Person("oidc", "corp:42")
    old, new = (Identity("corp", ana, issuer=f"https://{name}.example") for name in ("old", "new"))
    await service.record_sign_in(old, 1.0)
    with pytest.raises(AnotherIssuer):
        await service.record_sign_in(new, 2.0)
    stored = await service.find_sign_in(ana.key)
    assert stored is not None
    assert stored.confirmed_at == 1.0
    await service.move_provider("corp", new.issuer, OPERATOR)
    assert (await service.record_sign_in(new, 3.0)).confirmed_at == 3.0


async def test_a_forgotten_person_with_a_provider_s_name_lets_no_other_server_in(
    stores: Embedded,
) -> None:
    service = make_service(stores)
    await service.invite(Person("web", "corp"))
    old, new = (
        Identity("corp", Person("oidc", "corp:42"), issuer=f"https://{name}.example")
        for name in ("old", "new")
    )
    await service.record_sign_in(old, 1.0)
    data = SqlPersonalData(stores.database)
    await data.erase(await data.find("web:corp"))
    with pytest.raises(AnotherIssuer):
        await service.record_sign_in(new, 2.0)


async def test_two_providers_are_first_used_at_once(stores: Embedded) -> None:
    service = make_service(stores)
    names = [f"corp{n}" for n in range(6)]

    def identify(name: str, server: str) -> Identity:
        return Identity(name, Person("oidc", f"{name}:42"), issuer=f"https://{server}.example")

    await asyncio.gather(*(service.record_sign_in(identify(name, "old"), 1.0) for name in names))
    for name in names:
        with pytest.raises(AnotherIssuer):
            await service.record_sign_in(identify(name, "new"), 2.0)


async def test_a_person_of_an_oidc_provider_is_there_while_the_provider_said_so(
    stores: Embedded,
) -> None:
    service, now = make_service(stores), time.time()
    person, place = Person("oidc", "corp:u1"), Address("web", "main")
    assert await service.has_left(person, place, 0.0) is True
    assert await service.find_groups(person, 240.0) == frozenset()
    await service.record_sign_in(Identity("corp", person, ("finance",)), now - 3000)
    assert await service.has_left(person, place, now) is False
    assert await service.has_left(person, place, 0.0) is True, "it was somebody before them"
    assert await service.find_groups(person, 240.0) == FINANCE
    for seconds, has_left in ((CONFIRMED_SECONDS + 60, False), (ABSENT_SECONDS + 60, True)):
        away = Person("oidc", f"corp:{int(seconds)}")
        await service.record_sign_in(Identity("corp", away, ("finance",)), now - seconds)
        assert await service.find_groups(away, 240.0) is None
        assert await service.find_groups(away, MAX_STALE_SECONDS) == FINANCE
        assert await service.has_left(away, place, now) is has_left
        assert not await service.has_withdrawn(away, place, now)
        await service.remove_sign_in(away.key, now, OPERATOR)
        assert await service.find_groups(away, MAX_STALE_SECONDS) == frozenset()
        assert await service.has_left(away, place, now) is True
        assert await service.has_withdrawn(away, place, now)


async def test_every_process_knows_at_once_of_a_lost_group(on_postgres: Shared) -> None:
    """Also of one that it has just used, and without a notification."""
    services = [make_service(on_postgres), make_service(await on_postgres.beside())]
    policies = [allow_list() for _ in services]
    book = RuleBook((Rule("1", FINANCE, allow=("propose",)), Rule("2", deny=("propose",))))
    for service, policy in zip(services, policies, strict=True):
        policy.people.memberships["oidc"] = service.find_groups
        policy.people.departures["oidc"] = service.has_left
        policy.read_rules = fixed_rules(book)
    person, place = Person("oidc", "corp:u1"), Address("web", "main")
    for groups, may in ((("finance",), True), ((), False), (("finance",), True)):
        await services[0].record_sign_in(Identity("corp", person, groups), time.time())
        for policy in policies:
            assert await policy.prepare(person, place, confirmed=True, seconds=0.0)
            assert (await policy.may(person, place, "propose")).allowed is may
