"""Several people on one page: who comes in as whom, and that nobody finds what is another's."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import ANY

import httpx
import pytest

from adapters.web.errors import (
    AccessRemoved,
    LinkRenewed,
    SessionEnded,
    Unauthorized,
)
from adapters.web.sign_in import MAX_WRONG_TOKENS_OF_ADDRESS, TokenAuthentication
from adapters.web.visitor import SESSION_SECONDS
from bot.integrations import ADMINS
from core.base.errors import NotStored
from core.domain.changes import ChangeForm
from core.domain.messages import Address, Answer, Card, Person
from core.domain.records import Health
from tests.fakes.choices import allow_list
from tests.fakes.memory import MemoryOwnerName, page_secrets
from tests.fakes.web_surfaces import served_routes
from tests.time_limits import Limits
from tests.web.doors import Doors
from tests.web.web_ponte import TOKEN, Client, Turn, WebPonte, events, following, until

CARD = Card("abc234", "proposal", "Create 1 row", "In Customers.", (), ("approve", "deny"))
ABSENT = {
    "conversation": "nowhere",
    "turn": "a" * 16,
    "file": "f" * 32,
    "token": "0" * 8,
    "notice": "0" * 16,
}


@dataclass(frozen=True)
class Inhabited:
    """A Ponte where each of `clients` has said something in a conversation called `work`, with a
    file. `theirs`: the ids of what is Ana's."""

    ponte: WebPonte
    clients: Mapping[str, Client]
    theirs: Mapping[str, str]


@pytest.fixture
async def ponte_with_people() -> AsyncIterator[Inhabited]:
    ponte = WebPonte()
    of_providers = {"slack:UADMIN", "slack:U2", "oidc:corp:group:board"}
    ponte.policy = allow_list(admins=ADMINS | {"web:admin"} | of_providers)

    async def is_guest(person: Person, max_age: float) -> bool | None:
        return person.id == "U2"

    async def find_groups(person: Person, max_age: float) -> frozenset[str] | None:
        known = ponte.people.signed_in.get(person.key)
        return known.group_names if known else frozenset()

    async def has_left(person: Person, address: Address, since: float) -> bool | None:
        return False

    ponte.policy.people.guests["slack"] = is_guest
    ponte.policy.people.memberships["oidc"] = find_groups
    ponte.policy.people.departures["slack"] = has_left
    await ponte.open()
    ponte.board.parts = [Health("model", "failing", "no answer")]
    ponte.board.decided = [Card("abc234", "change", "Update 1 row", "Done.", state="done")]
    ponte.board.plans["abc234"] = b"PK plan"
    ponte.board.forms["abc234"] = ChangeForm("abc234", 1, "Update 1 row", ())
    tokens = {name: ponte.people.add(name) for name in ("ana", "bia", "gone")}
    async with AsyncExitStack() as stack:
        clients = {name: ponte.person(token) for name, token in tokens.items()}
        clients |= {"owner": ponte.client(), "stranger": ponte.stranger()}
        for client in clients.values():
            await stack.enter_async_context(client)
        for name in ("owner", "ana", "bia", "gone"):
            response = await clients[name].post(
                "/chat",
                data={"message": f"of {name}", "conversation": "work"},
                files={"file": ("note.txt", name.encode())},
            )
            assert response.json()["response"] == f"You said: of {name}"
        ponte.people.remove("gone")
        (anas,) = [row.message for row in ponte.rows.values() if row.message.text == "of ana"]
        ponte.people.add_api_token("ana")
        for name in ("ana", "owner"):
            await ponte.notices.send(Person("web", name), "link-renewed")
        theirs = {
            "conversation": "work",
            "turn": anas.turn,
            "file": anas.attachments[0].file,
            "token": "t0",
            "notice": "ana-0",
        }
        yield Inhabited(ponte, clients, theirs)
    await ponte.close()


Ask = Callable[[Client, Mapping[str, str]], Any]


def get(path: str) -> Ask:
    return lambda client, ids: client.get(path.format_map(ids))


def post(path: str, **body: Any) -> Ask:
    return lambda client, ids: client.post(path.format_map(ids), json=body)


