"""kill -9 while Slack makes an approved post in another channel: it is found, and made once."""

from __future__ import annotations

import json
from pathlib import Path

from tests.fakes.openai import FakeOpenAI, Script
from tests.fakes.slack import FakeSlack
from tests.real.machines import Machine

TEXT = "Stand-up in ten minutes"


async def test_a_post_whose_answer_nobody_heard_is_not_made_again(tmp_path: Path) -> None:
    async with FakeSlack() as slack, FakeOpenAI() as model:
        ana = slack.person("Ana")
        general, sales = slack.channel("general", ana), slack.channel("sales", ana)
        machine = Machine(
            "bot",
            "run",
            tmp_path,
            {
                **slack.settings,
                "PONTE_ALLOW": f"slack:{ana.id}",
                "OPENAI_API_KEY": "sk-test",
                "OPENAI_BASE_URL": model.base_url,
                "PONTE_CODE": "off",
                "PONTE_WEB_PORT": "0",
            },
        )
        await machine.start()
        arguments = json.dumps({"to": f"<#{sales.id}>", "text": TEXT})
        model.say(Script(calls=(("post_message", arguments),)))
        message = slack.say(ana, general, f"{slack.bot} tell <#{sales.id}> of the stand-up")
        card = await slack.wait_for_answer(message)
        await slack.wait_until(lambda: "Approve" in card.buttons)
        gate = slack.api.hold("chat.postMessage")
        slack.click(ana, card, "Approve")
        await gate.wait_until_reached()
        await machine.kill()
        assert not slack.workspace.by_bot(sales.id)
        gate.release()
        await slack.wait_until(lambda: slack.workspace.by_bot(sales.id))
        await machine.start()
        await slack.wait_until(lambda: "Posted." in card.visible_text)
        assert await machine.terminate() == 0
        (post,) = slack.workspace.by_bot(sales.id)
        assert TEXT in post.visible_text
