"""What people are told when StackSpot refuses, and what nobody is ever told: secrets."""

from __future__ import annotations

import json
import logging
import traceback

import pytest

from core.base.http import HttpAnswer
from core.base.proxies import Proxies
from core.tools.stackspot import StackSpot
from core.tools.stackspot.api import StackSpotAccount, error_details
from tests.fakes.stackspot import SECRET, FakeStackSpot, Trouble
from tests.fakes.stackspot.clock import SteppedClock
from tests.fakes.stackspot.state import CLIENT
from tests.stackspot.command_scene import client, error_of


async def test_wrong_credentials(fake: FakeStackSpot, clock: SteppedClock) -> None:
    async with client(fake.url, clock, secret="wrong") as stackspot:
        error = await error_of(stackspot.run("echo", "a"))
    assert error.code == "bad_credentials"
    assert str(error) == (
        "StackSpot rejected the credentials. Check STACKSPOT_CLIENT_ID and "
        "STACKSPOT_CLIENT_SECRET, and that they belong to the realm `acme`."
    )


async def test_a_wrong_realm(fake: FakeStackSpot, clock: SteppedClock) -> None:
    async with client(fake.url, clock, realm="a/../b") as stackspot:
        error = await error_of(stackspot.run("echo", "a"))
    assert error.code == "wrong_realm"
    assert "`a/../b`" in str(error)
    assert "STACKSPOT_REALM" in str(error)


async def test_no_such_command_and_no_such_agent(fake: FakeStackSpot, stackspot: StackSpot) -> None:
    fake.commands = {"echo"}
    command = await error_of(stackspot.run("ecko", "a"))
    agent = await error_of(stackspot.ask_agent("01NOBODY", "a"))
    assert (command.code, agent.code) == ("unknown_command", "unknown_agent")
    assert str(command).startswith("StackSpot found no quick command `ecko` for this account.")
    assert str(agent).startswith("StackSpot found no agent 01NOBODY for this account.")


async def test_each_refusal_has_its_words(fake: FakeStackSpot, stackspot: StackSpot) -> None:
    for number, (status, code) in enumerate(
        {
            400: "bad_input",
            403: "not_allowed",
            405: "misplaced",
            302: "misplaced",
            413: "bad_input",
            422: "bad_input",
            501: "down",
        }.items(),
        1,
    ):
        fake.answer("create", status, body={"code": "X_1", "details": "too <b>long</b>"})
        error = await error_of(stackspot.create("echo", "a"))
        assert (error.code, fake.count("create")) == (code, number), status
        assert str(error).endswith(".")
        assert "{" not in str(error)
        if code in ("bad_input", "not_allowed"):
            assert f"(status {status}: X_1: too <b>long</b>)" in str(error)


async def test_an_unreachable_server_is_down(clock: SteppedClock) -> None:
    async with FakeStackSpot() as dead_server:
        pass
    async with client(dead_server.url, clock) as stackspot:
        error = await error_of(stackspot.run("echo", "a"))
    assert (error.code, error.unsure) == ("down", False)
    assert "127.0.0.1" not in str(error)
    assert clock.pauses == [0.5, 2.0, 5.0]


async def test_a_token_page_of_html_is_told(fake: FakeStackSpot, stackspot: StackSpot) -> None:
    fake.fail("token", *[Trouble("html")] * 4)
    assert (await error_of(stackspot.check())).code == "unreadable"


async def test_secrets_are_told_to_nobody(
    fake: FakeStackSpot, clock: SteppedClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    texts: list[str] = []
    async with client(fake.url, clock) as stackspot:
        await stackspot.run("echo", "a")
        (token,) = fake.tokens
        echo = {"code": SECRET, "details": f"Bearer {token} of {SECRET} at http://x.example/?t=1"}
        for status in (400, 403, 422, 429, 500, 502):
            fake.answer("create", *[status] * 6, body=echo)
            error = await error_of(stackspot.create("echo", "a"))
            texts += [str(error), repr(error), error.hint, *traceback.format_exception(error)]
            fake.troubles.clear()
        for how in ("reset", "truncated", "html", "malformed"):
            fake.fail("create", Trouble(how, after=True))
            texts += traceback.format_exception(await error_of(stackspot.create("echo", "a")))
        texts += [repr(stackspot), repr(StackSpotAccount(CLIENT, SECRET)), caplog.text]
    fake.answer("token", 401, body={"error": SECRET, "error_description": SECRET})
    async with client(fake.url, clock) as stackspot:
        texts += traceback.format_exception(await error_of(stackspot.check()))
    for text in texts:
        assert SECRET not in text
        assert token not in text
        assert "x.example" not in text
    assert "127.0.0.1" not in "".join(texts[:-1])


async def test_a_proxys_password_is_told_to_nobody(
    clock: SteppedClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    proxies = Proxies(http="http://ada:hunter2@127.0.0.1:9")
    async with client("http://stackspot.example", clock, proxies=proxies) as stackspot:
        error = await error_of(stackspot.check())
    assert error.code == "down"
    assert "hunter2" not in "".join(traceback.format_exception(error)) + caplog.text


@pytest.mark.parametrize(
    ("body", "details"),
    [
        ({"code": "A_1", "details": "no"}, "status 400: A_1: no"),
        ({"error": "e", "message": "m"}, "status 400: e: m"),
        ({"code": 7, "details": ["x"]}, "status 400"),
        (["x"], "status 400"),
        ("<html>", "status 400"),
        ({"details": "a\x1b[31mb\n\nc " + "d" * 40}, "status 400: ab c (withheld)"),
        ({"details": "see http://10.0.0.1/x?y"}, "status 400: see (address)"),
        ({"details": "e " * 500}, ("status 400: " + "e " * 500)[:200]),
    ],
)
def test_details_are_one_short_line(body: object, details: str) -> None:
    assert error_details(HttpAnswer(400, {}, json.dumps(body).encode())) == details


async def test_who_loses_sight_of_a_run_is_not_told_to_try_again(
    stackspot: StackSpot, fake: FakeStackSpot
) -> None:
    """It would be started, and paid for, once more."""
    execution = await stackspot.create("echo", "a")
    fake.answer("status", *[503] * 11)
    error = await error_of(stackspot.wait(execution))
    assert (error.code, error.unsure) == ("down", True)
    assert error.words() == (
        "I could no longer get the status from StackSpot, so I stopped waiting. The run was "
        "started, and StackSpot may still finish it."
    )
