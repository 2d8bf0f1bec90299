"""The applier of runs: begun once, waited for by name, told as it ended, never taken back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from core.base.errors import ToolError, WriteUnsure
from core.base.i18n import use_locale
from core.changes.kinds import WatchedBatch
from core.domain.changes import Change, Draft, Proposal
from core.domain.records import QuickCommand
from core.tools.stackspot import StackSpot
from core.tools.stackspot.source import RUN_MARGIN_SECONDS, StackSpotRuns, draft_run
from tests.fakes.choices import ANA
from tests.fakes.stackspot import FakeStackSpot, Run, Trouble
from tests.stackspot.command_scene import CommandScene

SUMMARY = QuickCommand("summary", "Summary", effect="spend", translations={"fr": ("Résumé", "")})


def draft(given: str | dict[str, object] = "a bridge") -> Draft:
    return draft_run(CommandScene().ctx(), SUMMARY, given)


async def test_a_draft_names_the_command_in_the_askers_language() -> None:
    with use_locale("fr"):
        made = draft_run(CommandScene().ctx(), SUMMARY, {"day": "May"})
    assert (made.kind, made.title, made.applier) == ("run", "Résumé", "stackspot")
    assert made.rows[0].after == {"day": "May"}
    assert (made.target["slug"], made.target["effect"]) == ("summary", "spend")
    assert draft().rows[0].after == {"input": "a bridge"}


@pytest.mark.parametrize("given", ["a bridge", {"input": "a bridge"}, {}, ""])
async def test_it_is_begun_with_its_input_and_waited_for(
    stackspot: StackSpot, fake: FakeStackSpot, given: str | dict[str, object]
) -> None:
    runs, one = StackSpotRuns(stackspot), draft(given)
    assert (runs.batch(one), runs.patience) == (1, stackspot.deadline + RUN_MARGIN_SECONDS)
    (seen,) = await runs.open(one).check(one.rows)
    assert seen.state == "before"
    assert fake.requests == [], "there is nothing to look for"
    (row,) = await runs.open(one).write(one.rows)
    (seen,) = await runs.open(one).check([row])
    (made,) = fake.executions.values()
    assert (made.id, made.input, made.conversation) == (row.id, given, one.target["conversation"])
    assert seen.state == "after"
    assert seen.current
    assert str(seen.current["result"]).startswith("summary: ")


async def test_failed_and_endless_runs_are_reported(
    stackspot: StackSpot, fake: FakeStackSpot
) -> None:
    runs, one = StackSpotRuns(stackspot), draft()
    fake.go(Run.of("RUNNING", "FAILURE"), Run.of("RUNNING"))
    for standing, words in (("failed", "reports a failure"), ("other", "may still finish")):
        (row,) = await runs.open(one).write(one.rows)
        (seen,) = await runs.open(one).check([row])
        assert (seen.state, words in seen.explanation) == (standing, True)
    (lost,) = await runs.open(one).check([replace(one.rows[0], id="01NOBODYKNOWSTHISONE000000")])
    assert (lost.state, "no longer has this run" in lost.explanation) == ("other", True)


async def test_a_lost_start_is_unsure_and_a_refused_one_is_not(
    stackspot: StackSpot, fake: FakeStackSpot
) -> None:
    runs, one = StackSpotRuns(stackspot), draft()
    fake.fail("create", Trouble("reset", after=True))
    with pytest.raises(WriteUnsure, match="don't know whether `summary` started"):
        await runs.open(one).write(one.rows)
    fake.answer("create", 403)
    with pytest.raises(ToolError) as refused:
        await runs.open(one).write(one.rows)
    assert not isinstance(refused.value, WriteUnsure)


async def test_a_run_cannot_be_undone(stackspot: StackSpot) -> None:
    ctx = CommandScene().ctx()
    proposal = Proposal("abcde2", draft(), ANA, ctx.address, 1, "c1", "t1", 0, "en", 0.0, 1.0)
    with pytest.raises(ToolError, match="can't be undone"):
        StackSpotRuns(stackspot).revert(Change(proposal, "done"))


async def test_who_watches_sees_how_far_it_is(stackspot: StackSpot, fake: FakeStackSpot) -> None:
    runs, one = StackSpotRuns(stackspot), draft()
    assert isinstance(runs.open(one), WatchedBatch)
    told: list[str] = []

    async def doing(words: str) -> None:
        told.append(words)

    (row,) = await runs.open(one).write(one.rows)
    (seen,) = await runs.open(one).watch([row], doing)
    assert seen.state == "after"
    assert told == [
        "is waiting for StackSpot to start…",
        "is running the quick command… 42 % · Summarise",
    ]
    (before,) = await runs.open(one).watch(one.rows, doing)
    assert before.state == "before"
