"""Signing in with Slack and with another provider, and what attackers try."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from aiohttp import web
from structlog.testing import capture_logs

from adapters.web.oidc.client import MAX_PROVIDER_ANSWER_BYTES, MAX_PROVIDER_REQUESTS
from adapters.web.oidc.provider import Provider
from adapters.web.oidc.routes import MAX_SIGN_INS
from adapters.web.visitor import PROVIDER_SESSION_SECONDS, SignInMethods
from core.base.errors import NotStored, Refusal
from core.domain.messages import Person
from core.people.sign_ins import Identity
from tests.fakes.choices import allow_list
from tests.fakes.oidc import (
    CLIENT_ID,
    CLIENT_SECRET,
    LEFT_OUT,
    FakeProvider,
    new_ec_key,
    new_key,
    sign_token,
    slack_account,
)
from tests.time_limits import Limits
from tests.web.oidc.scene import Scene, query_of, scene, sentence_of

PUBLIC = "https://ponte.example"


@pytest.fixture(name="scene")
async def _scene() -> AsyncIterator[Scene]:
    async with scene() as made:
        yield made


@pytest.mark.parametrize(
    ("name", "person"),
    [
        ("slack", Person("slack", "U1", "T0TEAM", "Ana")),
        ("acme", Person("oidc", "acme:42", name="Ana")),
    ],
)
async def test_a_person_signs_in(scene: Scene, name: str, person: Person) -> None:
    async with scene.browser() as browser:
        ways = (await browser.get("/sign-in")).json()
        labels = [one["label"] for one in ways["ways"]]
        assert (ways["signed_in"], labels) == (False, ["Slack", "Acme"])
        answer = await scene.sign_in_with(browser, name)
    assert (answer.status_code, scene.is_signed_in(answer)) == (200, True)
    assert '<ol id="log"' in answer.text, "the page itself: no redirect follows"
    assert sentence_of(answer) == ""
    issuer = scene.acme.issuer if name == "acme" else ""
    assert scene.identities == [Identity(name, person, issuer=issuer)]
    assert scene.slack.refusals == scene.acme.refusals == []
    session, sign_in = answer.headers.get_list("set-cookie")
    assert "HttpOnly" in session
    assert "SameSite=strict" in session
    assert f"Max-Age={PROVIDER_SESSION_SECONDS}" in session
    assert "Max-Age=0" in sign_in


async def test_the_cookie_of_a_sign_in_is_lax_short_and_only_this_host_s() -> None:
    async with scene(PUBLIC) as made, made.browser(Host="ponte.example") as browser:
        answer = await browser.get("/sign-in/slack")
        (cookie,) = answer.headers.get_list("set-cookie")
        assert cookie.startswith("__Host-ponte-")
        for part in ("HttpOnly", "Max-Age=600", "Path=/;", "SameSite=lax", "Secure"):
            assert part in cookie
        assert "Domain" not in cookie
        query = query_of(answer.headers["location"])
        assert query["redirect_uri"] == f"{PUBLIC}/sign-in/slack/done"
        assert (query["team"], query["response_type"]) == ("T0TEAM", "code")
        for secret in (query["state"], query["nonce"]):
            assert secret not in cookie
        (way, _) = (await browser.get("/sign-in")).json()["ways"]
        assert way["url"] == f"{PUBLIC}/sign-in/slack"


async def test_pkce_where_the_provider_offers_it(scene: Scene) -> None:
    async with scene.browser() as browser:
        acme = query_of((await browser.get("/sign-in/acme")).headers["location"])
        slack = query_of((await browser.get("/sign-in/slack")).headers["location"])
    assert acme["code_challenge_method"] == "S256"
    assert "code_challenge" not in slack
    assert "prompt" not in acme


async def test_without_providers_there_is_no_way(scene: Scene) -> None:
    """Nothing is imported for it either."""
    scene.providers.clear()
    async with scene.browser() as browser:
        assert (await browser.get("/sign-in")).json() == {"signed_in": False, "ways": []}
        for path in ("slack", "acme", "acme/done?code=1&state=2", "acme/x"):
            answer = await browser.get(f"/sign-in/{path}")
            assert answer.status_code in (401, 404), path
    code = "import sys, adapters.web.server; print('joserfc' in sys.modules)"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE
    )
    assert (await process.communicate())[0] == b"False\n"


Change = Callable[[Scene], Any]


def claims(by: str, **more: Any) -> Change:
    return lambda scene: getattr(scene, by).claims.update(more)


def use_foreign_key(scene: Scene) -> None:
    scene.acme.key = new_key()


def use_key_in_header(scene: Scene) -> None:
    key = new_key()
    scene.acme.make_token = lambda claims: sign_token(key, claims, jwk=key.as_dict(private=False))


def sign_with_nothing(scene: Scene) -> None:
    scene.acme.make_token = lambda claims: sign_token(scene.acme.key, claims).rpartition(".")[0]


def lose_the_workspace(scene: Scene) -> None:
    scene.team = ""


@pytest.mark.parametrize(
    ("name", "change", "sentence"),
    [
        (
            "slack",
            claims("slack", **{"https://slack.com/team_id": "T2"}),
            "another Slack workspace",
        ),
        ("acme", claims("acme", aud="another"), "can't verify the response from Acme"),
        ("acme", claims("acme", iss="https://evil.example"), "can't verify"),
        ("acme", claims("acme", nonce="another"), "can't verify"),
        ("acme", claims("acme", sub=7), "can't verify"),
        ("acme", claims("acme", sub="\ud800"), "can't verify"),
        ("acme", use_foreign_key, "can't verify"),
        ("acme", use_key_in_header, "can't verify"),
        ("acme", sign_with_nothing, "can't verify"),
        ("slack", lose_the_workspace, "Slack isn't responding right now"),
    ],
)
async def test_who_is_not_admitted_reads_why(
    scene: Scene, name: str, change: Change, sentence: str
) -> None:
    async with scene.browser() as browser:
        back = await scene.begin(browser, name)
        change(scene)
        answer = await browser.get(back)
        assert sentence in sentence_of(answer)
        assert (answer.status_code, scene.identities) == (403, [])
        assert not answer.cookies.get(scene.auth.cookie)
        assert (await browser.get("/me")).status_code == 401


async def test_new_keys_of_the_provider_are_fetched_once(scene: Scene) -> None:
    async with scene.browser() as browser:
        await scene.sign_in_with(browser)
        scene.acme.key = new_ec_key("second")
        scene.acme.header = {"alg": "ES256"}
        answer = await scene.sign_in_with(browser)
        assert not scene.is_signed_in(answer), "ES256 is not among its algorithms"
        scene.acme.key, scene.acme.header = new_key("third"), {}
        scene.acme.published.append(scene.acme.key)
        assert scene.is_signed_in(await scene.sign_in_with(browser))
        scene.acme.key = new_key("unpublished")
        count = scene.acme.requests.count("/keys")
        assert not scene.is_signed_in(await scene.sign_in_with(browser))
        assert scene.acme.requests.count("/keys") == count + 1


async def test_login_csrf_and_replays(scene: Scene) -> None:
    """A link with somebody's code signs in no other browser, and no browser twice."""
    async with scene.browser() as attacker, scene.browser() as victim:
        back = await scene.begin(attacker)
        answer = await victim.get(back)
        assert "started in another browser" in sentence_of(answer)
        await victim.get("/sign-in/acme")  # the victim has begun one, too
        assert not scene.is_signed_in(await victim.get(back))
        assert "/token" not in scene.acme.requests, "no code was spent"
        jar = dict(attacker.cookies)
        assert scene.is_signed_in(await attacker.get(back))
        attacker.cookies.update(jar)  # a copy of the cookie
        assert not scene.is_signed_in(await attacker.get(back))
        assert len(scene.identities) == 1
        # As in another process: the provider knows its code.
        scene.sign_in._used.clear()
        scene.sign_in.opened.clear()
        attacker.cookies.update(jar)
        assert "was already used" in sentence_of(await attacker.get(back))
        assert scene.acme.refusals == ["invalid_grant"]


