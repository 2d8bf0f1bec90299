"""The forms, as Slack takes them."""

from __future__ import annotations

from typing import Any

import pytest

from adapters.slack import forms
from core.domain.records import QuickCommand
from tests.fakes.slack.blocks import check_view


def field(choices: list[str]) -> dict[str, Any]:
    """The one input of a command that takes these choices, in a form that Slack takes."""
    command = QuickCommand(
        "report", "Report", inputs={"kind": {"type": "string", "choices": choices}}
    )
    view = forms.inputs_form(command, {"channel": "C1"})
    check_view(view)
    element: dict[str, Any] = view["blocks"][-1]["element"]
    return element


def test_choices_are_a_list() -> None:
    choice = field(["short", "long"])["options"]
    assert [option["value"] for option in choice] == ["short", "long"]


@pytest.mark.parametrize(
    "choices",
    [[f"choice {n}" for n in range(101)], ["x" * 151], ["長" * 51], []],
    ids=["too many", "too long", "too long in bytes", "none"],
)
def test_what_no_list_of_slacks_holds_is_typed(choices: list[str]) -> None:
    assert field(choices)["type"] == "plain_text_input"


def test_a_form_holds_many_long_and_wide_words() -> None:
    names = {f"{'名' * 70}{n}": {"type": "string"} for n in range(60)}
    command = QuickCommand("report", title="<&>" * 50, description="&" * 9000, inputs=names)
    check_view(forms.inputs_form(command, {"about": "<é>" * 3000}, wrong="<" * 5000))
    check_view(forms.quick_command_form([command] * 101, "é" * 5000, {}))


def test_a_form_has_all_inputs_that_slack_allows_and_says_how_to_give_more() -> None:
    for count, shown in ((98, 98), (99, 98)):
        inputs = {f"input {n}": {"required": True} for n in range(count)}
        command = QuickCommand("report", "Report", "Writes a report.", inputs)
        view = forms.inputs_form(command, {"channel": "C1"})
        check_view(view)
        assert [block["type"] for block in view["blocks"]].count("input") == shown
        assert ("Type `/quick-command SLUG`" in str(view["blocks"])) == (shown < count)


def test_a_form_of_more_bytes_than_slack_takes_says_how_to_give_more() -> None:
    choices = [f"{n:02} {'x' * 57}" for n in range(20)]
    inputs = {f"input {n}": {"required": True, "choices": choices} for n in range(98)}
    command = QuickCommand("report", "Report", "Writes a report.", inputs)
    view = forms.inputs_form(command, {"channel": "C1"})
    check_view(view)
    types = [block["type"] for block in view["blocks"]]
    assert 40 < types.count("input") < 98
    assert "Type `/quick-command SLUG`" in view["blocks"][types.index("input") - 1]["text"]["text"]
