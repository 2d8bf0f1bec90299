"""kill -9 between the storing of a webhook's delivery and the answer to its sender."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path

import pytest

from tests.dialogues.bot_home import BotHome
from tests.fakes import forker
from tests.fakes.choices import allow_list, hook_rules
from tests.fakes.config import fixed_rules
from tests.real.hook_machine import HOOK, deliver


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
async def test_a_delivery_that_is_sent_again_after_a_kill_is_posted_once(
    database: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue("migrated_postgres") if database == "postgres" else ""
    home = tmp_path / "home"
    process = await forker.start("tests.real.hook_machine", str(home), url)
    assert await process.wait() == -signal.SIGKILL
    policy = replace(allow_list(), read_rules=fixed_rules(hook_rules({HOOK.name: "pushers"})))
    async with BotHome(home, url).open(policy=policy) as running_bot:
        journal, inbox = (
            running_bot.engine.conversations.journal,
            running_bot.engine.conversations.inbox,
        )
        for _ in range(2):  # before and after its post
            status, text = await deliver(running_bot.engine)
            assert (status, text["status"]) == (202, "repeated")
            entry = await journal.history_entry(text["turn"])
            assert (await inbox.wait_for_answer(entry.seq)).text == "Pushed: main"
        await running_bot.engine.drain(5)
        assert [post.text for post in running_bot.recorder.posts] == ["Pushed: main"]
        lines, _ = await running_bot.engine.people.audit.read(event="webhook-received")
        assert [line["turn"] for line in lines] == [entry.turn]
