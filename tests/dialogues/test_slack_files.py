"""Files both ways."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.base.errors import Undeliverable
from core.base.tasks import Backoff
from core.domain.messages import Answer, File, Person
from core.money.allowances import Allowance
from tests.fakes.config import FixedConfig
from tests.fakes.models import EchoModel
from tests.slack.bot import Setting, Workplace, workplace
from tests.slack.doubles import NoPosts, WatchedInbox
from tests.time_limits import Limits

CSV = ("orders.csv", "text/csv", b"id,paid\n1,no\n")
COMPLETE = "files.completeUploadExternal"
HTML = ("page.html", "text/html", b"<p>hello</p>")


async def test_a_file_reaches_the_model(tmp_path: Path) -> None:
    model = EchoModel()
    async with workplace(tmp_path, Setting(model)) as w:
        message = w.slack.say(w.alice, w.general, f"{w.slack.bot} what is this?", files=[CSV, HTML])
        await w.slack.wait_for_answer(message)
        files = model.asks[0].input[-1].files
        assert [(file.name, file.type) for file in files] == [CSV[:2], HTML[:2]]
        _, data = await w.bot.engine.conversations.files.get(files[0].id)
        assert data == CSV[2]
        assert len(w.slack.finished_answers(message)) == 1
        await w.ask("", w.dm, files=[CSV])  # a file alone is a message in a direct message
        assert [file.name for file in model.asks[1].input[-1].files] == ["orders.csv"]


@pytest.mark.parametrize("trouble", ["html", "500", "cut", "too large"])
async def test_a_file_that_cannot_be_had_is_named_and_the_turn_goes_on(
    tmp_path: Path, trouble: str, limits: Limits
) -> None:
    model = EchoModel()
    limits(MAX_ATTACHMENT_BYTES=4 if trouble == "too large" else 1000)
    async with workplace(tmp_path, Setting(model)) as w:
        w.slack.api.faults.add("download", trouble, 0 if trouble != "too large" else 1)
        await w.ask("what is this?", w.dm, files=[CSV])
        last_item = model.asks[0].input[-1]
        assert (last_item.files, "orders.csv could not be fetched" in last_item.text) == ((), True)
        if trouble == "too large":
            assert w.slack.api.calls["download"] == 0


async def test_a_message_that_the_limit_refuses_does_not_wait_for_its_files(
    tmp_path: Path, limits: Limits
) -> None:
    limits(FETCH_TIMEOUT_SECONDS=600)
    async with workplace(tmp_path) as w:
        one_turn = (Allowance("each person", turns=1),)
        w.bot.engine.people.budget.config = FixedConfig(turn_allowances=one_turn)
        await w.slack.wait_for_answer(w.slack.say(w.alice, w.dm, "hello"))
        gate = w.slack.api.close("download")
        message = w.slack.say(w.alice, w.dm, "what is this?", files=[CSV])
        await w.slack.wait_for_answer(message)
        (answer,) = w.slack.finished_answers(message)
        assert "You've reached your limit of 1 message a day." in answer.text
        assert w.slack.api.waiting["download"] == 1, "the download hasn't ended"
        gate.release()


async def test_our_token_goes_to_slack_alone(tmp_path: Path) -> None:
    async with workplace(tmp_path) as w:
        file = {"url_private": "https://evil.example/x", "id": "F1", "name": "x", "size": 3}
        message = w.slack.say(w.alice, w.dm, "look")
        forgery = w.slack.workspace.clock.ts()
        w.slack.event(message.event() | {"channel": w.dm.id, "ts": forgery, "files": [file]})
        await w.until(lambda: w.posts(w.dm))
        assert w.slack.api.calls["download"] == 0


async def store_files(w: Workplace, *names: str) -> tuple[File, ...]:
    put = w.bot.engine.conversations.files.put
    owner = Person("slack", w.alice.id)
    return tuple([await put("made", name, "text/csv", name.encode(), owner, "c") for name in names])


@pytest.mark.parametrize("fault", ["", "complete lost", "complete 503", "upload 500"])
async def test_files_of_an_answer_come_once_into_its_thread(
    tmp_path: Path, limits: Limits, fault: str
) -> None:
    limits(POST_BACKOFF=Backoff(0.0))
    inbox = WatchedInbox()
    async with workplace(tmp_path, Setting(inbox=inbox.over)) as w:
        message = w.slack.say(w.alice, w.general, f"{w.slack.bot} export")
        await w.slack.wait_for_answer(message)
        if fault:
            step, how = fault.split()
            w.slack.api.faults.add(COMPLETE if step == "complete" else step, how, 1)
        files = await store_files(w, "a.csv", "b.csv")
        reply = w.bot.slack.reply(inbox.messages[0].reply_to, NoPosts())
        await reply.finish(Answer("Here.", parts=("Here.",), files=files))
        posts = [post for post in w.slack.workspace.by_bot(w.general.id, message.ts) if post.files]
        assert [[file.name for file in post.files] for post in posts] == [["a.csv", "b.csv"]]
        assert posts[0].files[0].data == b"a.csv"


async def test_files_that_slack_refuses_make_an_answer_undeliverable(tmp_path: Path) -> None:
    inbox = WatchedInbox()
    async with workplace(tmp_path, Setting(inbox=inbox.over)) as w:
        await w.ask("export")
        w.slack.api.faults.add(COMPLETE, "file_type_not_allowed", 0)
        files = await store_files(w, "a.exe")
        reply = w.bot.slack.reply(inbox.messages[0].reply_to, NoPosts())
        with pytest.raises(Undeliverable, match="file_type_not_allowed"):
            await reply.finish(Answer("Here.", parts=("Here.",), files=files))
        assert w.slack.api.calls[COMPLETE] == 1
