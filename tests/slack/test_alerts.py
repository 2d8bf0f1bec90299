"""A post of an alert notifies its owner, and nobody that it names."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.domain.messages import Address, Person
from tests.fakes.schedules import post_alert
from tests.fakes.slack import TEAM
from tests.slack.bot import workplace


@pytest.mark.parametrize("is_refused", [False, True])
async def test_the_owner_of_an_alert_is_notified_in_a_channel(
    tmp_path: Path, is_refused: bool
) -> None:
    async with workplace(tmp_path) as w:
        if is_refused:  # the whole message, so that a plain one follows
            w.slack.api.faults.add("chat.postMessage", "invalid_blocks", 1)
        owner = Person("slack", w.alice.id, TEAM, "Alice")
        places = (
            Address("slack", w.general.id, TEAM, is_shared=True),
            Address("slack", w.dm.id, TEAM),
        )
        for place in places:
            to = w.bot.slack.destination_in(place, owner)
            await post_alert(w.bot.engine, to, f"**Orders** <@{w.bob.id}> <!channel> @here")
        await w.until(lambda: w.posts() and w.posts(w.dm))
        (post,), (direct,) = w.posts(), w.posts(w.dm)
        mention = f"<@{w.alice.id}>"
        assert post.text.startswith(f"{mention} ")
        assert post.blocks[0]["text"] == {"type": "mrkdwn", "text": mention}
        assert w.slack.workspace.pings
        assert all(ping.startswith(mention) for ping in w.slack.workspace.pings)
        assert not any(f"<@{w.bob.id}>" in ping for ping in w.slack.workspace.pings)
        assert mention not in str(direct.blocks)
        w.slack.workspace.pings.clear()
