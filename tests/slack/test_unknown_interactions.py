"""What no handler claims is acknowledged at once: Slack shows the person an error otherwise."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import urlencode

import pytest

from core.chat.incoming import EVENT_FAILED
from core.observability.metrics import registry
from tests.fakes.slack import Json
from tests.fakes.slack.delivery import sign
from tests.slack.bot import Setting, workplace
from tests.slack.test_http import SECRET, post

USER: Json = {"id": "W111", "username": "primary-owner", "team_id": "T111"}
FORM: Json = {
    "id": "V1",
    "type": "modal",
    "callback_id": "ponte_of_next_year",
    "blocks": [{"type": "input", "block_id": "b1"}],
    "private_metadata": "",
}
OTHER_FORM = FORM | {"callback_id": "view-id", "private_metadata": "This is for you!"}
STEP_FORM = FORM | {"type": "workflow_step", "callback_id": "copy_review"}
DIALOG: Json = {"callback_id": "dialog-callback-id", "channel": {"id": "C111"}, "user": USER}
BUTTON: Json = {"action_id": "a", "block_id": "b", "value": "v", "type": "button"}
UNDER_FIELD: Json = {"response_action": "errors", "errors": {"b1": EVENT_FAILED}}

UNKNOWN: tuple[tuple[Json, Json], ...] = (
    # As in the tests of slack_bolt 1.30: scenario_tests, logger/test_unmatched_suggestions.py,
    # request/test_internals.py, listener_matcher/test_builtins.py.
    ({"type": "view_closed", "user": USER, "view": OTHER_FORM, "response_urls": []}, {}),
    ({"type": "view_closed", "view": {"type": "modal", "callback_id": "view-id"}}, {}),
    ({"type": "view_closed", "callback_id": "view-id"}, {}),
    ({"type": "view_submission", "user": USER, "view": OTHER_FORM}, UNDER_FIELD),
    ({"type": "view_submission", "view": {"type": "modal", "callback_id": "view-id"}}, {}),
    ({"type": "view_submission", "team_id": "T111", "function_data": {"inputs": {}}}, {}),
    ({"type": "view_submission", "view": STEP_FORM, "workflow_step": {}}, UNDER_FIELD),
    ({"type": "view_submission", "view": {"type": "workflow_step", "callback_id": "s"}}, {}),
    ({"type": "workflow_step_edit", "callback_id": "copy_review"}, {}),
    ({"type": "workflow_step_edit", "callback_id": "s", "user": USER, "workflow_step": {}}, {}),
    ({"type": "workflow_step_execute"}, {}),
    ({"type": "dialog_submission", "submission": {"types": "FE-459"}} | DIALOG, {}),
    ({"type": "dialog_submission", "channel": {"id": "C111"}, "user": {"id": "U111"}}, {}),
    ({"type": "dialog_cancellation"} | DIALOG, {}),
    ({"type": "dialog_suggestion", "value": "search keyword"} | DIALOG, {"options": []}),
    ({"type": "dialog_suggestion", "callback_id": "the-id"}, {"options": []}),
    ({"type": "block_suggestion", "user": USER, "action_id": "a"}, {"options": []}),
    ({"type": "interactive_message", "actions": [{"name": "list"}]} | DIALOG, {}),
    ({"type": "interactive_message", "callback_id": "pick_channel_for_fun"}, {}),
    ({"type": "block_actions", "user": USER, "team": None, "actions": [BUTTON]}, {}),
    ({"type": "block_actions", "actions": [BUTTON], "message": None, "view": None}, {}),
    ({"type": "shortcut", "callback_id": "test-shortcut"}, {}),
    ({"type": "message_action", "callback_id": "test-shortcut", "user": USER}, {}),
    ({"type": None, "command": "/start-conv"}, {"text": EVENT_FAILED}),
    ({"command": "/start-conv", "user_id": "U111", "text": "title"}, {"text": EVENT_FAILED}),
    # Parts that are missing or of another type.
    ({"type": "view_submission", "view": None, "user": None}, {}),
    ({"type": "view_submission", "view": {"callback_id": "ponte_ask"}}, {}),
    ({"type": "block_actions", "actions": []}, {}),
    ({"type": "block_actions", "actions": [None]}, {}),
    ({"type": "block_actions", "actions": [{"type": "button"}]}, {}),
    ({"type": "of_next_year", "user": [1]}, {}),
    ({"user": USER}, {}),
)


def count_failed() -> float:
    return registry.get_sample_value("ponte_failed_events_total", {"platform": "slack"}) or 0.0


async def test_it_is_acknowledged_over_a_socket(tmp_path: Path) -> None:
    async with workplace(tmp_path) as w:
        before = count_failed()
        for payload, response in UNKNOWN:
            delivery = w.slack.deliveries.send("interactive", payload)
            await delivery.acked.wait()
            assert delivery.response == response, payload
        assert count_failed() == before


async def test_it_is_acknowledged_over_http(tmp_path: Path) -> None:
    async with workplace(tmp_path, Setting(http=True)) as w:
        before = count_failed()
        for payload, response in UNKNOWN:
            body = urlencode({"payload": json.dumps(payload)}).encode()
            form = {"content_type": "application/x-www-form-urlencoded"}
            status, answer = await post(w.bot.slack, body, **sign(SECRET, body), **form)
            assert (status, json.loads(answer or "{}")) == (200, response), payload
        assert count_failed() == before


@pytest.mark.parametrize(
    ("kind", "more", "is_told"),
    [
        ("message_action", {"callback_id": "ponte_old", "message": {"ts": "1.0"}}, True),
        ("interactive_message", {"callback_id": "old", "actions": []}, True),
        ("dialog_submission", {"callback_id": "old"}, True),
        ("block_actions", {"actions": [BUTTON | {"action_id": "ponte_old"}]}, True),
        ("block_actions", {"actions": [BUTTON], "message": None, "view": None}, False),
        ("dialog_cancellation", {"callback_id": "old"}, False),
    ],
)
async def test_the_person_reads_a_sentence_where_slack_has_a_place_for_it(
    tmp_path: Path, kind: str, more: Json, is_told: bool
) -> None:
    async with workplace(tmp_path) as w:
        payload = {"type": kind, "channel": {"id": w.general.id}, **more}
        if kind == "block_actions":
            payload["actions"][0]["action_ts"] = "1.0"
        delivery = w.slack.interact(w.alice, payload)
        await delivery.acked.wait()
        last = w.slack.interact(
            w.alice, {"type": "dialog_submission", "channel": {"id": w.general.id}}
        )
        await last.acked.wait()
        await w.until(lambda: len(w.whispers()) == 1 + is_told)
        assert {one.visible_text for one in w.whispers()} == {EVENT_FAILED}


async def test_a_form_of_another_version_says_so_under_its_field(tmp_path: Path) -> None:
    async with workplace(tmp_path) as w:
        form = w.slack.interact(w.alice, {"type": "view_submission", "view": FORM})
        bare = w.slack.interact(w.alice, {"type": "view_submission", "view": FORM | {"blocks": []}})
        for delivery in (form, bare):
            await delivery.acked.wait()
        assert (form.response, bare.response) == (UNDER_FIELD, {})
