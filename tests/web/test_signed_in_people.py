"""People who sign in to the page with Slack or with an account of their company: who they are, how
long their sessions last, and what ends them."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from adapters.web import sign_in
from adapters.web.errors import AccessRemoved, ConfirmAgain, SessionEnded
from adapters.web.sign_in import PageSecrets, TokenAuthentication, Visitors
from adapters.web.visitor import (
    CONFIRMATION_PAUSE_SECONDS,
    IDLE_SECONDS,
    PROVIDER_SESSION_SECONDS,
    SignInMethods,
    Visit,
    Visitor,
)
from core.base.errors import PonteError
from core.domain.messages import Address, Person
from core.people.sign_ins import ABSENT_SECONDS, CONFIRMED_SECONDS, Identity, SignedInPerson
from tests.fakes.choices import allow_list
from tests.fakes.memory import MemoryOwnerName, MemoryPageAccounts, page_secrets
from tests.time_limits import Limits
from tests.web.web_ponte import TOKEN, Client, WebPonte, following, until

SLACK = Identity("slack", Person("slack", "U1", "T1", "Ana"))
CORP = Identity("corp", Person("oidc", "corp:U1", name="Ana"), ("finance",))


class Directory:
    """A platform that says who has left. None: it does not answer."""

    def __init__(self) -> None:
        self.has_left: bool | None = False
        self.questions = 0
        self.policy = allow_list()
        self.policy.people.departures["slack"] = self.find

    async def find(self, person: Person, address: Address, since: float) -> bool | None:
        self.questions += 1
        return self.has_left


class SignInPage:
    """The authentication of a page, with a clock that stands still until a test moves it."""

    def __init__(self) -> None:
        self.time = 1_000_000.0
        self.people = MemoryPageAccounts()
        self.directory = Directory()
        self.providers = {"slack", "corp", "other"}
        self.has_links = True
        self.auth = TokenAuthentication(
            "127.0.0.1",
            page_secrets(TOKEN),
            "",
            self.people,
            MemoryOwnerName(),
            now=lambda: self.time,
        )
        self.auth.access.methods = SignInMethods(
            self.directory.policy, lambda name: name in self.providers, lambda: self.has_links
        )

    def headers(self, session: str) -> dict[str, str]:
        return {"cookie": f"{self.auth.cookie}={session}"}

    async def describe(self, session: str) -> str:
        return await self.auth.describe_session(Visit("/", self.headers(session)))

    async def enter(self, session: str) -> Visitor:
        return await self.auth.find_visitor(self.headers(session), "")

    async def offer(self, session: str) -> str:
        """Return whom the session lets in, or the name of the refusal."""
        try:
            return (await self.enter(session)).person.key
        except PonteError as refused:
            return type(refused).__name__


@pytest.mark.parametrize("identity", [SLACK, CORP], ids=["slack", "oidc"])
async def test_a_session_is_the_person_s_alone(identity: Identity) -> None:
    page = SignInPage()
    session = await page.auth.open_session(identity)
    visitor = await page.enter(session)
    assert visitor.person == identity.person
    assert await page.auth.is_still_allowed(visitor)
    key = identity.person.key
    other = await page.auth.open_session(Identity("slack", Person("slack", "U2", "T1")))
    head, _, seal = session.rpartition("-")
    forgeries = (
        session.replace(key, "slack:T1:U2"),
        session.replace(key, "owner"),
        session.replace(f"-{key}", ""),
        session.replace(key, "oidc:other:U1"),
        f"{head}-{other.rpartition('-')[2]}",
        f"{other.rpartition('-')[0]}-{seal}",
        f"f{session}",
        head,
        key,
        f"-{key}-{seal}",
    )
    for value in forgeries:
        assert await page.offer(value) == "SessionEnded", value
    page.auth = TokenAuthentication(
        "127.0.0.1", page_secrets("another-token-that-is-long"), "", page.people, MemoryOwnerName()
    )
    assert await page.offer(session) == "SessionEnded"


def test_nobody_else_s_key_can_be_made() -> None:
    for provider, person in (
        ("slack", Person("slack", "U1")),
        ("slack", Person("slack", "", "T1")),
        ("slack", Person("slack", "U1:U2", "T1")),
        ("slack", Person("slack", "U1", "T1:T2")),
        ("slack", Person("web", "ana")),
        ("slack", Person("web", "owner")),
        ("corp", Person("oidc", "other:U1")),
        ("corp", Person("oidc", "corp:")),
        ("corp", Person("oidc", "corp:a:b")),
        ("corp", Person("oidc", "corp:group:finance")),
        ("corp", Person("oidc", "U1")),
        ("corp", Person("slack", "U1", "T1")),
    ):
        with pytest.raises(ValueError, match="not a person"):
            Identity(provider, person)


async def test_people_with_one_id_at_two_providers_and_on_the_page_are_three() -> None:
    """Also an account whose name looks like a key."""
    page = SignInPage()
    visitors = Visitors(page.auth)
    people = [
        Person("web", "u1"),
        Person("web", "corp-u1"),
        Person("slack", "u1", "corp"),
        Person("oidc", "corp:u1"),
        Person("oidc", "other:u1"),
        Person("web", "owner"),
    ]
    conversations = {visitors.address_of(one, "main").conversation for one in people}
    event_keys = {visitors.make_event_key(one, "k") for one in people}
    assert len(conversations) == len(event_keys) == len(people)
    assert {key.partition(":")[2] for key in event_keys} == {"k"}, "as the client sent it"
    for one in people:
        own = visitors.address_of(one, "main").conversation
        assert [visitors.owns(other, own) for other in people].count(True) == 1
        assert visitors.owns(one, own)
    first = await page.auth.open_session(Identity("corp", people[3]))
    second = await page.auth.open_session(Identity("other", people[4]))
    assert await page.offer(first) == "oidc:corp:u1"
    await page.people.end_all_sessions(people[3])
    assert await page.offer(first) == "SessionEnded"
    assert await page.offer(second) == "oidc:other:u1"


async def test_a_session_ends_when_nobody_uses_it_and_after_a_week() -> None:
    page = SignInPage()
    session = await page.auth.open_session(SLACK)
    visitor = await page.enter(session)
    page.time += IDLE_SECONDS - 1
    renewed = (await page.enter(session)).cookie
    assert renewed
    page.time += 1
    assert not await page.auth.is_still_allowed(visitor), "its stream ends"
    assert await page.offer(session) == "SessionEnded"
    assert await page.offer(renewed) == "slack:T1:U1"
    while page.time < 1_000_000 + PROVIDER_SESSION_SECONDS - IDLE_SECONDS:
        page.time += IDLE_SECONDS / 2
        renewed = (await page.enter(renewed)).cookie or renewed
    page.time = 1_000_000 + PROVIDER_SESSION_SECONDS - 1
    last = await page.enter(renewed)
    assert not last.cookie, "it cannot last longer"
    page.time += 1
    assert await page.offer(renewed) == "SessionEnded"


async def test_a_cookie_is_not_replaced_at_each_request() -> None:
    page = SignInPage()
    session = await page.auth.open_session(SLACK)
    assert not (await page.enter(session)).cookie
    page.time += sign_in.RENEWAL_SECONDS
    assert (await page.enter(session)).cookie


async def test_who_signs_out_leaves_with_every_cookie_of_the_session() -> None:
    page = SignInPage()
    session, other = [await page.auth.open_session(SLACK) for _ in range(2)]
    page.time += sign_in.RENEWAL_SECONDS
    renewed = (await page.enter(session)).cookie
    visit = Visit("/logout", page.headers(session))
    await page.auth.sign_out(visit)
    assert [await page.offer(one) for one in (session, renewed, other)] == [
        "SessionEnded",
        "SessionEnded",
        "slack:T1:U1",
    ]


async def test_a_confirmation_does_not_lengthen_a_session() -> None:
    page = SignInPage()
    session = await page.auth.open_session(CORP)
    began_at = page.time
    while await page.offer(session) != "SessionEnded":
        page.time += CONFIRMED_SECONDS + 1
        assert await page.offer(session) in ("ConfirmAgain", "SessionEnded")
        if page.time < began_at + PROVIDER_SESSION_SECONDS:
            session = await page.auth.open_session(CORP, await page.describe(session))
    assert page.time >= began_at + PROVIDER_SESSION_SECONDS
    stored = page.people.signed_in["oidc:corp:U1"]
    assert stored.last_at == began_at, "nobody signed in meanwhile"


async def test_who_signs_out_after_a_confirmation_leaves_with_the_cookies_of_before() -> None:
    page = SignInPage()
    session, other = [await page.auth.open_session(CORP) for _ in range(2)]
    page.time += CONFIRMED_SECONDS + 1
    described = await page.describe(session)
    confirmed = await page.auth.open_session(CORP, described)
    await page.auth.sign_out(Visit("/logout", page.headers(confirmed)))
    assert [await page.offer(one) for one in (confirmed, session, other)] == [
        "SessionEnded",
        "SessionEnded",
        "oidc:corp:U1",
    ]
    with pytest.raises(SessionEnded):  # a tab comes back from the provider only now
        await page.auth.open_session(CORP, described)


async def test_a_confirmation_continues_no_session_that_ended_everywhere_or_of_somebody_else() -> (
    None
):
    page = SignInPage()
    described = await page.describe(await page.auth.open_session(CORP))
    somebody = Identity("corp", Person("oidc", "corp:U2"))
    for identity in (somebody, SLACK):
        with pytest.raises(SessionEnded):
            await page.auth.open_session(identity, described)
    assert set(page.people.signed_in) == {"oidc:corp:U1"}
    await page.people.end_all_sessions(CORP.person)
    with pytest.raises(SessionEnded):
        await page.auth.open_session(CORP, described)


def former_cookie(owner_token: str, claim: str, token: str = "") -> str:
    """Return a session's cookie as 0.2.0 made it: its name and seal follow from the tokens."""

    def seal(key: bytes, text: str) -> str:
        return hmac.new(key, text.encode(), "sha256").hexdigest()

    key = hmac.digest(owner_token.encode(), b"ponte session", "sha256")
    own = hmac.digest(key, token.encode(), "sha256") if token else key
    return f"ponte-{seal(key, '')[:8]}={claim}-{seal(own, claim)}"


