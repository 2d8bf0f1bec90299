"""Settings of a channel on Discord: everything answered there, threads or none, strict mentions."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from discord import Client, Intents

from adapters.discord import intake
from adapters.discord.context import find_message_links
from adapters.discord.people import Roles, can_post, can_read_channel
from adapters.discord.setup import check
from core.base.errors import PlatformBusy
from core.base.proxies import Proxies
from core.chat.incoming import WAITS_FOR_MENTION
from core.domain.changes import DisplayName
from core.domain.messages import Address, Person
from tests.discord.discord_ponte import DiscordPonte
from tests.discord.process import Process
from tests.discord.test_company import count, thread_of
from tests.fakes.discord import DiscordPerson, FakeDiscord
from tests.fakes.discord.world import Channel, Guild
from tests.fakes.memory import NoRows
from tests.fakes.places import FixedAddressingSettings, FixedPlaces
from tests.time_limits import Limits

EVERYTHING = FixedAddressingSettings(answer_everything=True)
FLAT = FixedAddressingSettings(threads=False)
DAY = 86_400.0
BOTH = FixedAddressingSettings(answer_everything=True, threads=False)


@dataclass
class Scene:
    """Ana and Bob in #general of a server, with Ponte."""

    discord: FakeDiscord
    ponte: DiscordPonte
    ana: DiscordPerson
    bob: DiscordPerson
    guild: Guild
    general: Channel
    settings: FixedPlaces

    async def open(self, own: FixedAddressingSettings, **options: Any) -> None:
        self.settings.by_id[str(self.general.id)] = own
        self.ponte.places = self.settings
        await self.ponte.open(**{"message_content": True, **options})

    @property
    def model_inputs(self) -> list[str]:
        return [ask.input[-1].text for ask in self.ponte.model.asks]

    @property
    def conversations(self) -> list[str]:
        return [ask.thread.conversation for ask in self.ponte.model.asks]


@pytest.fixture
def scene(discord: FakeDiscord, ponte: DiscordPonte, ana: DiscordPerson) -> Scene:
    bob = discord.user("Bob")
    discord.grant_message_content()
    guild = discord.guild("Bolts", ana, bob, roles={77: "buyers"})
    return Scene(
        discord,
        ponte,
        ana,
        bob,
        guild,
        discord.text_channel(guild, "general"),
        FixedPlaces(prefix="discord:1:"),
    )


async def test_everything_that_people_say_is_answered_and_nobody_is_told_to_mention(
    scene: Scene,
) -> None:
    await scene.open(EVERYTHING)
    other = scene.discord.text_channel(scene.guild, "other")
    await scene.ana.say("just among us", other)
    thread = await thread_of(scene.discord, await scene.ana.say("how many bolts?", scene.general))
    await scene.ana.wait_for_text("You said: how many bolts?", thread)
    await scene.bob.say("and nuts?", thread)
    await scene.bob.wait_for_text("You said: and nuts?", thread)
    await scene.ana.say("and washers?", thread)
    await scene.ana.wait_for_text("You said: and washers?", thread)
    assert scene.model_inputs == ["how many bolts?", "and nuts?", "and washers?"]
    assert count(scene.discord, WAITS_FOR_MENTION) == 0


async def test_what_is_said_to_others_and_what_apps_say_is_not_for_it(scene: Scene) -> None:
    robot = scene.discord.user("Robot")
    robot.user.bot = True
    await scene.open(BOTH)
    message = await scene.bob.say("the bolts are late", scene.general)
    await scene.ana.wait_for_text("You said: the bolts are late", scene.general)
    await scene.ana.say("are they?", scene.general, reply_to=message)
    await scene.ana.say(f"<@{scene.bob.id}> are they?", scene.general)
    await scene.ana.say("<@&77> are they?", scene.general)
    await scene.ana.say(f"<@{robot.id}> are they?", scene.general)
    await scene.ana.say("", scene.general, type=7)  # joined
    alert = await robot.say("stock is low", scene.general)
    await scene.ana.say("why is it?", scene.general, reply_to=alert)
    await scene.ana.wait_for_text("You said: why is it?", scene.general)
    await scene.ana.mention(f"<@{scene.bob.id}> and you?", scene.general)
    await scene.discord.wait_until(lambda: len(scene.model_inputs) == 3)
    assert scene.model_inputs == ["the bolts are late", "why is it?", "@Bob and you?"]
    result = await asyncio.to_thread(everything_in, scene.ponte.home)
    assert b"are they?" not in result


