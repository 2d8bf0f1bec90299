"""Buttons and forms that version 0.2 posted on Slack do the same after an upgrade."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.fakes.old_buttons import EFFECTS, RECORDED, VALUES, Board, record_effects
from tests.fakes.slack import Json
from tests.fakes.slack.records import Hook
from tests.slack.bot import Setting, workplace

FORMS = {
    "ponte_reason": "reason",
    "ponte_feedback": "feedback",
    "ponte_card_change": "change",
    "ponte_ask": "ask",
    "ponte_quick": "quick",
    "ponte_inputs": "inputs",
}


def list_buttons() -> Iterator[Json]:
    for blocks in RECORDED["slack"]["messages"]:
        for element in (element for block in blocks for element in block.get("elements", ())):
            if element["type"] == "button":
                yield element
            elif element["type"] == "feedback_buttons":
                for name in ("positive_button", "negative_button"):
                    yield {**element, **element[name]}
    yield RECORDED["slack"]["home"]


def name_press(button: Json) -> str:
    """Return the name of a press in `EFFECTS`."""
    action = button["action_id"].removeprefix("ponte_").removeprefix("card_")
    return (
        "stop"
        if action == "stop"
        else f"{action} {button['value'].replace('n.', 'n ').replace('p.', 'p ')}"
    )


async def test_old_buttons_do_what_they_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    effects, done = record_effects(monkeypatch), dict[str, list[str]]()
    async with workplace(tmp_path, Setting(board=Board())) as w:
        post = await w.ask("hello", w.dm)
        effects.record_messages(w.bot.slack._handlers.interactions)
        views, hooks = w.slack.workspace.views, w.slack.workspace.hooks

        def has_ended(hook: Hook, name: str, count: int) -> bool:
            return len(effects) + len(views) - count + len(hook.heard) >= len(EFFECTS[name])

        for button in list_buttons():
            name, count = name_press(button), len(views)
            post.blocks = [{"type": "actions", "block_id": "b", "elements": [button]}]
            press = {key: button[key] for key in ("type", "action_id", "value")}
            body = {
                "type": "block_actions",
                "trigger_id": w.slack.workspace.trigger(),
                "channel": {"id": post.channel},
                "message": post.event(),
                "actions": [{**press, "block_id": "b", "action_ts": w.slack.workspace.clock.ts()}],
            }
            await w.slack.interact(w.alice, body).acked.wait()
            hook = list(hooks.values())[-1]
            await w.until(partial(has_ended, hook, name, count))
            effects += [describe_form(view) for view in views[count:]]
            effects += ["shown: x = 1" for shown in hook.heard if "x = 1" in str(shown)]
            done[name] = effects.take()
        for view in RECORDED["slack"]["forms"]:
            memory = json.loads(view["private_metadata"])
            place = {"channel": post.channel} | ({"ts": post.ts} if memory.get("ts") else {})
            form = view | {"id": "V1", "private_metadata": json.dumps(memory | place)}
            submission = w.slack.submit(w.alice, form, VALUES)
            await submission.acked.wait()
            assert not submission.response
            done[f"form {FORMS[view['callback_id']]}"] = effects.take()
    assert done == {name: EFFECTS[name] for name in done}
    assert EFFECTS.keys() - done.keys() == {"fields abc234.2 0", "form about"}


def describe_form(view: Json) -> str:
    labels = (block["label"]["text"] for block in view["blocks"] if block["type"] == "input")
    return f"form: {', '.join(labels)}"