async def test_sessions_of_0_2_0_last_until_they_end() -> None:
    """Their cookies had another name, and were sealed with a key that the token alone gave."""
    page = SignInPage()
    await page.auth.open_session(SLACK)
    page.people.add("ana")

    def cookie(claim: str, token: str = "") -> dict[str, str]:
        return {"cookie": former_cookie(TOKEN, claim, token)}

    end, began = f"{int(page.time) + 3000:x}", f"{int(page.time):x}"
    signed_in = page.people.signed_in["slack:T1:U1"]
    cookies = {
        "web:owner": cookie(f"{end}-0123456789abcdef"),
        "web:ana": cookie(
            f"{end}-0123456789abcdef-ana", page.people.accounts["web:ana"].token_hash
        ),
        "slack:T1:U1": cookie(f"{end}-{began}.0123456789abcdef-slack:T1:U1", signed_in.session_key),
    }
    for person, headers in cookies.items():
        visitor = await page.auth.find_visitor(headers, "")
        assert visitor.person.key == person
        if visitor.provider:
            assert await page.offer(visitor.cookie) == person, "the new cookie is of the new kind"
        await page.auth.sign_out(Visit("/logout", headers))
        with pytest.raises(SessionEnded):
            await page.auth.find_visitor(headers, "")


async def test_signing_out_brings_no_former_person_of_the_browser_back() -> None:
    page = SignInPage()
    former = former_cookie(TOKEN, f"{int(page.time) + 3000:x}-0123456789abcdef")
    session = await page.auth.open_session(SLACK)
    headers = {"cookie": f"{former}; {page.auth.cookie}={session}"}
    assert (await page.auth.find_visitor(headers, "")).person.key == "slack:T1:U1"
    await page.auth.sign_out(Visit("/logout", headers))
    for cookie in headers["cookie"].split("; "):
        with pytest.raises(SessionEnded):
            await page.auth.find_visitor({"cookie": cookie}, "")