async def test_the_return_of_a_sign_in_is_loaded_again(scene: Scene) -> None:
    """By Back, a reload or a prefetch. It opens no other session."""
    async with scene.browser() as browser, scene.browser() as other:
        back = await scene.begin(browser)
        assert scene.is_signed_in(await browser.get(back))
        for who in (browser, other):
            answer = await who.get(back)
            assert (answer.status_code, sentence_of(answer)) == (200, "")
            assert '<ol id="log"' in answer.text
            assert "set-cookie" not in answer.headers
        assert len(scene.identities) == 1
        refused = await scene.begin(browser)
        await browser.get(f"{refused}&error=access_denied")
        assert "was already used" in sentence_of(await other.get(refused))


async def test_a_sign_in_lasts_ten_minutes(scene: Scene) -> None:
    async with scene.browser() as browser:
        back = await scene.begin(browser)
        scene.now = 601
        assert "took too long" in sentence_of(await browser.get(back))
        scene.now = 0
        assert not scene.is_signed_in(await browser.get(back)), "its cookie was deleted"
        back = await scene.begin(browser)
        scene.now = 450
        assert "The clocks of Ponte and Acme are" in sentence_of(await browser.get(back))


async def test_a_sign_in_belongs_to_its_provider(scene: Scene) -> None:
    """Mixed-up providers: an answer of one is no answer of the other."""
    async with scene.browser() as browser:
        back = await scene.begin(browser)
        for path in ("/sign-in/slack/done", "/sign-in/acme/done"):
            query = {**query_of(back), "state": "x"} if "acme" in path else query_of(back)
            answer = await browser.get(path, params=query)
            assert not scene.is_signed_in(answer)
        state = query_of((await browser.get("/sign-in/acme")).headers["location"])["state"]
        own, other = (f"{scene.auth.cookie}-{name}-{state[:16]}" for name in ("acme", "slack"))
        browser.cookies.set(other, browser.cookies[own])
        answer = await browser.get(f"/sign-in/slack/done?code=1&state={state}")
        assert not scene.is_signed_in(answer)
    assert scene.slack.requests.count("/token") == 0