async def test_without_the_intent_it_hears_mentions_alone_and_says_so(scene: Scene) -> None:
    await scene.open(EVERYTHING, message_content=False)
    assert "DISCORD_MESSAGE_CONTENT is off" in (await scene.ponte.adapter.health()).words
    for _ in range(2):
        await scene.ana.say("how many bolts?", scene.general)
    await scene.ana.wait_for_text(intake.MENTION_NEEDED, scene.general)
    thread = await thread_of(scene.discord, await scene.ana.mention("bolts?", scene.general))
    await scene.ana.wait_for_text("You said: bolts?", thread)
    assert count(scene.discord, intake.MENTION_NEEDED) == 1
    discord = scene.discord
    for content, state in ((False, "failing"), (True, "on")):
        findings = await check(
            discord.token, discord.api_url, discord.gateway_url, content, Proxies(), ["discord:1:2"]
        )
        (text,) = [health for health in findings if health.name == "discord channels"]
        assert text.state == state


async def test_what_came_while_it_was_away_is_answered_too(scene: Scene) -> None:
    await scene.open(BOTH)
    await scene.ana.say("one", scene.general, ago=9000.0)
    await scene.ana.wait_for_text("You said: one", scene.general)
    await scene.ponte.close()
    scene.discord.gateway.forget()
    await scene.bob.say("much too old", scene.general, ago=7200.0)
    await scene.bob.say("two", scene.general)
    await scene.ponte.open()
    await scene.bob.wait_for_text("You said: two", scene.general)
    await scene.bob.wait_for_text(
        "I was offline and didn't answer 1 older message here.", scene.general
    )


async def test_a_channel_without_threads_is_one_conversation(scene: Scene) -> None:
    await scene.open(FLAT)
    await scene.ana.mention("one", scene.general)
    await scene.ana.wait_for_text("You said: one", scene.general)
    await scene.bob.mention("two", scene.general)
    answer = await scene.bob.wait_for_text("You said: two", scene.general)
    assert answer["message_reference"]["message_id"]
    await scene.bob.say("not for it", scene.general)
    thread = scene.discord.world.channel(
        type=11, name="lunch", guild=scene.guild, parent=scene.general.id, owner=scene.ana.id
    )
    await scene.ana.mention("three", thread)
    await scene.ana.wait_for_text("You said: three", thread)
    whole = f"discord:{scene.guild.id}:{scene.general.id}"
    assert scene.conversations == [whole, whole, f"{whole}:{thread.id}"]


async def test_a_command_and_the_stop_button_belong_to_the_channels_conversation(
    scene: Scene,
) -> None:
    scene.ponte.model.pauses = asyncio.Queue()
    scene.ponte.model.script["tell me"] = ["Once ", "upon ", "a time"]
    await scene.open(FLAT)
    await scene.ponte.ready()
    await scene.ana.slash("ask", scene.general, prompt="hello")
    await scene.ana.wait_for_text("You said: hello", scene.general)
    await scene.ana.mention("tell me", scene.general)
    scene.ponte.model.go_on()
    seen = await scene.ana.wait_for_messages(
        lambda seen: seen and "Once" in seen[-1]["content"] and seen[-1]["components"],
        scene.general,
    )
    await scene.ana.click(seen[-1], "Stop")
    await scene.ana.wait_for_text("Stopped", scene.general)
    assert set(scene.conversations) == {f"discord:{scene.guild.id}:{scene.general.id}"}


async def test_without_threads_a_channel_is_one_conversation_and_not_one_per_person(
    scene: Scene,
) -> None:
    await scene.open(FixedAddressingSettings(), threads=False)
    await scene.ana.mention("one", scene.general)
    await scene.ana.wait_for_text("You said: one", scene.general)
    channel = f"discord:{scene.guild.id}:{scene.general.id}"
    assert scene.conversations == [f"{channel}:@{scene.ana.id}"], "Ponte may not create threads"
    scene.settings.by_id[str(scene.general.id)] = FLAT
    await scene.ana.mention("two", scene.general)
    await scene.ana.wait_for_text("You said: two", scene.general)
    assert scene.conversations[-1] == channel