@pytest.mark.parametrize(
    "other",
    ['a={"x": 1, "y": 2}', "a=b c", 'a="unclosed', "a=\xc3\xa9", "a", "", "a\\b=c"],
)
async def test_odd_cookies_of_other_programs_end_no_session(other: str) -> None:
    """Cookies of one host are sent to all of its ports."""
    page = SignInPage()
    session = await page.auth.open_session(SLACK)
    (own,) = page.headers(session).values()
    for cookies in (f"{other}; {own}", f"{own}; {other}"):
        assert await page.auth.find_visitor({"cookie": cookies}, "")


async def test_a_session_that_ends_everywhere_while_it_is_confirmed_stays_ended() -> None:
    page = SignInPage()
    described = await page.describe(await page.auth.open_session(CORP))
    record = page.people.record_sign_in

    async def end_before(*args: Any, **options: Any) -> SignedInPerson:
        await page.people.end_all_sessions(CORP.person)
        return await record(*args, **options)

    page.people.record_sign_in = end_before  # type: ignore[method-assign]
    assert await page.offer(await page.auth.open_session(CORP, described)) == "SessionEnded"


def test_nothing_in_a_cookie_can_be_computed_from_the_token() -> None:
    """Else whoever has a cookie could try chosen tokens without asking Ponte."""
    first, second = (
        TokenAuthentication(
            "127.0.0.1", PageSecrets(TOKEN, key), "", MemoryPageAccounts(), MemoryOwnerName()
        )
        for key in (b"a" * 32, b"b" * 32)
    )
    assert first.cookie != second.cookie
    assert first._key != second._key