async def test_the_issuer_in_the_redirect(scene: Scene) -> None:
    """RFC 9207: compared wherever it is sent, and required where the provider says so."""
    async with scene.browser() as browser:
        back = await scene.begin(browser)
        assert not scene.is_signed_in(await browser.get(f"{back}&iss=https://evil.example"))
        back = await scene.begin(browser)
        assert scene.is_signed_in(await browser.get(f"{back}&iss={scene.acme.issuer}"))
    async with FakeProvider(account=scene.acme.account) as strict:
        strict.document["authorization_response_iss_parameter_supported"] = True
        strict.redirects = scene.acme.redirects
        new = Provider("acme", "Acme", strict.issuer, CLIENT_ID, CLIENT_SECRET, anyone=True)
        scene.providers["acme"] = new
        async with scene.browser() as browser:
            back = await scene.begin(browser)
            assert not scene.is_signed_in(await browser.get(back.rpartition("&iss=")[0]))
            assert scene.is_signed_in(await scene.sign_in_with(browser))


async def test_a_session_from_before_is_never_the_one_from_after(scene: Scene) -> None:
    """Session fixation: a planted cookie is replaced."""
    async with scene.browser() as browser:
        browser.cookies.set(scene.auth.cookie, "planted")
        answer = await scene.sign_in_with(browser)
        assert scene.is_signed_in(answer)


async def test_two_tabs_sign_in_at_once(scene: Scene) -> None:
    """And a refused one ends only itself."""
    async with scene.browser() as browser:
        first, second, third = [await scene.begin(browser) for _ in range(3)]
        state = query_of(second)["state"]
        refused = await browser.get(f"/sign-in/acme/done?error=access_denied&state={state}")
        assert "didn't finish signing in" in sentence_of(refused)
        for back in (first, third):
            assert scene.is_signed_in(await browser.get(back))
            assert sentence_of(await browser.get(back)) == ""
        assert not [name for name in browser.cookies if name.startswith(f"{scene.auth.cookie}-")]


async def test_the_oldest_of_many_sign_ins_gives_way(scene: Scene) -> None:
    """A proxy refuses requests with too many cookies, also those to everything else."""
    async with scene.browser() as browser:
        backs = []
        for _ in range(MAX_SIGN_INS + 1):
            scene.now += 1
            backs.append(await scene.begin(browser))
        oldest, *others = [scene.is_signed_in(await browser.get(back)) for back in backs]
    assert not oldest
    assert all(others)


@pytest.mark.parametrize("name", ["a@b", "a b", "a,b", "é"])
async def test_cookies_with_odd_names_are_left_alone(scene: Scene, name: str) -> None:
    """Other programs of this host may have set them."""
    cookies = "; ".join(f"{scene.auth.cookie}-acme-{name}{n or ''}=1" for n in range(MAX_SIGN_INS))
    async with scene.browser() as browser:
        browser.headers = httpx.Headers({"Cookie": cookies}, "latin-1")
        await scene.begin(browser)
        answer = await browser.get(f"/sign-in/acme/done?code=x&state={quote(name)}")
    assert "took too long" in sentence_of(answer)


