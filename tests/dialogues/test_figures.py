"""The source line says whether the figures of an answer occur in what was read."""

from __future__ import annotations

from core.tools.tool import FixedToolSource, tool
from tests.dialogues.bot_home import BotHome
from tests.dialogues.decisions import says
from tests.dialogues.test_run_again import Planner, office

SUM = ("nocodb_summarize", {"table": "Orders", "aggregates": [{"field": "Amount", "fn": "sum"}]})


async def ask(bot_home: BotHome, words: str, question: str = "How much?") -> str:
    async with office(bot_home, SUM, words=words) as crm:
        return (await says(crm.ponte, question, "k1")).text


async def test_figures_that_were_read_are_counted_in_the_source_line(bot_home: BotHome) -> None:
    text = await ask(bot_home, "The 60 orders are worth **€2,745**, 45.75 each on 3 May.")
    assert text.splitlines()[-1].startswith("Source: Orders: 60 of 60 rows")
    assert " (UTC). 2 figures, all found in what I read. [NocoDB](" in text


async def test_a_figure_that_was_not_read_is_named(bot_home: BotHome) -> None:
    text = await ask(bot_home, "They are worth €2,735 and `€9,999` more than “€1,111”; 7.5 %.")
    assert " ⚠️ Not found in what I read: €2,735; 7.5 %. [NocoDB](" in text


async def test_an_answer_without_figures_has_only_its_source(bot_home: BotHome) -> None:
    assert "found" not in await ask(bot_home, "They are worth a lot.")


async def test_a_figure_of_the_question_is_none_of_the_answer(bot_home: BotHome) -> None:
    text = await ask(bot_home, "€2,745 is below your 5,000.", "Do we reach 5,000?")
    assert " 1 figure, found in what I read. [" in text


async def test_what_a_factor_of_the_question_makes_of_a_sum_follows(bot_home: BotHome) -> None:
    words = "€3,019.50 with it; per head: 228.75."
    text = await ask(bot_home, words, "How much with 10 % more, and for each of the 12?")
    assert " 2 figures, all found in what I read. [" in text


async def test_the_number_of_a_filter_is_found(bot_home: BotHome) -> None:
    above = {"field": "Amount", "op": "gt", "value": "44"}
    summary = ("nocodb_summarize", {**SUM[1], "filters": [above]})
    async with office(bot_home, summary, words="31 are above €44.00.") as crm:
        text = (await says(crm.ponte, "Are there large ones?", "k1")).text
        assert " 1 figure, found in what I read. [" in text


async def test_what_was_read_earlier_counts_but_not_what_was_said(bot_home: BotHome) -> None:
    async with office(bot_home, SUM, words="€2,745 of €7,777, not €8,888.") as crm:
        first = await says(crm.ponte, "Our budget is €7,777.", "k1", thread="t")
        assert "Calculated by the model, not found in what I read: €8,888. [" in first.text
        crm.model.calls = (("nocodb_list_tables", {}),)
        second = await says(crm.ponte, "And now?", "k2", thread="t")
        assert second.text == "€2,745 of €7,777, not €8,888."
        crm.model.calls = (("nocodb_summarize", {**SUM[1], "group_by": "Paid"}),)
        third = await says(crm.ponte, "By customer?", "k3", thread="t")
        assert " 1 figure, found in what I read. [" in third.text


async def test_a_run_of_python_is_named_as_the_origin(bot_home: BotHome) -> None:
    @tool(effect="read", doing="is running Python…")
    async def run_python() -> str:
        """Run."""
        return "slope 0.4217"

    model = Planner(("run_python", {}), words="The slope is 0.422.")
    async with bot_home.open(model, [replace_tools(run_python)]) as ponte:
        assert (await says(ponte, "Slope?", "k1")).text == (
            "The slope is 0.422.\n\n1 figure, from the run of Python."
        )


def replace_tools(*tools: object) -> FixedToolSource:
    source = FixedToolSource()
    source.name, source._tools = "code", tools  # type: ignore[assignment]
    return source
