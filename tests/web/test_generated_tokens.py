"""Wrong tokens shut nobody out who has a token that Ponte generated.

Such a token has 256 random bits, so that no number of guesses finds it. A token that a person chose
can be guessed: nobody comes in with it while too many wrong ones came.
"""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path

import httpx
import pytest

from adapters.web.sign_in import MAX_WRONG_TOKENS, MAX_WRONG_TOKENS_OF_ADDRESS
from bot.home import Home
from core.integrations import has_generated_form
from tests.bot.test_process import Machine
from tests.fakes.memory import MemoryPageAccounts
from tests.web.doors import Doors

CHOSEN = "correct horse battery staple".replace(" ", "-")
HERE = "10.0.0.1"


def guesses() -> list[str]:
    """Wrong tokens of every form."""
    return ["guess", "", "é", secrets.token_urlsafe(32), secrets.token_hex(16)]


@pytest.fixture(params=["of one address", "of all addresses"])
async def shut(request: pytest.FixtureRequest) -> Doors:
    """The page's token is generated, and wrong ones have used up the count."""
    doors = Doors(secrets.token_urlsafe(32), is_generated=True)
    many = request.param == "of all addresses"
    for n in range(MAX_WRONG_TOKENS if many else MAX_WRONG_TOKENS_OF_ADDRESS):
        address = f"10.0.1.{n}" if many else HERE
        assert await doors.offer(guesses()[n % 5], address) == "WrongToken"
    assert {await doors.offer(guess) for guess in guesses()} == {"TooManyTries"}
    return doors


async def test_a_generated_token_is_let_in_whatever_came_before(shut: Doors) -> None:
    token = shut.login._token.decode()
    for _ in range(2 * MAX_WRONG_TOKENS_OF_ADDRESS):
        assert await shut.offer(token) == "web:owner"
        assert await shut.offer(shut.ana) == "web:ana"
    visitor = await shut.login.find_token_visitor(shut.ana, HERE)
    assert visitor.person.key == "web:ana", "also who signs in"


async def test_wrong_tokens_are_counted_all_the_same(shut: Doors) -> None:
    assert await shut.offer(shut.ana) == "web:ana"
    assert {await shut.offer(guess) for guess in guesses()} == {"TooManyTries"}


async def test_a_removed_person_s_token_is_told_so_and_lets_nobody_in(shut: Doors) -> None:
    """Whoever has it was let in before, so that this answer tells nothing to those who guess."""
    shut.people.remove("ana")
    assert await shut.offer(shut.ana) == "AccessRemoved"


async def test_many_at_once_are_counted_too() -> None:
    """Also guesses of the form of a generated token, which are looked up."""
    doors = Doors(CHOSEN, is_generated=False)
    offers = [
        doors.offer(secrets.token_urlsafe(32) if n % 2 else f"guess {n}")
        for n in range(5 * MAX_WRONG_TOKENS_OF_ADDRESS)
    ]
    results = await asyncio.gather(*offers, doors.offer(doors.ana))
    assert results.count("WrongToken") == MAX_WRONG_TOKENS_OF_ADDRESS
    assert results[-1] == "web:ana"


async def test_without_the_database_the_owner_comes_in_all_the_same() -> None:
    token = secrets.token_urlsafe(32)
    doors = Doors(token, is_generated=True)
    for _ in range(MAX_WRONG_TOKENS_OF_ADDRESS):
        await doors.offer("guess")
    doors.people.away = True
    assert await doors.offer(token) == "web:owner"
    assert await doors.offer(doors.ana) == "TooManyTries"


def test_the_form_of_a_generated_token(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    with home.take():
        assert has_generated_form(home.web_token())
    assert all(has_generated_form(MemoryPageAccounts().add("ana")) for _ in range(100))
    for choices in (CHOSEN, "x" * 43, "correct-horse-battery-staple-and-a-dog-2026"[:43], "A" * 43):
        assert not has_generated_form(choices)


@pytest.mark.parametrize("is_chosen", [False, True])
def test_a_running_ponte_knows_which_its_own_token_is(
    tmp_path: Path, commands: str, is_chosen: bool
) -> None:
    """What stands in PONTE_WEB_TOKEN counts as chosen: nobody can tell how it was made."""
    choice = secrets.token_urlsafe(32)
    settings = {"PONTE_WEB_TOKEN": choice} if is_chosen else {}
    machine = Machine(tmp_path, tmp_path / "home", commands, settings)
    with machine.running() as (_, lines), httpx.Client() as client:
        status = f"{lines[-1].split()[-1].partition('/#')[0]}/status"
        token = choice if is_chosen else (machine.home / "web-token").read_text().strip()
        for _ in range(MAX_WRONG_TOKENS_OF_ADDRESS):
            wrong = client.get(status, headers={"Authorization": "Bearer no"})
            assert wrong.status_code == 401
        answer = client.get(status, headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == (429 if is_chosen else 200)