async def test_an_account_of_a_company_is_confirmed_every_hour() -> None:
    page = SignInPage()
    session = await page.auth.open_session(CORP)
    visitor = await page.enter(session)
    page.time += CONFIRMED_SECONDS
    assert await page.offer(session) == "oidc:corp:U1"
    page.time += 1
    with pytest.raises(ConfirmAgain) as refusal:
        await page.enter(session)
    assert refusal.value.values == {"provider": "corp"}
    assert not await page.auth.is_still_allowed(visitor)
    await page.auth.open_session(replace(CORP, groups=()), await page.describe(session))
    assert await page.offer(session) == "oidc:corp:U1"
    assert page.people.signed_in["oidc:corp:U1"].groups == ()


async def test_who_left_slack_leaves_the_page() -> None:
    page = SignInPage()
    session = await page.auth.open_session(SLACK)
    visitor = await page.enter(session)
    assert page.directory.questions == 0, "Slack has just said who it is"
    page.directory.has_left = True
    page.time += 61
    assert not await page.auth.is_still_allowed(visitor)
    assert await page.offer(session) == "SessionEnded"


async def test_while_slack_does_not_answer_the_page_is_open_for_an_hour() -> None:
    page = SignInPage()
    session = await page.auth.open_session(SLACK)
    visitor = await page.enter(session)
    page.directory.has_left = None
    page.time += 100
    for _ in range(3):
        assert await page.offer(session) == "slack:T1:U1"
    assert page.directory.questions == 1, "not every request waits for it"
    page.time += CONFIRMED_SECONDS
    assert await page.offer(session) == "NotConfirmed"
    assert not await page.auth.is_still_allowed(visitor)
    page.directory.has_left = False
    assert await page.offer(session) == "NotConfirmed"
    page.time += CONFIRMATION_PAUSE_SECONDS
    assert await page.offer(session) == "slack:T1:U1"
    assert await page.auth.is_still_allowed(visitor)


async def test_a_lookup_that_hangs_is_no_answer(limits: Limits) -> None:
    limits(CONFIRMATION_TIMEOUT_SECONDS=0.01)
    page = SignInPage()
    session = await page.auth.open_session(SLACK)

    async def hang(person: Person, address: Address, since: float) -> bool | None:
        await asyncio.Event().wait()
        return None

    page.directory.policy.people.departures["slack"] = hang
    page.time += 100
    assert await page.offer(session) == "slack:T1:U1"


@pytest.mark.parametrize("identity", [SLACK, CORP], ids=["slack", "oidc"])
async def test_sessions_end_with_their_provider(identity: Identity) -> None:
    """If it is taken out of the configuration."""
    page = SignInPage()
    session = await page.auth.open_session(identity)
    visitor = await page.enter(session)
    program = page.people.add_api_token(identity.person.key)
    page.providers.clear()
    assert await page.offer(session) == "SessionEnded"
    with pytest.raises(SessionEnded):
        await page.auth.find_token_visitor(program, "")
    assert not await page.auth.is_still_allowed(visitor)


async def test_without_slack_nobody_of_slack_is_let_in() -> None:
    page = SignInPage()
    session = await page.auth.open_session(SLACK)
    page.directory.policy.people.departures.clear()
    page.time += 100
    assert await page.offer(session) == "SessionEnded"


