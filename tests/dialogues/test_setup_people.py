"""Who is who on a chat platform, for the owner of the page: a word sent by exactly that person."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from bot.compose import compose
from bot.config.ponte_toml import Config
from bot.home import Home
from bot.ponte import Ponte
from bot.settings import Settings
from bot.setup.stored import StoredSettings
from core.base.errors import BadInput
from core.domain.messages import Person
from core.people.claims import CLAIM_SECONDS, IdentityClaims
from tests.dialogues.test_sample import ALONE
from tests.fakes.discord import FakeDiscord
from tests.fakes.discord.addresses import sdk_addresses
from tests.fakes.slack import FakeSlack

OWNER = Person("web", "owner")
REFUSED = "That word isn't valid."


@asynccontextmanager
async def ponte(home: Path, **settings: Any) -> AsyncIterator[Ponte]:
    options = {**ALONE, "ponte_home": home, "ponte_web": "off", **settings}
    own = Home(home)
    with own.take():
        app = await compose(Settings.model_validate(options), Config(), own)
        await app.start()
        try:
            yield app
        finally:
            await app.stop()


def credentials(slack: FakeSlack) -> dict[str, Any]:
    return {
        "slack_bot_token": SecretStr(slack.bot_token),
        "slack_api_url": slack.base_url,
        "slack_app_token": SecretStr(slack.app_token),
    }


async def test_on_slack_only_the_chosen_person_proves_it(tmp_path: Path) -> None:
    async with FakeSlack() as slack:
        ana, bruno = (slack.person(name) for name in ("Ana", "Bruno"))
        guest = slack.person("Anaïs", guest="multi")
        place = slack.channel("general", ana, bruno, guest)
        async with ponte(tmp_path, **credentials(slack)) as app:
            await slack.deliveries.wait_until_connected()
            await slack.wait_for_answer(slack.say(ana, place, f"{slack.bot} help"))

            async def search(name: str) -> list[str]:
                return [one["id"] for one in await app.setup.find_people("slack", name)]

            assert await search("ANA") == [ana.id], "no guest"
            assert ana.id in await search("")
            with pytest.raises(BadInput, match="Not found"):
                await app.setup.claim("slack", guest.id)
            await app.setup.claim("slack", ana.id)
            people = (await app.setup.show())["people"]
            word = people["claims"]["slack"]["word"]

            async def send(who: Any, text: str) -> str:
                answer = await slack.wait_for_answer(slack.say(who, slack.dm(who), text))
                return str(answer.visible_text)

            assert REFUSED in await send(bruno, f"setup {word}")
            assert REFUSED in await send(ana, "setup aaaa-2222")
            with pytest.raises(BadInput, match="Send the word"):
                await app.setup.grant("slack", ana.id, "me", OWNER)
            assert "Hello Ana, it worked" in await send(ana, f"setup {word}")
            assert REFUSED in await send(ana, f"setup {word}"), "it counts once"
            assert (await app.setup.show())["people"]["claims"]["slack"]["is_proven"]
            with pytest.raises(BadInput, match="Send the word"):
                await app.setup.grant("slack", bruno.id, "me", OWNER)
            await app.setup.grant("slack", ana.id, "me", OWNER)
            await app.setup.grant("slack", bruno.id, "change", OWNER)
            await app.setup.share_sample(OWNER)
            assert StoredSettings(Home(tmp_path)).read() == {
                "PONTE_ALLOW": ",".join(sorted([f"slack:{ana.id}", f"slack:{bruno.id}"])),
                "PONTE_ADMINS": f"slack:{ana.id},terminal,web",
                "PONTE_SAMPLE": "on",
            }
            shown = (await app.setup.show())["people"]
            assert f"Ana (slack:{ana.id})" in shown["ponte_admins"]
            # Rights are taken one by one; the page and the terminal keep theirs.
            for person in ("web", f"slack:{ana.id}", "slack:U0"):
                await app.setup.revoke(person, OWNER)
            assert StoredSettings(Home(tmp_path)).read() == {
                "PONTE_ALLOW": f"slack:{bruno.id}",
                "PONTE_ADMINS": "terminal,web",
                "PONTE_SAMPLE": "on",
            }
            await app.setup.revoke(f"slack:{bruno.id}", OWNER)
            people = (await app.setup.show())["people"]
            assert (people["ponte_allow"], people["granted"]) == ([], {})
            await app.setup.grant("slack", bruno.id, "change", OWNER)
            assert StoredSettings(Home(tmp_path)).read()["PONTE_ALLOW"] == f"slack:{bruno.id}"


async def test_namesakes_are_told_apart_and_found_by_all_that_is_known_of_them(
    tmp_path: Path,
) -> None:
    async with FakeSlack() as slack:
        boss = slack.person("Rui", full_name="Rui Costa", handle="rui.costa")
        other = slack.person("Rui", full_name="Rui Pinto", handle="rpinto")
        ana = slack.person("Ana", full_name="Ana Souza", handle="ana")
        slack.channel("general", boss, other, ana)
        async with ponte(tmp_path, **credentials(slack)) as app:
            await slack.deliveries.wait_until_connected()
            await slack.wait_for_answer(slack.say(ana, slack.dm(ana), "help"))

            async def search(name: str) -> list[tuple[str, str]]:
                found = await app.setup.find_people("slack", name)
                return [(one["name"], one["details"]) for one in found]

            rui = "Rui", f"Rui Costa · @rui.costa · slack:{boss.id}"
            assert await search("rui") == [rui, ("Rui", f"Rui Pinto · @rpinto · slack:{other.id}")]
            assert await search("souza") == [("Ana", f"Ana Souza · @ana · slack:{ana.id}")]
            for name in ("COSTA", "rui.co", boss.id.lower()):
                assert await search(name) == [rui], name
            await app.setup.grant("slack", boss.id, "change", OWNER)
            granted = (await app.setup.show())["people"]["granted"]
            assert granted[f"slack:{boss.id}"]["details"] == rui[1]


async def test_in_a_channel_the_word_proves_nothing(tmp_path: Path) -> None:
    async with FakeSlack() as slack:
        ana = slack.person("Ana")
        place = slack.channel("general", ana)
        async with ponte(tmp_path, **credentials(slack)) as app:
            await slack.deliveries.wait_until_connected()
            await slack.wait_for_answer(slack.say(ana, place, f"{slack.bot} help"))
            await app.setup.claim("slack", ana.id)
            word = (await app.setup.show())["people"]["claims"]["slack"]["word"]
            message = slack.say(ana, place, f"{slack.bot} setup {word}")
            assert REFUSED in (await slack.wait_for_answer(message)).visible_text
            assert not (await app.setup.show())["people"]["claims"]["slack"]["is_proven"]


async def test_on_discord_who_has_written_is_known(tmp_path: Path) -> None:
    async with FakeDiscord() as discord:
        ana = discord.user("Ana")
        with sdk_addresses():
            async with ponte(
                tmp_path,
                discord_token=SecretStr(discord.token),
                discord_api_url=discord.api_url,
                discord_gateway_url=discord.gateway_url,
            ) as app:
                await discord.wait_until(lambda: discord.rest.commands)
                assert await app.setup.find_people("discord", "ana") == []
                await ana.say("help")
                await ana.wait_for_messages(
                    lambda seen: any("Ask me anything" in one["content"] for one in seen)
                )
                assert await app.setup.find_people("discord", "ana") == [
                    {"id": str(ana.id), "name": "Ana", "details": f"discord:{ana.id}"}
                ]


def test_a_claim_ends_after_ten_minutes_and_with_a_newer_one() -> None:
    now = 0.0
    claims = IdentityClaims(lambda: now)
    ana = Person("slack", "U1", "T1")
    first = claims.begin("slack", "U1")
    second = claims.begin("slack", "U1")
    assert first.word != second.word
    assert not claims.prove(ana, first.word)
    now = CLAIM_SECONDS
    assert not claims.prove(ana, second.word)
    third = claims.begin("slack", "U1")
    assert not claims.prove(Person("discord", "U1"), third.word)
    assert claims.prove(ana, third.word.upper())
    assert not claims.prove(ana, third.word)