@pytest.mark.parametrize("site", ["cross-site", "same-site", "none"])
@pytest.mark.parametrize("more", ["", "?again"])
async def test_a_link_elsewhere_changes_nobody(scene: Scene, site: str, more: str) -> None:
    """Also in a mail or an app ("none"): only the page itself begins a sign-in."""
    headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate"}
    async with scene.browser(**headers) as browser:
        answer = await browser.get(f"/sign-in/acme{more}")
    assert (answer.status_code, '<ol id="log"' in answer.text) == (200, True)
    assert "set-cookie" not in answer.headers
    assert scene.acme.requests == []


async def test_only_a_session_of_a_provider_is_confirmed_again(scene: Scene) -> None:
    """Not the owner's, which would become somebody else's."""
    async with scene.ponte.client() as browser:
        answer = await browser.get("/sign-in/acme?again")
    assert (answer.status_code, "set-cookie" in answer.headers) == (200, False)
    assert scene.acme.requests == []


@pytest.mark.parametrize("user", ["owner", "u1", "B1", "U", "U1-2", "Ü1"])
async def test_only_a_person_of_slack_has_an_id_of_slack(scene: Scene, user: str) -> None:
    scene.slack.account = slack_account(user)
    async with scene.browser() as browser:
        answer = await scene.sign_in_with(browser, "slack")
    assert "can't verify the response from Slack" in sentence_of(answer)
    assert scene.identities == []


@pytest.mark.parametrize(
    "more", ["?next=https://evil.example", "?redirect_uri=https://evil.example"]
)
async def test_nobody_is_sent_anywhere_else(scene: Scene, more: str) -> None:
    """No open redirect."""
    async with scene.browser() as browser:
        started = await browser.get(f"/sign-in/acme{more}")
        assert started.headers["location"].startswith(f"{scene.acme.origin}/authorize?")
        query = query_of(started.headers["location"])
        assert query["redirect_uri"] == f"{scene.ponte.web.address}/sign-in/acme/done"
        assert "prompt" not in query
        answer = await browser.get(await scene.begin(browser, more=more))
        assert (answer.status_code, answer.headers.get("location")) == (200, None)


async def test_a_foreign_host_cannot_become_the_redirect(scene: Scene) -> None:
    async with scene.browser(Host="evil.example") as browser:
        assert (await browser.get("/sign-in/acme")).status_code == 403
    assert scene.acme.requests == []


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("error=access_denied", "didn't finish signing in with Acme"),
        ("error=login_required", "Sign in again"),
        ("error=server_error&error_description=%3Cb%3E", "Acme didn't sign you in"),
        ("error=%3Cscript%3E", "Acme didn't sign you in"),
        ("", "Acme didn't sign you in"),
    ],
)
async def test_errors_of_the_provider_are_sentences(
    scene: Scene, query: str, sentence: str
) -> None:
    async with scene.browser() as browser:
        state = query_of(await scene.begin(browser))["state"]
        answer = await browser.get(f"/sign-in/acme/done?{query}&state={state}")
        assert sentence in sentence_of(answer)
        assert "<b>" not in answer.text
        assert "<script>" not in answer.text
        answer = await browser.get(f"/sign-in/acme/done?{query}&state={state}")
        assert "another browser" in sentence_of(answer), "the error belongs to no sign-in here"