async def test_who_was_removed_reads_it_and_cannot_sign_in_again() -> None:
    page = SignInPage()
    session = await page.auth.open_session(CORP)
    program = page.people.add_api_token("oidc:corp:U1")
    assert (await page.auth.find_token_visitor(program, "")).person.key == "oidc:corp:U1"
    visitor = await page.enter(session)
    page.people.remove_sign_in("oidc:corp:U1")
    for entry in (page.enter(session), page.auth.find_token_visitor(program, "")):
        with pytest.raises(SessionEnded, match="removed your access"):
            await entry
    with pytest.raises(AccessRemoved):
        await page.auth.open_session(CORP)
    assert not await page.auth.is_still_allowed(visitor)
    assert await page.offer(f"{session}x") == "SessionEnded", "only the cookie proves who asks"


async def test_a_program_works_for_a_week_after_its_person_was_confirmed() -> None:
    page = SignInPage()
    await page.auth.open_session(CORP)
    program = page.people.add_api_token("oidc:corp:U1")
    page.time += ABSENT_SECONDS
    visitor = await page.auth.find_token_visitor(program, "")
    assert (visitor.program, visitor.person.is_bot) == ("api", True)
    assert await page.auth.is_still_allowed(visitor)
    page.time += 1
    with pytest.raises(ConfirmAgain):
        await page.auth.find_token_visitor(program, "")
    assert not await page.auth.is_still_allowed(visitor)


async def sign_in_as(ponte: WebPonte, identity: Identity) -> str:
    """Return the cookie of a session, as the callback of a provider sets it."""
    auth = ponte.web.hub.visitors.auth
    assert isinstance(auth, TokenAuthentication)
    return f"{auth.cookie}={await auth.open_session(identity)}"


@asynccontextmanager
async def browser_of(ponte: WebPonte, identity: Identity) -> AsyncIterator[Client]:
    async with ponte.stranger(Cookie=await sign_in_as(ponte, identity)) as client:
        yield client


@pytest.fixture
async def office() -> AsyncIterator[WebPonte]:
    """A page whose Slack says that nobody has left."""
    ponte = WebPonte()
    ponte.policy = Directory().policy
    await ponte.open()
    yield ponte
    await ponte.close()


async def test_their_conversations_are_their_own(office: WebPonte) -> None:
    token = office.people.add("u1")
    async with (
        browser_of(office, SLACK) as slack,
        browser_of(office, CORP) as corp,
        office.person(token) as account,
        office.client() as owner,
    ):
        clients = {"slack": slack, "corp": corp, "account": account, "owner": owner}
        for name, client in clients.items():
            body = {"message": f"of {name}", "event_key": "k"}
            assert (await client.post("/chat", json=body)).json()["response"].endswith(name)
        for name, client in clients.items():
            (one,) = (await client.get("/conversations")).json()["conversations"]
            assert one["title"] == f"of {name}"
            messages = (await client.get("/conversations/main")).json()["messages"]
            assert (messages[0]["text"], messages[0]["event_key"]) == (f"of {name}", "k")
        me = (await slack.get("/me")).json()
        assert (me["person"], me["name"], me["provider"]) == ("slack:T1:U1", "Ana", "slack")
        assert (me["owner"], me["operates"]) == (False, False)
        assert (await corp.get("/me")).json()["person"] == "oidc:corp:U1"
    places = {row.message.author.key: row.message.address for row in office.rows.values()}
    assert places["slack:T1:U1"] == Address("web", "main", person="slack:T1:U1")
    assert places["oidc:corp:U1"].conversation == "web:main:@oidc:corp:U1"


async def test_sign_out_everywhere_ends_every_tab(office: WebPonte) -> None:
    async with (
        browser_of(office, SLACK) as first,
        browser_of(office, SLACK) as second,
        browser_of(office, CORP) as other,
        following(second) as stream,
    ):
        await until(stream, "ready")
        response = await first.delete("/me/sessions")
        assert response.status_code == 200
        assert "Max-Age=0" in response.headers["set-cookie"]
        assert "done" not in [event.name async for event in stream]
        assert [(await one.get("/me")).status_code for one in (first, second)] == [401, 401]
        assert (await other.get("/me")).status_code == 200
        async with browser_of(office, SLACK) as again:
            assert (await again.get("/me")).status_code == 200


