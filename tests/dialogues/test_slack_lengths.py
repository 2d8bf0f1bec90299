"""No answer is lost to its length, however Slack counts it."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from adapters.slack.surface import SlackSurface
from core.domain.messages import Answer, Card, Progress
from tests.fakes.card_rows import card_row
from tests.fakes.slack import Post, blocks
from tests.slack.bot import Setting, Workplace, workplace
from tests.slack.doubles import NoPosts, Says, Speaker, WatchedInbox
from tests.time_limits import Limits

TABLE = "| Name | Who |\n| --- | --- |\n" + "| Straße & Söhne | <a@b.example> |\n" * 400
TEXTS = {
    "html": "".join(f"<li class='x'>Entry &amp; {n}</li>\n" for n in range(400)),
    "generics": "".join(f"Map<String, List<Set<K{n}>>> && Optional<?>\n" for n in range(300)),
    "japanese": "橋は一八九四年に石を積んで造られました。" * 600,
    "arabic": "بني الجسر من الحجر في ذلك العام. " * 500,
    "emoji": "👩\u200d🔧🌉🇧🇷 " * 1500,
    "one word": "x" * 30_000,
    "table": TABLE,
    "code": "Look:\n\n```python\n" + "x: dict[str, list[int]] = {} if a < b & c else None\n" * 400
    + "```\nDone.",
    "calls to all": "@here @channel <!everyone> " * 900,
    "pictures": f"![](https://example.com/{'a' * 80})\n" + "![](https://example.com/b)\n" * 700,
}  # fmt: skip
CARD = Card(
    "abc234",
    "proposal",
    "Update 1 row",
    "漢字 <b>&" * 400,
    rows=(card_row({"a": "<&>" * 90}, {"a": "漢" * 300}),) * 7,
    actions=("approve", "deny"),
    expires_at=1_800_000_000.0,
)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, limits: Limits) -> None:
    monkeypatch.setattr(SlackSurface, "interval", 0.0)
    limits(SIGN_AFTER_SECONDS=0.01)
    limits(CHANNEL_INTERVAL=0.01)  # a post a second is slow


def letters(text: str) -> str:
    """What a reader sees, whatever was taken out or put in to keep it harmless and whole."""
    text = re.sub(r"!?\[([^\]]*)\]\(([^)]*)\)", lambda m: m[2], text)
    for entity, mark in (("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">")):
        text = text.replace(entity, mark)
    text = re.sub(r"(?m)^ *(```|~~~).*$", "", text)
    return re.sub(r"[\s\u2060`]", "", text)


def visible_letters(posts: list[Post]) -> str:
    return letters("".join(post.visible_text for post in posts))


async def stands(w: Workplace, said: Post, text: str) -> list[Post]:
    await w.until(lambda: visible_letters(w.slack.finished_answers(said)) == letters(text))
    return w.slack.finished_answers(said)


def pieces(text: str, size: int = 1500) -> list[str]:
    return [text[at : at + size] for at in range(0, len(text), size)]


@pytest.mark.parametrize("where", ["general", "dm"])
async def test_a_long_answer_is_posted_whole(tmp_path: Path, where: str) -> None:
    model = Says("")
    async with workplace(tmp_path, Setting(model)) as w:
        w.slack.api.limits.on = False
        place = w.general if where == "general" else w.dm
        for name, text in TEXTS.items():
            model.pieces = [text]
            await stands(w, w.slack.say(w.alice, place, f"{w.slack.bot} {name}"), text)


@pytest.mark.parametrize(("name", "where"), list(zip(TEXTS, itertools.cycle(["general", "dm"]))))
async def test_grown_by_edits_or_as_a_stream(tmp_path: Path, where: str, name: str) -> None:
    text = TEXTS[name]
    model = Speaker(*pieces(text))
    async with workplace(tmp_path, Setting(model)) as w:
        w.slack.api.limits.on = False
        place = w.general if where == "general" else w.dm
        message = w.slack.say(w.alice, place, f"{w.slack.bot} go")
        model.go(len(model.pieces) // 2)
        await w.until(lambda: len(w.posts(place)) > 1)
        model.finish()
        await stands(w, message, text)
        assert (
            not any(method == "chat.startStream" for method, _ in w.slack.api.log) or where == "dm"
        )


@pytest.mark.parametrize(
    ("name", "where"), [("generics", "general"), ("japanese", "dm"), ("code", "general")]
)
async def test_a_long_answer_is_posted_whole_after_a_restart(
    tmp_path: Path, where: str, name: str
) -> None:
    text = TEXTS[name]
    model = Speaker(*pieces(text))
    async with workplace(tmp_path, Setting(model, grace=0.05)) as w:
        w.slack.api.limits.on = False
        place = w.general if where == "general" else w.dm
        message = w.slack.say(w.alice, place, f"{w.slack.bot} go")
        model.go(8)
        await w.until(lambda: len(w.posts(place)) > 1)
        await w.restart(Setting(Says(text)))
        await stands(w, message, text)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cards", "names"), [(1, TEXTS), (10, ["japanese", "one word", "table"])], ids=["1", "10"]
)
async def test_a_long_answer_is_posted_whole_with_its_cards(
    tmp_path: Path, cards: int, names: Iterable[str]
) -> None:
    inbox = WatchedInbox()
    many = tuple(replace(CARD, id=f"abc23{n}") for n in range(cards))
    async with workplace(tmp_path, Setting(inbox=inbox.over)) as w:
        w.slack.api.limits.on = False
        for name in names:
            text = TEXTS[name]
            message = w.slack.say(w.alice, w.general, f"{w.slack.bot} pay order 1")
            await w.slack.wait_for_answer(message)
            reply = w.bot.slack.reply(inbox.messages[-1].reply_to, NoPosts())
            parts = reply.split(text)
            await reply.finish(Answer(text, parts=parts, cards=many))
            *texts, last = w.slack.finished_answers(message)[1:]
            assert len(texts) + 1 == len(parts), name
            assert "Approve" in last.buttons, name
            body = [block["text"] for block in last.blocks if block["type"] == "markdown"]
            new_text = "".join([*(post.visible_text for post in texts), *body])
            assert letters(new_text) == letters(text), name


async def test_a_stream_without_room_for_cards_gets_them_whole_by_an_edit(tmp_path: Path) -> None:
    inbox, text = WatchedInbox(), "The bridge was built in 1894.\n" * 280
    card = replace(CARD, text="", rows=(card_row({"a": "<&>"}, {"a": "&" * 50}),) * 7)
    async with workplace(tmp_path, Setting(inbox=inbox.over)) as w:
        await w.ask("pay order 1", w.dm)
        reply = w.bot.slack.reply(inbox.messages[0].reply_to, NoPosts())
        await reply.show(Progress(text=text))
        await w.until(lambda: len(w.posts(w.dm)) == 2)
        await reply.finish(Answer(text, parts=(text,), cards=(card,)))
        post = w.posts(w.dm)[-1]
        assert post.streamed
        assert post.visible_text.startswith(text.strip())
        assert "Approve" in post.buttons
        assert post.visible_text.count("<&> →") == 7, "all rows"
        assert len(w.calls("chat.update")) == 1, "the stream was closed before"


@pytest.mark.parametrize("method", ["chat.update", "chat.postMessage", "chat.postEphemeral"])
async def test_what_slack_finds_too_long_goes_out_with_less_beside_it(
    tmp_path: Path, method: str
) -> None:
    text = "Where it was built, nobody knows. " * 200
    model = Speaker(*pieces(text))
    async with workplace(tmp_path, Setting(model)) as w:
        w.slack.api.faults.add(method, "msg_too_long", 1)
        message = w.slack.say(w.alice, w.general, f"{w.slack.bot} go")
        model.go(2)
        await w.until(lambda: w.posts())
        model.finish()
        await stands(w, message, text)


@pytest.mark.parametrize("limit", [blocks.MESSAGE, 4000])
async def test_each_part_of_a_long_private_answer_is_private(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr(blocks, "MESSAGE", limit)
    inbox, text = WatchedInbox(), TEXTS["generics"]
    async with workplace(tmp_path, Setting(inbox=inbox.over)) as w:
        answer = await w.ask("usage here")
        reply = w.bot.slack.reply(inbox.messages[0].reply_to, NoPosts())
        parts = reply.split(text)
        assert len(parts) > 1
        await reply.finish(Answer(text, parts=parts, is_private=True))
        assert w.posts() == [answer]
        private = w.whispers()
        assert {post.seen_by for post in private} == {w.alice.id}
        assert visible_letters(private) == letters(text)


@pytest.mark.parametrize(
    ("name", "where"),
    [("generics", "dm"), ("japanese", "general"), ("one word", "dm"), ("table", "general")],
)
async def test_a_slack_that_takes_less_than_anybody_knows_gets_more_messages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, where: str
) -> None:
    for limit in ("MESSAGE", "MARKDOWN", "STREAM"):
        monkeypatch.setattr(blocks, limit, 2000)
    monkeypatch.setattr("tests.fakes.slack.streams.STREAM", 2000)
    monkeypatch.setattr("tests.fakes.slack.streams.MARKDOWN", 2000)
    text = TEXTS[name]
    model = Speaker(*pieces(text))
    async with workplace(tmp_path, Setting(model)) as w:
        w.slack.api.limits.on = False
        place = w.general if where == "general" else w.dm
        message = w.slack.say(w.alice, place, f"{w.slack.bot} go")
        model.go(3)
        if " " in text or where == "general":  # a stream begins with whole words
            first = "chat.postMessage" if where == "general" else "chat.startStream"
            await w.until(lambda: w.slack.api.calls[first])
        model.finish()
        await w.until(
            lambda: (
                sorted(visible_letters(w.slack.finished_answers(message))) == sorted(letters(text))
            ),
            30,
        )