def head_of_stream(path: str, last: str = "ready") -> Ask:
    """Return a request for the events of the stream up to the one called `last`."""

    async def ask(client: Client, ids: Mapping[str, str]) -> httpx.Response:
        async with client.stream("GET", path.format_map(ids)) as response:
            if response.status_code != 200:
                await response.aread()
                return response
            text = await until(events(response), last)
            return httpx.Response(200, json=[event.data for event in text])

    return ask


async def file_of_table(client: Client, ids: Mapping[str, str]) -> httpx.Response:
    """Ask for a table, and for its file; who may not ask, for the file of somebody's turn."""
    body = {"message": "a | b\n--- | ---\n1 | 2", "conversation": "tables"}
    turn = (await client.post("/chat", json=body)).json().get("turn", ids["turn"])
    return await client.get(f"/turns/{turn}/tables/1?format=csv")


ROUTES: dict[tuple[str, str], tuple[str, Ask]] = {
    ("GET", "/"): ("open", get("/")),
    ("GET", "/guide"): ("open", get("/guide")),
    ("GET", "/sign-in"): ("open", get("/sign-in")),
    ("GET", "/sign-in/{name}"): ("not set up", get("/sign-in/slack")),
    ("GET", "/sign-in/{name}/done"): ("not set up", get("/sign-in/slack/done?code=1&state=2")),
    ("GET", "/healthz"): ("open", get("/healthz")),
    ("GET", "/readyz"): ("health", get("/readyz")),
    ("GET", "/metrics"): ("metrics", get("/metrics")),
    ("GET", "/status"): ("operator", get("/status")),
    ("GET", "/admin"): ("operator", get("/admin")),
    ("GET", "/admin/{tab}"): ("operator", get("/admin/people")),
    ("POST", "/admin/{tab}"): (
        "form",
        lambda client, ids: client.post("/admin/people", data={"do": "people add"}),
    ),
    ("GET", "/admin/setup"): ("own session", get("/admin/setup")),
    ("POST", "/admin/setup"): (
        "own session",
        lambda client, ids: client.post("/admin/setup", data={"do": "look"}),
    ),
    ("GET", "/me"): ("page", get("/me")),
    ("PATCH", "/me"): ("operator", lambda client, ids: client.patch("/me", json={"name": "Maya"})),
    ("DELETE", "/me/sessions"): (
        "every session",
        lambda client, ids: client.delete("/me/sessions"),
    ),
    ("DELETE", "/me/notices/{id}"): (
        "page",
        lambda client, ids: client.delete(f"/me/notices/{ids['notice']}"),
    ),
    ("GET", "/me/tokens"): ("page", get("/me/tokens")),
    ("POST", "/me/tokens"): ("page", post("/me/tokens", name="notebook")),
    ("DELETE", "/me/tokens/{id}"): (
        "page",
        lambda client, ids: client.delete(f"/me/tokens/{ids['token']}"),
    ),
    ("GET", "/welcome"): ("page", get("/welcome")),
    ("GET", "/page/words.json"): ("open", get("/page/words.json")),
    ("GET", "/page/{name}"): ("open", get("/page/ponte.js")),
    ("GET", "/page/{version}/{name}"): ("open", get("/page/1/ponte.js")),
    ("POST", "/login"): ("sign in", post("/login", token="wrong")),
    ("POST", "/logout"): ("open", post("/logout")),
    ("POST", "/chat"): ("page", post("/chat", message="hi", conversation="other")),
    ("POST", "/cards/{id}"): ("page", post("/cards/abc234", action="approve", conversation="work")),
    ("GET", "/cards/{id}"): ("page", get("/cards/abc234")),
    ("GET", "/cards/{id}/form"): ("page", get("/cards/abc234/form?conversation=work")),
    ("GET", "/cards/{id}/plan"): ("page", get("/cards/abc234/plan?conversation=work")),
    ("POST", "/turns/{turn}/stop"): ("page", post("/turns/{turn}/stop")),
    ("POST", "/turns/{turn}/feedback"): ("page", post("/turns/{turn}/feedback", vote="up")),
    ("GET", "/turns/{turn}/saving"): ("page", get("/turns/{turn}/saving")),
    ("GET", "/quick-commands"): ("page", get("/quick-commands?conversation=work")),
    ("GET", "/conversations"): ("page", get("/conversations?search=of")),
    ("GET", "/conversations/{id}"): ("page", get("/conversations/{conversation}")),
    ("PATCH", "/conversations/{id}"): (
        "page",
        lambda client, ids: client.patch(
            f"/conversations/{ids['conversation']}", json={"pinned": True}
        ),
    ),
    ("DELETE", "/conversations/{id}"): (
        "page",
        lambda client, ids: client.delete(f"/conversations/{ids['conversation']}"),
    ),
    ("GET", "/conversations/{id}/export"): ("page", get("/conversations/{conversation}/export")),
    ("GET", "/approvals"): ("page", get("/approvals")),
    ("GET", "/turns/{turn}"): ("page", get("/turns/{turn}")),
    ("GET", "/turns/{turn}/usage"): ("page", get("/turns/{turn}/usage")),
    ("GET", "/turns/{turn}/tables/{number}"): ("page", file_of_table),
    ("GET", "/conversations/{id}/events"): (
        "page",
        head_of_stream("/conversations/{conversation}/events?after=0"),
    ),
    ("GET", "/events"): ("page", head_of_stream("/events?follow={conversation}:0", "0.ready")),
    ("GET", "/files/{id}"): ("page", get("/files/{file}")),
    ("GET", "/openapi.json"): ("page", get("/openapi.json")),
    ("GET", "/v1/models"): ("program", get("/v1/models")),
    ("GET", "/v1/models/{model:path}"): ("program", get("/v1/models/ponte")),
    ("POST", "/v1/chat/completions"): (
        "program",
        post("/v1/chat/completions", model="ponte", messages=[{"role": "user", "content": "hi"}]),
    ),
}
"""The decision about each route (who may use it), and how it is asked. A new route fails the test
below until it has its line here."""
OF_SOMEBODY = {
    ("POST", "/turns/{turn}/stop"): "turn",
    ("POST", "/turns/{turn}/feedback"): "turn",
    ("GET", "/turns/{turn}/saving"): "turn",
    ("GET", "/files/{id}"): "file",
    ("DELETE", "/me/tokens/{id}"): "token",
    ("DELETE", "/me/notices/{id}"): "notice",
}
"""What is asked for by an id that no two things have: which of Ana's that is."""