async def test_strict_mention_wants_one_each_time(scene: Scene) -> None:
    await scene.open(FixedAddressingSettings(strict_mention=True))
    thread = await thread_of(scene.discord, await scene.ana.mention("one", scene.general))
    answer = await scene.ana.wait_for_text("You said: one", thread)
    await scene.ana.say("two", thread)
    await scene.ana.say("three", thread, reply_to=answer, ping=False)
    await scene.ana.mention("four", thread)
    await scene.ana.wait_for_text("You said: four", thread)
    assert scene.model_inputs == ["one", "four"]


async def test_a_thread_has_its_channels_address_also_in_commands(scene: Scene) -> None:
    await scene.open(FixedAddressingSettings())
    await scene.ponte.ready()
    old = scene.discord.world.channel(
        type=11, name="old", guild=scene.guild, parent=scene.general.id, owner=scene.ana.id
    )  # archived when the session began
    await scene.ana.slash("ask", old, prompt="hello")
    await scene.ana.wait_for_text("You said: hello", old)
    where = f"discord:{scene.guild.id}:{scene.general.id}:{old.id}"
    assert scene.conversations == [where]


async def test_roles_that_discord_does_not_tell_are_not_the_same_as_none(
    scene: Scene, limits: Limits
) -> None:
    scene.ana.user.roles.add(77)
    await scene.open(FixedAddressingSettings())
    ana, eve = (Person("discord", str(id)) for id in (scene.ana.id, 4711))
    assert await scene.ponte.adapter.membership(eve, DAY) == frozenset()
    limits(DISCORD_REFUSAL_SECONDS=0.0)
    scene.discord.refuse("GET", "/guilds/*/members/*", 403, 50001)
    assert await scene.ponte.adapter.membership(ana, DAY) is None
    limits(ASK_AGAIN_SECONDS=0.0)
    scene.discord.refuse("GET", "/guilds/*/members/*", 503, times=20)  # discord.py retries a 500
    assert await scene.ponte.adapter.membership(ana, DAY) == frozenset({"77"}), "asked again"


async def test_people_and_roles_have_names_for_cards_and_a_channel_a_title(scene: Scene) -> None:
    await scene.open(FixedAddressingSettings())
    ana = f"discord:{scene.ana.id}"
    labels = scene.ponte.adapter.labels
    buyers = DisplayName("buyers", is_group=True)
    name = {ana: DisplayName(scene.ana.user.name), "discord:77": buyers}
    assert await labels([ana, "discord:77", "discord:4711"]) == name
    scene.discord.refuse("GET", "/users/*", 403, 40333)
    assert await labels([ana, "discord:77"]) == {"discord:77": buyers}
    title = scene.ponte.adapter.title
    here = Address("discord", str(scene.general.id), str(scene.guild.id), is_shared=True)
    assert await title(here) == f"#{scene.general.name} ({scene.guild.name})"
    for elsewhere in (
        Address("discord", str(scene.general.id)),
        Address("discord", "77", str(scene.guild.id), is_shared=True),
    ):
        assert await title(elsewhere) == ""


async def test_the_link_to_a_post_is_one_that_ponte_reads(scene: Scene) -> None:
    await scene.open(FixedAddressingSettings())
    for server in ("12", ""):
        link = await scene.ponte.adapter.link_to(Address("discord", "1", server), "34:567")
        (found,) = find_message_links(link)
        assert (found.channel, found.message) == ("34", "567")
        assert f"/{server or '@me'}/34/567" in link


async def test_who_left_the_server_has_left(scene: Scene) -> None:
    await scene.open(FixedAddressingSettings())
    ana = Person("discord", str(scene.ana.id))
    here = Address("discord", str(scene.general.id), str(scene.guild.id), is_shared=True)
    assert await scene.ponte.adapter.has_left(ana, here, 0.0) is False
    scene.guild.members.discard(scene.ana.id)
    assert await scene.ponte.adapter.has_left(ana, here, 0.0) is True
    for elsewhere in (Address("discord", "77"), Address("discord", "1", "2", is_shared=True)):
        assert await scene.ponte.adapter.has_left(ana, elsewhere, 0.0) is False, "no server of ours"
    scene.discord.refuse("GET", "/guilds/*/members/*", 403, 40333)
    assert await scene.ponte.adapter.has_left(ana, here, 0.0) is None


async def test_who_left_one_of_many_servers_has_left(scene: Scene) -> None:
    servers = [scene.discord.guild(f"Server {number}") for number in range(12)]
    await scene.open(FixedAddressingSettings())
    last = Address("discord", "1", str(servers[-1].id), is_shared=True)
    ana = Person("discord", str(scene.ana.id))
    assert await scene.ponte.adapter.has_left(ana, last, 0.0) is True


