"""The applier of runs: begun once, waited for by name, told as it ended, never taken back."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC
from typing import Any

import pytest

from core.base.errors import BadInput, NotAllowed, ToolError, WriteUnsure
from core.base.i18n import use_locale
from core.changes.kinds import Changer, WatchedBatch
from core.domain.changes import Change, ChangeStep, Draft, Proposal
from core.domain.records import QuickCommand
from core.domain.rights import Viewer
from core.tools.stackspot import QUICK_COMMAND_RUN, StackSpot
from core.tools.stackspot.source import RUN_MARGIN_SECONDS, StackSpotRuns, draft_run
from tests.fakes.choices import ANA
from tests.fakes.quick_commands import RegisteredCommands
from tests.fakes.stackspot import FakeStackSpot, Run, Trouble
from tests.stackspot.command_scene import CommandScene

SUMMARY = QuickCommand("summary", "Summary", effect="spend", translations={"fr": ("Résumé", "")})


def draft(given: str | dict[str, object] = "a bridge") -> Draft:
    return draft_run(CommandScene().ctx(), SUMMARY, given)


async def test_a_draft_names_the_command_in_the_askers_language() -> None:
    with use_locale("fr"):
        result = draft_run(CommandScene().ctx(), SUMMARY, {"day": "May"})
    assert (result.kind, result.title, result.applier) == ("run", "Résumé", "stackspot")
    assert result.rows[0].after == {"day": "May"}
    assert (result.target["slug"], result.target["effect"]) == ("summary", "spend")
    assert draft().rows[0].after == {"input": "a bridge"}


@pytest.mark.parametrize("given", ["a bridge", {"input": "a bridge"}, {}, ""])
async def test_it_is_begun_with_its_input_and_waited_for(
    stackspot: StackSpot, fake: FakeStackSpot, given: str | dict[str, object]
) -> None:
    runs, one = StackSpotRuns(stackspot, RegisteredCommands()), draft(given)
    assert (runs.batch(one), runs.patience) == (1, stackspot.deadline + RUN_MARGIN_SECONDS)
    (finding,) = await runs.open(one).check(one.rows)
    assert finding.state == "before"
    assert fake.requests == [], "there is nothing to look for"
    (row,) = await runs.open(one).write(one.rows)
    (finding,) = await runs.open(one).check([row])
    (value,) = fake.executions.values()
    assert (value.id, value.input, value.conversation) == (
        row.id,
        given or "",
        one.target["conversation"],
    )
    assert finding.state == "after"
    assert finding.current
    assert str(finding.current["result"]).startswith("summary: ")


async def test_failed_and_endless_runs_are_reported(
    stackspot: StackSpot, fake: FakeStackSpot
) -> None:
    runs, one = StackSpotRuns(stackspot, RegisteredCommands()), draft()
    fake.go(Run.of("RUNNING", "FAILURE"), Run.of("RUNNING"))
    for standing, words in (("failed", "reports a failure"), ("other", "may still finish")):
        (row,) = await runs.open(one).write(one.rows)
        (event,) = await runs.open(one).check([row])
        assert (event.state, words in event.explanation) == (standing, True)
    (finding,) = await runs.open(one).check([replace(one.rows[0], id="01NOBODYKNOWSTHISONE000000")])
    assert (finding.state, "no longer has this run" in finding.explanation) == ("other", True)


async def test_a_lost_start_is_unsure_and_a_refused_one_is_not(
    stackspot: StackSpot, fake: FakeStackSpot
) -> None:
    runs, one = StackSpotRuns(stackspot, RegisteredCommands()), draft()
    fake.fail("create", Trouble("reset", after=True))
    with pytest.raises(WriteUnsure, match="don't know whether `summary` started"):
        await runs.open(one).write(one.rows)
    fake.answer("create", 403)
    with pytest.raises(ToolError) as error:
        await runs.open(one).write(one.rows)
    assert not isinstance(error.value, WriteUnsure)


async def test_a_run_cannot_be_undone(stackspot: StackSpot) -> None:
    ctx = CommandScene().ctx()
    proposal = Proposal("abcde2", draft(), ANA, ctx.address, 1, "c1", "t1", 0, "en", 0.0, 1.0)
    with pytest.raises(ToolError, match="can't be undone"):
        StackSpotRuns(stackspot, RegisteredCommands()).revert(Change(proposal, "done"))


async def test_who_watches_sees_how_far_it_is(stackspot: StackSpot, fake: FakeStackSpot) -> None:
    runs, one = StackSpotRuns(stackspot, RegisteredCommands()), draft()
    assert isinstance(runs.open(one), WatchedBatch)
    texts: list[str] = []

    async def doing(words: str) -> None:
        texts.append(words)

    (row,) = await runs.open(one).write(one.rows)
    (finding,) = await runs.open(one).watch([row], doing)
    assert finding.state == "after"
    assert texts == [
        "is waiting for StackSpot to start…",
        "is running the quick command… 42 % · Summarise",
    ]
    (before,) = await runs.open(one).watch(one.rows, doing)
    assert before.state == "before"


async def test_the_inputs_of_a_proposed_run_are_changed_as_the_changer_may(
    stackspot: StackSpot,
) -> None:
    declaration: Any = {
        "day": {"type": "text", "required": True},
        "tone": {"type": "choice", "choices": ("dry", "warm")},
        "rows": {"type": "number"},
        "now": {"type": "boolean"},
    }
    command = QuickCommand("day", "Day", effect="spend", inputs=declaration)
    ctx = CommandScene().ctx()

    def proposed_change(made: Draft) -> Change:
        proposal = Proposal("abcde2", made, ANA, ctx.address, 1, "c1", "t1", 0, "en", 0.0, 1.0)
        return Change(proposal, steps=(ChangeStep(1, made.rows[0]),))

    first = draft_run(ctx, command, {"day": "May", "tone": "dry", "now": True})
    change = proposed_change(replace(first, target=json.loads(json.dumps(first.target))))
    assert [(f.key, f.type, f.value, f.options) for f in QUICK_COMMAND_RUN.form_fields(change)] == [
        ("day", "lines", "May", ()),
        ("tone", "select", "dry", ("dry", "warm")),
        ("rows", "number", "", ()),
        ("now", "checkbox", "true", ()),
    ]
    changer = Changer(ANA, ctx.address, Viewer(), UTC)
    runs = StackSpotRuns(stackspot, RegisteredCommands([command, SUMMARY]))
    made = await runs.revise(change, {"tone": "", "rows": "3", "now": "false"}, changer)
    assert made.rows[0].after == {"day": "May", "rows": 3, "now": False}
    assert made.target["conversation"] == first.target["conversation"]
    with pytest.raises(BadInput, match="tone must have one of these values: dry, warm"):
        await runs.revise(change, {"tone": "sour"}, changer)
    runs_without_agent = StackSpotRuns(stackspot, RegisteredCommands([command], frozenset({"day"})))
    with pytest.raises(NotAllowed):
        await runs_without_agent.revise(change, {}, changer)
    plain = proposed_change(draft())
    (field,) = QUICK_COMMAND_RUN.form_fields(plain)
    assert (field.key, field.type, field.value) == ("input", "lines", "a bridge")
    assert (await runs.revise(plain, {"input": "x"}, changer)).rows[0].after == {"input": "x"}