def test_every_route_of_the_page_is_looked_at() -> None:
    routes = served_routes(page=True)
    routes_found = {(route.declaration.method, route.path) for route in routes}
    assert routes_found == ROUTES.keys(), (
        "ROUTES has a line for each route: who may use it, and a request for it"
    )


async def test_the_owner_who_is_no_admin_reaches_the_operators_routes(
    ponte_with_people: Inhabited,
) -> None:
    ponte_with_people.ponte.policy = allow_list(admins=frozenset({"slack:U1"}))
    await ponte_with_people.ponte.restart()
    for route, (decision, ask) in ROUTES.items():
        if decision in ("operator", "metrics", "form"):  # a form is refused without the value in it
            answer = await ask(ponte_with_people.clients["owner"], ponte_with_people.theirs)
            assert answer.status_code == (403 if decision == "form" else 200), route


@pytest.mark.parametrize("who", ["bia", "owner"])
async def test_what_is_another_s_is_as_if_it_were_not(
    ponte_with_people: Inhabited, who: str
) -> None:
    for route, kind in OF_SOMEBODY.items():
        client, (_, ask) = ponte_with_people.clients[who], ROUTES[route]
        theirs = await ask(client, ponte_with_people.theirs)
        absent = await ask(client, {**ponte_with_people.theirs, kind: ABSENT[kind]})
        assert (theirs.status_code, theirs.json()) == (404, absent.json()), route
        assert absent.status_code == 404


async def test_a_conversation_of_that_name_is_each_one_s_own(ponte_with_people: Inhabited) -> None:
    """Bia asks for one that Ana has and she has not: as for one that nobody has."""
    ana, bia = ponte_with_people.clients["ana"], ponte_with_people.clients["bia"]
    await ana.post("/chat", json={"message": "a secret", "conversation": "private"})
    for route, (_, ask) in ROUTES.items():
        if not route[1].startswith("/conversations/{id}"):
            continue
        theirs = await ask(bia, {"conversation": "private"})
        absent = await ask(bia, {"conversation": "nowhere"})
        assert theirs.status_code == absent.status_code, route
        assert json.loads(theirs.text.replace("private", "nowhere")) == absent.json(), route
    session = (await ana.get("/conversations/private")).json()["messages"]
    assert [one["text"] for one in session] == ["a secret", "You said: a secret"]


