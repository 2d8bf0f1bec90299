"""One event that cannot be read or handled costs itself; the connection lives."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.chat.incoming import EVENT_FAILED
from core.observability.metrics import registry
from tests.fakes.slack import Json
from tests.fakes.wrong_json import wrong_versions
from tests.slack.bot import Workplace, workplace


def count_failed() -> float:
    return registry.get_sample_value("ponte_failed_events_total", {"platform": "slack"}) or 0.0


def message(w: Workplace, text: str, **more: object) -> Json:
    channel = w.general.id if "channel_type" in more else w.dm.id
    return {
        "type": "message",
        "user": w.alice.id,
        "channel": channel,
        "channel_type": "im",
        "text": text,
        "ts": "1700000000.000100",
        "event_ts": "1700000000.000100",
        **more,
    }


async def check_alive(w: Workplace) -> None:
    messages = w.slack.say(w.bob, w.slack.dm(w.bob), "still here?")
    await w.slack.wait_for_answers(messages, "You said: still here?")
    assert (await w.bot.slack.health()).state == "on"


ODD: tuple[Json, ...] = (
    {"files": [{"id": "F1", "size": "large"}]},
    {"edited": 7},
    {"edited": {"ts": "never"}},
    {"app_context": {"entities": [None]}},
    {"ts": None},
    {"bot_id": [1]},
    {"app_context": "x"},
)


async def test_an_event_that_cannot_be_read_is_told_counted_and_acknowledged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with workplace(tmp_path) as w:
        before, text_count = count_failed(), 0
        for number, odd in enumerate(ODD, 1):
            ts = f"17000000{number:02}.000100"
            delivery = w.slack.event(message(w, "hello", **{"ts": ts, "event_ts": ts, **odd}))
            await w.slack.deliveries.wait_for_deliveries()
            assert delivery.attempts == 1, odd
            assert count_failed() == before + number, odd
            assert "event failed" in capsys.readouterr().out, odd
            text_count += "bot_id" not in odd
            await w.until(lambda: len(w.whispers(w.dm)) == text_count)  # noqa: B023
        assert {p.text for p in w.whispers(w.dm)} == {EVENT_FAILED}
        assert f"{len(ODD)} events failed" in (await w.bot.slack.health()).words
        await check_alive(w)


async def test_of_talk_among_others_nobody_is_told(tmp_path: Path) -> None:
    async with workplace(tmp_path) as w:
        before, odd = count_failed(), {"channel_type": "channel", "edited": 7}
        w.slack.event(message(w, "among us", **odd))
        w.slack.event(message(w, f"{w.slack.bot} hello", **odd))
        await w.until(lambda: count_failed() == before + 2)
        await w.until(lambda: w.whispers())
        await check_alive(w)
        assert len(w.whispers()) == 1


async def test_a_fault_of_our_own_code_is_told_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with workplace(tmp_path) as w:
        before = count_failed()

        def fail(*_: object, **__: object) -> None:
            raise AttributeError("a bug")

        with monkeypatch.context() as patch:
            patch.setattr("adapters.slack.intake.find_mentions", fail)
            w.slack.say(w.alice, w.dm, "hello")
            await w.until(lambda: w.whispers(w.dm))
            patch.setattr("adapters.slack.interactions.InteractionRequest", fail)
            command = w.slack.command(w.alice, w.general, "/quick-command", "sum-up text")
            await w.until(lambda: len(w.whispers()) == 1)
            assert command.attempts == 1
        assert count_failed() == before + 2
        await check_alive(w)


@pytest.mark.slow
async def test_no_wrong_field_of_a_real_event_ends_the_connection(tmp_path: Path) -> None:
    async with workplace(tmp_path) as w:
        socket_count = w.slack.socket_opened
        real = message(
            w,
            "hello",
            thread_ts="1700000000.000050",
            parent_user_id=w.bob.id,
            blocks=[
                {
                    "type": "rich_text",
                    "elements": [
                        {
                            "type": "rich_text_section",
                            "elements": [{"type": "text", "text": "hello"}],
                        }
                    ],
                }
            ],
            files=[
                {
                    "id": "F1",
                    "name": "a.txt",
                    "mimetype": "text/plain",
                    "size": 3,
                    "url_private": f"{w.slack.origin}/files-pri/F1/a.txt",
                }
            ],
            attachments=[
                {
                    "is_share": True,
                    "text": "quoted",
                    "author_id": w.bob.id,
                    "fields": [{"title": "a", "value": "b"}],
                }
            ],
            edited={"ts": "1700000000.000200", "user": w.alice.id},
            app_context={"entities": [{"type": "slack#/types/channel_id", "value": "C1"}]},
        )
        events = [
            (real, 80),
            (
                {
                    **real,
                    "subtype": "message_changed",
                    "message": real,
                    "previous_message": {**real, "text": "hi"},
                },
                40,
            ),
            (
                {
                    "type": "message",
                    "subtype": "message_deleted",
                    "channel": w.dm.id,
                    "deleted_ts": "1.0",
                    "previous_message": real,
                },
                60,
            ),
            (
                {
                    "type": "agent_session_stopped",
                    "channel": w.dm.id,
                    "user": w.alice.id,
                    "thread_ts": "1.0",
                    "event_ts": "2.0",
                    "streaming_message_ts": ["1.5"],
                },
                60,
            ),
            ({"type": "app_home_opened", "user": w.alice.id, "tab": "home"}, 20),
            (
                {
                    "type": "user_change",
                    "user": {
                        "id": w.alice.id,
                        "is_restricted": False,
                        "team_id": "T1",
                        "profile": {"display_name": "A"},
                        "enterprise_user": {"teams": ["T1"]},
                    },
                },
                60,
            ),
        ]
        for event, most in events:
            for wrong in wrong_versions(event, most):
                w.slack.event(wrong)
        for wrong in wrong_versions({"authorizations": [{"team_id": "T1"}], "team_id": "T1"}, 20):
            w.slack.event(real, wrong)
        await w.slack.deliveries.wait_for_deliveries()
        await check_alive(w)
        assert w.slack.socket_opened == socket_count
        w.slack.workspace.complaints.clear()  # wrong fields make calls that no page describes