async def test_who_is_removed_in_the_middle_of_a_request_is_refused(
    office: WebPonte, monkeypatch: pytest.MonkeyPatch, limits: Limits
) -> None:
    """A slow request could hold a door open."""
    limits(SLOW_BODY_SECONDS=-1.0)
    auth, is_admitted = office.web.hub.visitors.auth, asyncio.Event()
    admit = auth.admit

    async def note_admission(visit: Visit) -> Visitor | None:
        visitor = await admit(visit)
        is_admitted.set()
        return visitor

    monkeypatch.setattr(auth, "admit", note_admission)

    async def body() -> AsyncIterator[bytes]:
        yield b'{"message": "'
        await is_admitted.wait()
        office.people.remove_sign_in(CORP.person.key)
        yield b'late"}'

    headers = {"Content-Type": "application/json"}
    async with browser_of(office, CORP) as client:
        answer = await client.post("/chat", content=body(), headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "session_ended")
    assert not office.rows
    async with browser_of(office, SLACK) as client:
        assert (await client.post("/chat", json={"message": "hello"})).status_code == 200


async def test_a_request_replaces_an_old_cookie(office: WebPonte, limits: Limits) -> None:
    limits(RENEWAL_SECONDS=0)
    async with browser_of(office, SLACK) as client:
        response = await client.get("/me")
        cookie = response.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        value = cookie.partition(";")[0]
    async with office.stranger(Cookie=value) as client:
        assert (await client.get("/me")).json()["person"] == "slack:T1:U1"
        # The answer of a sign-out deletes the cookie.
        response = await client.post("/logout")
        assert response.headers.get_list("set-cookie") == [response.headers["set-cookie"]]
        assert "Max-Age=0" in response.headers["set-cookie"]


async def test_a_company_s_account_is_sent_to_its_provider(office: WebPonte) -> None:
    """The page reads where to; its streams end."""
    async with browser_of(office, CORP) as client, following(client) as stream:
        await until(stream, "ready")
        key = "oidc:corp:U1"
        office.people.signed_in[key] = replace(office.people.signed_in[key], confirmed_at=1.0)
        office.web.hub.recheck_visitors()
        assert "done" not in [event.name async for event in stream]
        response = await client.get("/me")
        assert response.status_code == 401
        error = response.json()["error"]
        assert (error["code"], error["provider"]) == ("confirm_again", "corp")


async def test_who_cannot_be_confirmed_reads_so(office: WebPonte) -> None:
    async with browser_of(office, SLACK) as client:
        key = "slack:T1:U1"
        office.people.signed_in[key] = replace(office.people.signed_in[key], confirmed_at=1.0)
        assert office.policy is not None

        async def no_answer(person: Person, address: Address, since: float) -> bool | None:
            return None

        office.policy.people.departures["slack"] = no_answer
        response = await client.get("/me")
        assert (response.status_code, response.headers["retry-after"]) == (503, "2")
        assert "can't confirm with Slack" in response.json()["error"]["message"]


async def test_without_links_only_the_owner_signs_in_with_one(office: WebPonte) -> None:
    token = office.people.add("ana")
    program = office.people.add_api_token("ana")
    auth = office.web.hub.visitors.auth
    assert isinstance(auth, TokenAuthentication)
    assert auth.access.methods is not None
    async with (
        office.stranger() as browser,
        office.person(token) as ana,
        office.person(program) as script,
        office.client() as owner,
        browser_of(office, SLACK) as slack,
    ):
        await browser.post("/login", json={"token": token})
        assert (await browser.get("/me")).status_code == 200
        async with following(browser) as stream:
            await until(stream, "ready")
            auth.access.methods.has_links = lambda: False
            office.web.hub.recheck_visitors()
            assert "done" not in [event.name async for event in stream]
        for client in (browser, ana):
            response = await client.get("/me")
            assert response.status_code == 401
            assert "turned off" in response.json()["error"]["message"]
        response = await browser.post("/login", json={"token": token})
        assert (response.status_code, response.json()["error"]["code"]) == (401, "unauthorized")
        assert (await script.get("/v1/models")).status_code == 401
        assert (await owner.get("/me")).status_code == 200
        assert (await slack.get("/me")).status_code == 200
        assert (await browser.post("/login", json={"token": TOKEN})).status_code == 200