async def test_lists_searches_names_and_forgetting_are_one_s_own(
    ponte_with_people: Inhabited,
) -> None:
    ana, bia = ponte_with_people.clients["ana"], ponte_with_people.clients["bia"]
    await ana.patch("/conversations/work", json={"title": "Ana's", "pinned": True})
    for name, title in (("ana", "Ana's"), ("bia", "of bia"), ("owner", "of owner")):
        client = ponte_with_people.clients[name]
        (one,) = (await client.get("/conversations")).json()["conversations"]
        assert (one["id"], one["title"]) == ("work", title)
        (hit,) = (await client.get("/conversations?search=of")).json()["conversations"]
        assert hit["id"] == "work"
    assert "of ana" in (await ana.get("/conversations/work/export")).text

    async def forgets(turn: Turn) -> Answer:
        await ponte_with_people.ponte.forget(turn.message.address.conversation)
        return Answer("Forgotten.")

    ponte_with_people.ponte.script = forgets
    task = asyncio.create_task(bia.delete("/conversations/work"))
    await task
    assert (await bia.get("/conversations")).json() == {"conversations": []}
    assert len((await ana.get("/conversations")).json()["conversations"]) == 1


async def test_each_one_s_words_are_theirs(ponte_with_people: Inhabited) -> None:
    texts = {
        row.message.author.id: (row.message.author.key, row.message.address.conversation)
        for row in ponte_with_people.ponte.rows.values()
    }
    assert texts == {
        "owner": ("web:owner", "web:work"),
        "ana": ("web:ana", "web:work:@ana"),
        "bia": ("web:bia", "web:work:@bia"),
        "gone": ("web:gone", "web:work:@gone"),
    }
    assert (await ponte_with_people.clients["ana"].get("/me")).json() == {
        "person": "web:ana",
        "name": "ana",
        "provider": "",
        "owner": False,
        "operates": False,
        "voice": False,
        "models": [],
        "notices": ANY,
    }
    own = (await ponte_with_people.clients["owner"].get("/me")).json()
    assert (own["owner"], own["operates"]) == (True, True)


async def test_one_key_is_one_turn_for_each_person(ponte_with_people: Inhabited) -> None:
    """Also where the owner's key looks like somebody's."""
    questions = [
        ("ana", "k"),
        ("bia", "k"),
        ("owner", "k"),
        ("owner", "ana:k"),
        ("owner", "@ana:k"),
    ]
    for name, key in questions:
        response = await ponte_with_people.clients[name].post(
            "/chat", json={"message": f"{name} {key}", "event_key": key}
        )
        assert response.json()["response"] == f"You said: {name} {key}"
    for name, key in questions:
        again = await ponte_with_people.clients[name].post(
            "/chat", json={"message": "?", "event_key": key}
        )
        assert again.json()["response"] == f"You said: {name} {key}"
    value = (await ponte_with_people.clients["ana"].get("/conversations/main")).json()["messages"]
    assert [one["event_key"] for one in value if one["role"] == "user"] == ["k"], "as Ana named it"


async def test_a_stream_tells_of_one_s_own_alone(ponte_with_people: Inhabited) -> None:
    ana, bia = ponte_with_people.clients["ana"], ponte_with_people.clients["bia"]
    async with following(ana, "work") as stream:
        await until(stream, "ready")
        await bia.post("/chat", json={"message": "bia's", "conversation": "work"})
        await ana.post("/chat", json={"message": "ana's", "conversation": "work"})
        event = await until(stream, "done")
    assert "bia's" not in str(event)
    assert event[-1].data["response"] == "You said: ana's"