async def test_roles_that_came_with_a_message_are_not_asked_for_and_stay_over_a_restart(
    scene: Scene,
) -> None:
    scene.ana.user.roles.add(77)
    await scene.open(FLAT)
    ana = Person("discord", str(scene.ana.id))
    await scene.ana.mention("hello", scene.general)
    await scene.ana.wait_for_text("You said: hello", scene.general)
    assert await scene.ponte.adapter.membership(ana, 240.0) == frozenset({"77"})
    await scene.ponte.close()
    await scene.ponte.open()
    scene.discord.refuse("GET", "/guilds/*/members/*", 500, times=1000)
    assert await scene.ponte.adapter.membership(ana, DAY) == frozenset({"77"})
    assert not [path for _, path in scene.discord.calls if "/members/" in path]


async def test_a_process_without_the_gateway_knows_roles_too(scene: Scene, limits: Limits) -> None:
    limits(ASK_AGAIN_SECONDS=0.0)
    scene.ana.user.roles.add(77)
    await scene.open(FixedAddressingSettings())  # which also says where Discord is
    ana = Person("discord", str(scene.ana.id))
    async with Client(intents=Intents.none()) as client:
        await client.login(scene.discord.token)

        async def posting() -> Client:
            return client

        roles = Roles(posting, NoRows())
        scene.discord.refuse("GET", "/users/@me/guilds", 403, 40333)
        assert await roles.roles_of(ana, DAY) == frozenset({"77"})
        await roles.close()


async def test_who_reads_a_channel_is_known_without_the_gateway_or_asked_again(
    scene: Scene, limits: Limits
) -> None:
    limits(CALL_PAUSES_SECONDS=())
    await scene.open(FixedAddressingSettings())
    ana, bob = (Person("discord", str(someone.id)) for someone in (scene.ana, scene.bob))
    scene.guild.members.discard(scene.bob.id)
    here = Address("discord", str(scene.general.id), str(scene.guild.id), is_shared=True)
    adapter = scene.ponte.adapter
    async with Client(intents=Intents.none()) as client:
        await client.login(scene.discord.token)
        for session in (await adapter.connection.client(), client):
            for posts in (False, True):
                assert await can_read_channel(session, ana, here, posts=posts) is True
                assert await can_read_channel(session, bob, here, posts=posts) is False
            scene.discord.refuse("GET", "/guilds/*/members/*", 403, 40333)
            with pytest.raises(PlatformBusy):
                await can_read_channel(session, bob, here)
            scene.discord.lose("GET", "/guilds/*/members/*", times=99)
            with pytest.raises(PlatformBusy):
                await can_read_channel(session, ana, here)
            with pytest.raises(PlatformBusy):
                await adapter.can_write_to(bob, ana, here)
            scene.discord.faults.clear()
            scene.discord.refuse("GET", "/guilds/*/members/*", 403, 50001)
            assert await can_read_channel(session, bob, here) is None
        assert await can_post(client, here) is True
        scene.discord.lose("GET", "/channels/*", times=99)
        with pytest.raises(PlatformBusy):
            await can_post(client, here)
        scene.discord.faults.clear()


@pytest.mark.slow
async def test_killed_in_mid_answer_where_a_channel_has_no_threads(
    scene: Scene, tmp_path: Path
) -> None:
    home = tmp_path / "victims"
    home.mkdir()
    bot = Process(scene.discord, home)
    await bot.start("--flat", "--hold")
    await scene.ana.say("hello", scene.general)
    await scene.ana.wait_for_text("begun", scene.general)
    await bot.kill()
    await scene.bob.say(f"<@{scene.ana.id}> is it still there?", scene.general)
    await bot.start("--flat")
    await scene.ana.wait_for_text("You said: hello", scene.general)
    gate = scene.discord.hold("POST", "/channels/*/messages")
    await scene.bob.say("next", scene.general)
    await gate.wait_until_reached()
    await bot.kill()
    gate.release()
    await bot.start("--flat")
    await scene.bob.say("last", scene.general)
    await scene.bob.wait_for_text("You said: last", scene.general)
    await bot.kill()
    messages = [m["content"] for m in scene.discord.world.messages_by(scene.discord.world.me.id)]
    assert messages == [f"You said: {words}" for words in ("hello", "next", "last")]


def everything_in(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