async def test_a_stranger_cannot_fill_the_log(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only codes of RFC 6749 are logged, and each reason once a minute."""
    now = 60.0
    monkeypatch.setattr("adapters.web.oidc.routes.time", SimpleNamespace(time=lambda: now))

    async def fail(*errors: str) -> list[str]:
        with capture_logs() as logs:
            for error in errors:
                state = query_of(await scene.begin(browser))["state"]
                await browser.get(f"/sign-in/acme/done?error={error}&state={state}")
        assert {one["event"] for one in logs} == {"sign-in refused"}
        return [one["detail"] for one in logs]

    async with scene.browser() as browser:
        assert await fail("call+555-0100", "server_error", "call+555-0101") == ["other"]
        now += 60
        assert await fail("server_error", "call+555-0100") == ["server_error"]


@pytest.mark.parametrize(
    "query", ["code=1&code=2&state=3", "state=" + "x" * 9000, "code=%ff&state=%00", "state=é"]
)
async def test_odd_redirects(scene: Scene, query: str) -> None:
    async with scene.browser() as browser:
        await browser.get("/sign-in/acme")
        answer = await browser.get(f"/sign-in/acme/done?{query}")
        assert (answer.status_code, scene.is_signed_in(answer)) == (403, False)


@pytest.mark.parametrize("value", ["", ".", "x", "5-" + "a" * 43 + ".x", "é", "a.b.c" * 500])
async def test_a_forged_cookie_begins_nothing(scene: Scene, value: str) -> None:
    async with scene.browser() as browser:
        header = f"{scene.auth.cookie}-acme={value}".encode()
        answer = await browser.get("/sign-in/acme/done?code=1&state=2", headers={b"Cookie": header})
        assert answer.status_code == 403
    assert scene.acme.requests == []


def answer_with(path: str, **more: Any) -> Change:
    return lambda scene: scene.acme.answers.update({path: lambda: web.Response(**more)})


DISCOVERY = "/.well-known/openid-configuration"
SET_UP, AWAY = "isn't set up correctly", "isn't responding right now"


@pytest.mark.parametrize("path", [DISCOVERY, "/token", "/keys"])
@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"status": 302, "headers": {"Location": "https://evil.example/"}}, SET_UP),
        ({"status": 404}, SET_UP),
        ({"status": 500}, AWAY),
        ({"text": "<html>"}, "Acme"),
        ({"text": "[" * 5000}, "Acme"),
        ({"text": "[]"}, "Acme"),
        ({"text": '{"keys": {"a": 1}, "issuer": "x"}'}, "Acme"),
        ({"body": b'"' + b"x" * MAX_PROVIDER_ANSWER_BYTES + b'"'}, "Acme"),
    ],
)
async def test_odd_answers_of_the_provider(
    scene: Scene, path: str, more: dict[str, Any], sentence: str
) -> None:
    answer_with(path, **more)(scene)
    async with scene.browser() as browser:
        if path == DISCOVERY:
            answer = await browser.get("/sign-in/acme")
        else:
            answer = await scene.sign_in_with(browser)
        assert answer.status_code == 403
        assert sentence in sentence_of(answer)
    assert scene.identities == []


async def test_a_provider_that_is_silent(scene: Scene, limits: Limits) -> None:
    scene.acme.hold = "/token"
    async with scene.browser() as browser:
        back = await scene.begin(browser)
        limits(ANSWER_TIMEOUT_SECONDS=0.05)
        assert AWAY in sentence_of(await browser.get(back))


async def test_a_flood_of_starts_stores_nothing_and_asks_once(scene: Scene) -> None:
    scene.sign_in.client.clock = lambda: 1.0
    async with scene.browser() as browser:
        answers = await asyncio.gather(*(browser.get("/sign-in/acme") for _ in range(100)))
        assert {one.status_code for one in answers} == {303}
        assert scene.acme.requests == [DISCOVERY]
        assert len({one.headers["location"] for one in answers}) == 100
        assert not scene.sign_in._used
        answer_with(DISCOVERY, status=500)(scene)
        scene.sign_in.client._answers.clear()
        answers = await asyncio.gather(*(browser.get("/sign-in/acme") for _ in range(100)))
        assert {one.status_code for one in answers} == {403}
        assert scene.acme.requests == [DISCOVERY] * 2


async def test_a_flood_of_false_codes_waits_in_line(scene: Scene) -> None:
    async with scene.browser() as browser:
        state = query_of(await scene.begin(browser))["state"]
        tries = (browser.get(f"/sign-in/acme/done?code=x{n}&state={state}") for n in range(50))
        answers = await asyncio.gather(*tries)
    assert not any(scene.is_signed_in(one) for one in answers)
    assert scene.acme.requests.count("/token") == 1


async def test_a_slow_provider_holds_few_connections(scene: Scene) -> None:
    """They are shared with the tables, and anybody can make Ponte redeem a forged code."""
    async with AsyncExitStack() as stack:
        browsers = [
            await stack.enter_async_context(scene.browser())
            for _ in range(2 * MAX_PROVIDER_REQUESTS)
        ]
        backs = [await scene.begin(browser) for browser in browsers]
        scene.acme.hold = "/token"
        waiting = [
            asyncio.create_task(browser.get(back))
            for browser, back in zip(browsers, backs, strict=True)
        ]
        await scene.acme.wait_for("/token", MAX_PROVIDER_REQUESTS)
        assert scene.acme.requests.count("/token") == MAX_PROVIDER_REQUESTS
        scene.acme.release()
        assert all(scene.is_signed_in(one) for one in await asyncio.gather(*waiting))


@pytest.mark.parametrize(
    ("admitted", "names_group", "expected"),
    [
        ({"groups": frozenset({"sales"})}, False, True),
        ({"anyone": True}, True, True),
        ({"anyone": True}, False, False),
    ],
)
async def test_groups_are_asked_for_where_they_decide(
    scene: Scene, admitted: dict[str, Any], names_group: bool, expected: bool
) -> None:
    """Who may sign in, or what a rule of ponte.toml gives them."""
    scene.acme.document["scopes_supported"] = ["openid", "groups"]
    scene.sign_in.names_group = lambda prefix: names_group and prefix == "oidc:acme:group:"
    scene.providers["acme"] = Provider(
        "acme", "Acme", scene.acme.issuer, CLIENT_ID, CLIENT_SECRET, **admitted
    )
    async with scene.browser() as browser:
        query = query_of((await browser.get("/sign-in/acme")).headers["location"])
    assert ("groups" in query["scope"].split()) is expected


@pytest.mark.parametrize("error", [NotStored(), Refusal("Ana was removed.")])
async def test_a_session_that_cannot_be_opened(scene: Scene, error: Exception) -> None:
    auth: Any = scene.auth

    async def refuse(identity: Identity, session: str) -> str:
        raise error

    auth.open_session = refuse
    async with scene.browser() as browser:
        answer = await scene.sign_in_with(browser)
    assert not answer.cookies.get(scene.auth.cookie)
    assert answer.status_code == (503 if isinstance(error, NotStored) else 403)
    assert sentence_of(answer)


async def test_the_secret_is_sent_as_the_provider_wants_it(scene: Scene) -> None:
    scene.acme.document["token_endpoint_auth_methods_supported"] = LEFT_OUT
    async with scene.browser() as browser:
        assert scene.is_signed_in(await scene.sign_in_with(browser)), "basic is the default"
    scene.providers["acme"] = Provider(
        "acme", "Acme", scene.acme.issuer, CLIENT_ID, "another", anyone=True
    )
    async with scene.browser() as browser:
        assert SET_UP in sentence_of(await scene.sign_in_with(browser))
    assert scene.acme.refusals == ["invalid_client"]


async def test_names_with_markup_are_text(scene: Scene) -> None:
    scene.slack.account = slack_account(name="<img src=x>\u202e\nAna")
    async with scene.browser() as browser:
        answer = await scene.sign_in_with(browser, "slack")
    assert "<img src" not in answer.text
    assert scene.identities[0].person.name == "<img src=x> Ana"


async def test_pages_of_other_sites_can_begin_nothing_in_the_background(scene: Scene) -> None:
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}
    async with scene.browser(**headers) as browser:
        assert (await browser.get("/sign-in/acme")).status_code == 403
        assert (await browser.get("/sign-in/acme/done?state=1")).status_code == 403
    async with httpx.AsyncClient(base_url=scene.ponte.web.address) as browser:
        answer = await browser.post("/sign-in/acme", headers={"Origin": "https://evil.example"})
        assert answer.status_code == 403


async def test_a_session_goes_on_only_for_its_person(scene: Scene) -> None:
    """Somebody else may be signed in at the provider: they sign in themselves."""
    auth: Any = scene.auth
    del auth.open_session
    auth.access.methods = SignInMethods(allow_list(), bool)
    stored = scene.ponte.people.signed_in
    async with scene.browser() as browser:
        await scene.sign_in_with(browser)
        scene.acme.account = {"sub": "77", "name": "Bia"}
        answer = await browser.get(await scene.begin(browser, "acme", "?again"))
        assert sentence_of(answer) == "Your session has ended. Sign in again."
        assert (await browser.get("/me")).json()["person"] == "oidc:acme:42"
        started = await browser.get("/sign-in/acme?again")
        assert query_of(started.headers["location"])["prompt"] == "none"
        answer = await browser.get(await scene.begin(browser, "slack", "?again"))
        assert sentence_of(answer) == "Your session has ended. Sign in again."
        assert set(stored) == {"oidc:acme:42"}
        await scene.sign_in_with(browser)
        assert (await browser.get("/me")).json()["person"] == "oidc:acme:77"