async def test_a_card_is_decided_as_oneself_in_one_s_own_place(
    ponte_with_people: Inhabited,
) -> None:
    ponte_with_people.ponte.answers(
        lambda turn: Answer(f"{turn.message.author.key} at {turn.message.address.conversation}")
    )
    for name, place in (("bia", "web:work:@bia"), ("owner", "web:work")):
        body = {"action": "approve", "conversation": "work", "event_key": "k"}
        response = await ponte_with_people.clients[name].post(f"/cards/{CARD.id}", json=body)
        assert response.json()["text"] == f"web:{name} at {place}"


@asynccontextmanager
async def signed_in(ponte: WebPonte, token: str) -> AsyncIterator[Client]:
    async with ponte.stranger() as browser:
        assert (await browser.post("/login", json={"token": token})).status_code == 200
        yield browser


@pytest.mark.parametrize("how", ["renewed", "removed"])
async def test_sessions_end_with_the_token(ponte: WebPonte, how: str) -> None:
    old, other = ponte.people.add("ana"), ponte.people.add("bia")
    async with (
        signed_in(ponte, old) as ana,
        signed_in(ponte, other) as bia,
        ponte.client() as owner,
    ):
        if how == "renewed":
            new = ponte.people.add("ana")
            async with signed_in(ponte, new) as again:
                assert (await again.get("/me")).json()["name"] == "ana"
        else:
            ponte.people.remove("ana")
        assert (await ana.get("/me")).status_code == 401
        assert (await ana.post("/login", json={"token": old})).status_code == 401
        assert (await bia.get("/me")).status_code == 200
        assert (await owner.get("/me")).status_code == 200


@pytest.mark.parametrize("told", [True, False], ids=["told", "not told"])
@pytest.mark.parametrize("how", ["renewed", "removed"])
async def test_streams_end_with_the_token(
    ponte: WebPonte, limits: Limits, told: bool, how: str
) -> None:
    """Where no notice comes, it is found out."""
    limits(VISITOR_CHECK_INTERVAL_SECONDS=60.0 if told else 0.05)
    ponte.people.quiet = not told
    tokens = {name: ponte.people.add(name) for name in ("ana", "bia")}
    running = asyncio.Event()

    async def never(turn: Turn) -> Answer:
        running.set()
        await asyncio.Event().wait()
        raise AssertionError

    ponte.script = never
    async with (
        ponte.person(tokens["ana"]) as ana,
        ponte.person(tokens["bia"]) as bia,
        ponte.client() as owner,
        following(ana) as hers,
        following(bia) as others,
        following(owner) as ours,
    ):
        for stream in (hers, others, ours):
            await until(stream, "ready")
        question = ana.stream(
            "POST", "/chat", json={"message": "think"}, headers={"Accept": "text/event-stream"}
        )
        async with question as answering:
            await running.wait()
            if how == "renewed":
                ponte.people.add("ana")
            else:
                ponte.people.remove("ana")
            assert "done" not in [event.name async for event in hers]
            assert "done" not in [event.name async for event in events(answering)]
        ponte.script = said_so
        for client, stream in ((bia, others), (owner, ours)):
            await client.post("/chat", json={"message": "hello"})
            assert (await until(stream, "done"))[-1].data["response"] == "So."


async def said_so(turn: Turn) -> Answer:
    return Answer("So.")


async def test_who_is_let_in_while_they_are_removed_follows_nothing(ponte: WebPonte) -> None:
    """The stream begins between the two."""
    token = ponte.people.add("ana")
    find = ponte.people.find

    async def removed_meanwhile(person: str) -> Any:
        return None

    ponte.people.find = removed_meanwhile  # type: ignore[method-assign]
    async with ponte.person(token) as ana, following(ana) as stream:
        new_events = [event.name async for event in stream]
    ponte.people.find = find  # type: ignore[method-assign]
    assert set(new_events) <= {"ready"}


