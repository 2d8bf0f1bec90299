"""While a card waits, Slack's session of its thread is suspended; the last decision ends that."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters.slack.surface import SlackSurface
from core.domain.changes import PROPOSAL_LIFETIME_SECONDS
from tests.dialogues.test_slack_approvers import DELETE, Team, team
from tests.fakes.slack import Post
from tests.time_limits import Limits


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SlackSurface, "interval", 0.0)


def session(t: Team, post: Post) -> str | None:
    return t.w.slack.workspace.sessions.get((post.channel, post.thread_ts or post.ts))


async def follow_up(t: Team, post: Post, text: str = DELETE) -> Post:
    """Alice's next message in the thread of `post`, and the answer to it."""
    root = t.w.slack.workspace.posts[post.channel, post.thread_ts]
    message = t.w.slack.say(t.w.alice, t.w.general, f"{t.w.slack.bot} {text}", root)
    return await t.w.slack.wait_for_answer(message)


@pytest.mark.parametrize("sign_after", [0.0, 30.0])
async def test_the_session_is_suspended_until_the_last_card_is_decided(
    tmp_path: Path, limits: Limits, sign_after: float
) -> None:
    limits(SIGN_AFTER_SECONDS=sign_after)
    async with team(tmp_path) as t:
        first = await t.asks()
        await t.until(lambda: session(t, first) == "suspended")
        second = await follow_up(t, first)
        await t.w.slack.click(t.people["Bob"], first, "Deny").acked.wait()
        await t.until(lambda: "Approve" not in first.buttons)
        await follow_up(t, first, "how are you?")
        await t.until(lambda: session(t, first) == "suspended")
        await t.w.restart()
        await t.w.slack.click(t.people["Bob"], second, "Approve").acked.wait()
        await t.until(lambda: "Approved by Bob" in second.visible_text)
        await t.until(lambda: session(t, first) == "active")


async def test_an_expired_card_ends_the_suspension(tmp_path: Path) -> None:
    async with team(tmp_path) as t:
        card = await t.asks()
        await t.until(lambda: session(t, card) == "suspended")
        await t.passes(PROPOSAL_LIFETIME_SECONDS + 1)
        await t.until(lambda: session(t, card) == "active")


async def test_a_withdrawn_card_ends_the_suspension(tmp_path: Path) -> None:
    async with team(tmp_path) as t:
        card = await t.asks()
        await t.until(lambda: session(t, card) == "suspended")
        await follow_up(t, card, "forget yes")
        await t.until(lambda: session(t, card) == "active")


@pytest.mark.parametrize("sign_after", [0.0, 30.0])
async def test_a_stream_that_ends_beside_an_open_card_leaves_the_session_suspended(
    tmp_path: Path, limits: Limits, sign_after: float
) -> None:
    """chat.stopStream sets the session to "active" unless it is told another status."""
    limits(SIGN_AFTER_SECONDS=sign_after)
    async with team(tmp_path) as t:
        card = await t.asks(place=t.w.dm)
        await t.until(lambda: session(t, card) == "suspended")
        root = t.w.slack.workspace.posts[card.channel, card.thread_ts]
        message = t.w.slack.say(t.w.alice, t.w.dm, "one two three\n\nfour", root)
        await t.w.slack.wait_for_answer(message)
        await t.until(lambda: t.w.slack.api.calls["chat.stopStream"] == 1)
        await t.until(lambda: session(t, card) == "suspended")
        assert t.w.calls("chat.stopStream")[-1]["session_status"] == "suspended"