async def test_who_has_an_ended_link_reads_why_it_ended() -> None:
    """The token or its session proves who asks; anybody else reads the same as before."""
    doors = Doors()
    tokens = [doors.ana]
    sessions = [doors.login.new_session(await doors.login.find_token_visitor(tokens[0], ""))]
    tokens.append(doors.people.add("ana"))
    sessions.append(doors.login.new_session(await doors.login.find_token_visitor(tokens[1], "")))
    doors.people.remove("ana")
    for token, session, error in zip(tokens, sessions, (LinkRenewed, AccessRemoved), strict=True):
        assert await doors.offer(token) == error.__name__
        for value, sentence in (
            (session, error.sentence),
            (f"{session[:-1]}x", SessionEnded.sentence),
            (session.replace("-ana-", "-bia-"), SessionEnded.sentence),
        ):
            with pytest.raises(SessionEnded) as refusal:
                await doors.login.find_visitor(doors.session(value), "")
            assert refusal.value.words() == sentence, value
    doors.people.add("ana")
    assert await doors.offer(tokens[1]) == AccessRemoved.__name__
    assert not doors.login._tries, "nobody guesses a token that was valid"


async def test_a_session_is_its_person_s_alone() -> None:
    doors = Doors()
    ana = await doors.login.find_token_visitor(doors.ana, "")
    bia = await doors.login.find_token_visitor(doors.people.add("bia"), "")
    session = doors.login.new_session(ana)
    assert (await doors.login.find_visitor(doors.session(session), "")).person == ana.person
    theirs, owners = doors.login.new_session(bia), doors.login.new_session()
    head, _, seal = session.rpartition("-")
    forgeries = [
        session.replace("-ana-", "-bia-"),
        session.replace("-ana-", "-owner-"),
        session.replace("-ana-", "-"),
        session.replace("-ana-", "--"),
        session.replace("-ana-", "-nobody-"),
        f"{head}-{theirs.rpartition('-')[2]}",
        f"{head}-{owners.rpartition('-')[2]}",
        f"{owners.rpartition('-')[0]}-{seal}",
        f"f{session}",
    ]
    for value in forgeries:
        with pytest.raises(Unauthorized):
            await doors.login.find_visitor(doors.session(value), "")
    other = TokenAuthentication(
        "127.0.0.1", page_secrets("another-token-that-is-long"), "", doors.people, MemoryOwnerName()
    )
    with pytest.raises(Unauthorized):
        await other.find_visitor({"cookie": f"{other.cookie}={session}"}, "")
    doors.time = SESSION_SECONDS + 1
    with pytest.raises(Unauthorized):
        await doors.login.find_visitor(doors.session(session), "")


async def test_guesses_are_counted_for_all_tokens_together() -> None:
    doors = Doors()
    for _ in range(MAX_WRONG_TOKENS_OF_ADDRESS):
        assert await doors.offer("guess") == "WrongToken"
    read_people = doors.people.read
    for other in (TOKEN, "guess"):
        assert await doors.offer(other) == "TooManyTries"
    assert doors.people.read == read_people, "nothing is read for what is no token of a person"
    assert await doors.offer(doors.ana) == "web:ana", "no number of guesses finds a generated one"


async def test_much_at_once_with_the_right_token_is_no_guessing() -> None:
    doors = Doors()
    offers = [doors.offer(each) for each in [doors.ana, TOKEN] * (2 * MAX_WRONG_TOKENS_OF_ADDRESS)]
    assert set(await asyncio.gather(*offers)) == {"web:ana", "web:owner"}


async def test_without_the_database_the_owner_comes_in() -> None:
    doors = Doors()
    session = doors.login.new_session(await doors.login.find_token_visitor(doors.ana, ""))
    doors.people.away = True
    assert await doors.offer(TOKEN) == "web:owner"
    await doors.login.find_visitor(doors.session(doors.login.new_session()), "")
    for headers in ({"authorization": f"Bearer {doors.ana}"}, doors.session(session)):
        with pytest.raises(NotStored):
            await doors.login.find_visitor(headers, "")


async def test_the_day_that_they_came_is_kept_once() -> None:
    doors = Doors()
    session = doors.session(
        doors.login.new_session(await doors.login.find_token_visitor(doors.ana, ""))
    )
    assert doors.people.accounts["web:ana"].last_visit == "1970-01-01"
    read_people = doors.people.read
    await doors.login.find_visitor(session, "")
    assert doors.people.read == read_people + 2, "who it is, whether they signed out, and no more"
    doors.time = 86_400
    await doors.login.find_visitor(session, "")
    assert doors.people.accounts["web:ana"].last_visit == "1970-01-02"
