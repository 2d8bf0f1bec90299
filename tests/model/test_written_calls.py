"""Calls that a model wrote into its text, because its server has no parser for that model: they
run, and nobody reads the markup."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from core.base.errors import ModelError
from core.domain.model_rounds import TextDelta
from core.models.answer_reader import AnswerReader
from core.models.served_model import Level
from core.models.thoughts import GrowingAnswer
from core.models.written_calls import (
    MAX_BARE_CALL_CHARACTERS,
    OPENINGS,
    read_bare_calls,
    read_written_calls,
)
from tests.fakes.openai import FakeOpenAI, Script
from tests.model.conftest import Make, every_level
from tests.model.talk import TABLES, Talk

QUERY = replace(
    TABLES,
    name="nocodb_query",
    parameters={
        "type": "object",
        "properties": {
            "table": {"type": "string"},
            "fields": {"type": "array"},
            "limit": {"type": "integer"},
        },
    },
)
ARGUMENTS = {"table": "Customers", "limit": 3}
WORDS = '{"table": "Customers", "limit": 3}'
NAMED = f'{{"name": "nocodb_query", "arguments": {WORDS}}}'
INVOKE = (
    '<invoke name="nocodb_query">\n<parameter name="table">Customers</parameter>\n'
    '<parameter name="limit">3</parameter>\n</invoke>'
)
DSML = (
    '<｜DSML｜tool_calls>\n<｜DSML｜invoke name="nocodb_query">\n'
    '<｜DSML｜parameter name="table" string="true">Customers</｜DSML｜parameter>\n'
    '<｜DSML｜parameter name="limit" string="false">3</｜DSML｜parameter>\n'
    "</｜DSML｜invoke>\n</｜DSML｜tool_calls>"
)
FUNCTION = (
    "<function=nocodb_query>\n<parameter=table>\nCustomers\n</parameter>\n"
    "<parameter=limit>\n3\n</parameter>\n</function>"
)
GLM = (
    "<tool_call>nocodb_query\n<arg_key>table</arg_key>\n<arg_value>Customers</arg_value>\n"
    "<arg_key>limit</arg_key>\n<arg_value>3</arg_value>\n</tool_call>"
)
KIMI = (
    f"<|tool_calls_section_begin|><|tool_call_begin|>functions.nocodb_query:0"
    f"<|tool_call_argument_begin|>{WORDS}<|tool_call_end|><|tool_calls_section_end|>"
)
FORMS = {
    "DeepSeek V3.2": DSML,
    "DeepSeek V3.2, older": DSML.replace("tool_calls", "function_calls"),
    "DeepSeek V3.1": "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>nocodb_query<｜tool▁sep｜>"
    f"{WORDS}<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
    "DeepSeek R1": "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>nocodb_query\n"
    f"```json\n{WORDS}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
    "Qwen": f"<tool_call>\n{NAMED}\n</tool_call>",
    "Qwen, without its end": f"<tool_call>\n{NAMED}\n",
    "Qwen Coder": f"<tool_call>\n{FUNCTION}\n</tool_call>",
    "Qwen Coder, without its first mark": f"{FUNCTION}\n</tool_call>",
    "Llama": f"<function=nocodb_query>{WORDS}</function>",
    "Llama 3": f"<|python_tag|>{NAMED.replace('arguments', 'parameters')}",
    "Llama 3, another name": f"<|python_tag|>{NAMED.replace('nocodb', 'functions.nocodb')}",
    "Kimi": KIMI,
    "GLM": GLM,
    "MiniMax": f"<minimax:tool_call>\n{INVOKE}\n</minimax:tool_call>",
    "Mistral": f"[TOOL_CALLS][{NAMED}]",
    "Mistral 3": f"[TOOL_CALLS]nocodb_query[ARGS]{WORDS}",
    "Mistral 3, with an id": f"[TOOL_CALLS]nocodb_query[CALL_ID]abcdefghi[ARGS]{WORDS}",
    "FunctionGemma": "<start_function_call>call:nocodb_query{table:<escape>Customers<escape>,"
    "limit:3}<end_function_call>",
    "Gemma 4": '<|tool_call>call:nocodb_query{table:<|"|>Customers<|"|>,limit:3}<tool_call|>',
    "gpt-oss": "<|channel|>commentary to=functions.nocodb_query <|constrain|>json<|message|>"
    f"{WORDS}<|call|>",
    "gpt-oss, whole": "<|start|>assistant<|channel|>commentary to=functions.nocodb_query"
    f"<|constrain|>json<|message|>{WORDS}",
    "gpt-oss, other order": "<|start|>assistant to=functions.nocodb_query<|channel|>commentary json"
    f"<|message|>{WORDS}<|call|>",
    "gpt-oss, final": f"<|channel|>final to=functions.nocodb_query<|message|>{WORDS}<|call|>",
    "gpt-oss, to first": "to=functions.nocodb_query<|channel|>commentary <|constrain|>json"
    f"<|message|>{WORDS}<|call|>",
    "gpt-oss, without tokens": f"assistantcommentary to=functions.nocodb_query json{WORDS}",
    "DeepSeek, underscores": "<｜tool_calls_begin｜><｜tool_call_begin｜>function<｜tool_sep｜>"
    f"nocodb_query\n```json\n{WORDS}\n```<｜tool_call_end｜><｜tool_calls_end｜>",
    "DeepSeek, spaces": "<｜tool calls begin｜><｜tool call begin｜>function<｜tool sep｜>"
    f"nocodb_query\n```json\n{WORDS}\n```<｜tool call end｜><｜tool calls end｜>",
    "DeepSeek, one mark": f"<｜tool▁calls｜>function<｜tool▁sep｜>nocodb_query\n{WORDS}"
    "<｜tool▁call▁end｜>",
    "Kimi, singular": KIMI.replace("calls_section", "call_section"),
    "Qwen Agent": f"✿FUNCTION✿: nocodb_query\n✿ARGS✿: {WORDS}\n✿RESULT✿",
    "Qwen, name outside": f'<tool_call name="nocodb_query">{WORDS}</tool_call>',
    "Qwen, OpenAI's form": f'<tool_call>{{"type": "function", "function": {NAMED}}}</tool_call>',
    "Qwen Coder, quotes": FUNCTION.replace("=table", '="table"')
    .replace("=noc", "='noc")
    .replace("query>", "query'>"),
    "Qwen Coder, without the end of an argument": FUNCTION.replace("</parameter>", "", 1),
    "Qwen Coder, without any end": FUNCTION.replace("</function>", ""),
    "Seed": f"<seed:tool_call>\n{FUNCTION}\n</seed:tool_call>",
    "GLM, JSON": f"<tool_call>nocodb_query\n{WORDS}\n</tool_call>",
    "GLM, without its end": GLM.replace("</tool_call>", ""),
    "MiniMax, without quotes": f"<minimax:tool_call>{INVOKE}</minimax:tool_call>".replace('"', ""),
    "with a name space": INVOKE.replace("<", "<NAMESPACE").replace("<NAMESPACE/", "</NAMESPACE"),
    "Llama 4": '<|python_start|>[nocodb_query(table="Customers", limit=3)]<|python_end|>',
    "Llama 3, Python": '<|python_tag|>nocodb_query.call(table="Customers", limit=3)',
    "LFM": '<|tool_call_start|>[nocodb_query(table="Customers", limit=3)]<|tool_call_end|>',
    "Granite, without its end": f"<|tool_call|>[{NAMED}]",
    "Phi": f"<|tool_call|>[{NAMED}]<|/tool_call|>",
    "Nemotron": f"<TOOLCALL>[{NAMED}]</TOOLCALL>",
    "Cohere": f'<|START_ACTION|>[{{"tool_name": "nocodb_query", "parameters": {WORDS}}}]'
    "<|END_ACTION|>",
    "functools, without its end": f"functools[{NAMED}]",
    "Qwen, without a stop before its result": f"<tool_call>{NAMED}</tool_call>\n"
    "<tool_response>{}</tool_response> None.",
}
FORMS["with a name space"] = FORMS["with a name space"].replace("NAMESPACE", "%s" + "%s") % (
    ("ant", "ml:") * 6
)
BARE = {
    "Llama 3": f'{{"name": "nocodb_query", "parameters": {WORDS}}}',
    "Llama 3, a list": f"[{NAMED}]",
    "Llama 4": '[nocodb_query(table="Customers", limit=3)]',
    "after a thought": f"<think>x</think>\n\n{NAMED}",
    "in a thought without its end": f"<think>I look.\n<tool_call>{NAMED}</tool_call>",
}


def shown_text(talk: Talk) -> str:
    return "".join(event.text for event in talk.heard if isinstance(event, TextDelta))


async def run_calls(
    talk: Talk, fake: FakeOpenAI, markup: str, before: str = "Let me look.\n\n"
) -> list[object]:
    ran: list[object] = []

    def run(name: str, arguments: str) -> str:
        ran.append((name, json.loads(arguments)))
        return "two rows"

    talk.run = run
    fake.say(Script(text=before + markup, piece=7), "There are two.")
    assert await talk.say("Which customers?") == "There are two."
    assert await talk.say("Thanks.") == "You said: Thanks."
    return ran


@pytest.mark.parametrize("form", FORMS)
@every_level
async def test_a_call_in_the_text_runs(
    make: Make, fake: FakeOpenAI, level: Level, form: str
) -> None:
    talk = Talk(await make(level), tools=(QUERY,), preface="")
    assert await run_calls(talk, fake, FORMS[form]) == [("nocodb_query", ARGUMENTS)]
    assert shown_text(talk).startswith("Let me look.")
    for text in (shown_text(talk), *(item.text for _, item in talk.transcript)):
        assert not any(mark in text.lower() for mark in OPENINGS)
        assert "Customers" not in text
    (question,) = [item for _, item in talk.transcript if item.text.startswith("Let me")]
    assert question.text.strip() == "Let me look."


THOUGHTS = {
    "opened": "<think>\nI should look.\n</think>\n\n",
    "not opened": "I should look.\n</think>\n\n",
    "empty": "<think>\n\n</think>\n\n",
    "closed twice": "<think>x</think></think>",
    "gpt-oss": "<|channel|>analysis<|message|>I should look.<|end|>",
}


@pytest.mark.parametrize("thought", THOUGHTS)
@pytest.mark.parametrize("form", FORMS)
def test_a_call_right_after_a_thought(form: str, thought: str) -> None:
    for piece in (1, 7, 1_000):
        growing, text = GrowingAnswer(), THOUGHTS[thought] + FORMS[form]
        view = "".join(growing.add(text[at : at + piece]) for at in range(0, len(text), piece))
        growing.end()
        assert read_written_calls(growing.calls, {"nocodb_query": QUERY.parameters})
        assert growing.text == ""
        if thought != "not opened":
            assert view == ""


@every_level
async def test_a_call_after_a_thought_runs(make: Make, fake: FakeOpenAI, level: Level) -> None:
    for thought in THOUGHTS.values():
        talk = Talk(await make(level), tools=(QUERY,), preface="")
        assert await run_calls(talk, fake, FORMS["Qwen"], thought) == [("nocodb_query", ARGUMENTS)]
        assert not any(mark in shown_text(talk).lower() for mark in (*OPENINGS, "nocodb_query"))


@pytest.mark.parametrize("form", BARE)
@every_level
async def test_an_answer_that_is_nothing_but_a_call_runs(
    make: Make, fake: FakeOpenAI, level: Level, form: str
) -> None:
    talk = Talk(await make(level), tools=(QUERY,), preface="")
    assert await run_calls(talk, fake, BARE[form], "") == [("nocodb_query", ARGUMENTS)]
    assert "nocodb_query" not in shown_text(talk)
    assert not any("Customers" in item.text for _, item in talk.transcript)


@pytest.mark.parametrize(
    "answer",
    [
        '{"name": "Ana", "parameters": {}}',
        '{"name": "nocodb_query", "age": 3}',
        '{"title": "A"}',
        "[f(x)](https://example.com)",
        "[Ana (x)](https://example.com)",
        "[1] Hello",
        "{x} is a set",
        f"It is:\n\n{BARE['Llama 3']}",
        f"{BARE['Llama 3']} is how.",
        "[nocodb_query(open())]",
        "[",
        '{"name": "x"',
        "I say `assistantcommentary to=x`.",
        "auto=functions.x",
    ],
)
async def test_an_answer_that_resembles_a_call_is_text(
    make: Make, fake: FakeOpenAI, answer: str
) -> None:
    talk = Talk(await make("chat"), tools=(QUERY,))
    fake.say(Script(text=answer, piece=7))
    assert await talk.say("What is it?") == answer
    assert answer.startswith(shown_text(talk))


@pytest.mark.parametrize(
    ("markup", "arguments"),
    [
        ('<tool_call>{"name": "nocodb_query"}</tool_call>', None),
        ("<function=nocodb_query><parameter=desc>True</parameter></function>", {"desc": True}),
        (
            "<function=nocodb_query><parameter=fields>\n['Name', 'City']\n</parameter></function>",
            {"fields": ["Name", "City"]},
        ),
        (
            "<function=nocodb_query><parameter=table>['x']</parameter></function>",
            {"table": "['x']"},
        ),
        (
            '<invoke name="nocodb_query"><parameter name="table">x <invoke name="y"></parameter>'
            "</invoke>",
            {"table": 'x <invoke name="y">'},
        ),
        (
            '[TOOL_CALLS]nocodb_query[ARGS]{"table": "a [TOOL_CALLS] b"}',
            {"table": "a [TOOL_CALLS] b"},
        ),
    ],
)
def test_the_arguments_of_a_call(markup: str, arguments: object) -> None:
    calls = read_written_calls(markup, {"nocodb_query": QUERY.parameters})
    assert calls in ([("nocodb_query", arguments)], [("nocodb_query", json.dumps(arguments))])


@pytest.mark.parametrize(
    "markup",
    [
        f"<tool_call>[{NAMED},{NAMED}]</tool_call><tool_call>garbage</tool_call>",
        f"<tool_call>{NAMED} and so on</tool_call>",
        f"<tool_call>{NAMED}<tool_call>garbage",
        f"<|python_tag|>{NAMED}, if I may",
        f"[TOOL_CALLS]nocodb_query[ARGS]{WORDS} Done.",
        '<|python_tag|>nocodb_query(**{"table": "Customers"})',
        '<|python_tag|>nocodb_query(table="a")' + " " * MAX_BARE_CALL_CHARACTERS + "; garbage",
        "<|python_tag|>nocodb_query(fields={[]: 1})",
        "<|python_tag|>nocodb_query(fields={1, 2})",
        "<|python_tag|>nocodb_query(limit=0x" + "f" * 9_000 + ")",
    ],
    ids=range(10),
)
def test_of_a_text_that_is_understood_only_in_part_nothing_runs(markup: str) -> None:
    assert read_written_calls(markup, {"nocodb_query": QUERY.parameters}) == []


@pytest.mark.parametrize(
    "words",
    [
        f"{'1,' * MAX_BARE_CALL_CHARACTERS}",
        "[" * 90_000,
        "{[]: 1}",
        "{1, 2}",
        "b'x'",
        "...",
        f"0x{'f' * 9_000}",
    ],
    ids=range(7),
)
def test_an_argument_that_is_no_json_value_stays_text(words: str) -> None:
    markup = f"<function=nocodb_query><parameter=fields>{words}</parameter></function>"
    calls = read_written_calls(markup, {"nocodb_query": QUERY.parameters})
    assert calls == [("nocodb_query", {"fields": words})]


@pytest.mark.parametrize("call", ["f(**{'a': 1})", "f(a={[]: 1})", "f(a={1, 2})", "f(a=b'x')"])
def test_a_bare_call_in_python_with_other_values_than_json_is_text(call: str) -> None:
    assert read_bare_calls(f"[{call}]") == []


@pytest.mark.parametrize("mark", [*OPENINGS, "<function=\n"])
@pytest.mark.parametrize("piece", [1, 7, 1_000])
def test_a_mark_that_a_server_left_beside_its_call_is_not_shown(mark: str, piece: int) -> None:
    """Cut anywhere: "to", "commentary to", "assistant" and "<" may be meant so, and stay."""
    for end in range(1, len(mark)):
        reader, text = AnswerReader(), f"Let me look.\n\n{mark[:end]}"
        pieces = [text[at : at + piece] for at in range(0, len(text), piece)]
        view = [event for each in pieces for event in reader.add_text(each)]
        reader.add_whole_call(0, "c", "nocodb_query", WORDS)
        reader.finish = "tool_calls"
        is_word = re.fullmatch(r"(?!assistant\w)[a-z ]+|.", mark[:end])
        expected = text.strip() if is_word else "Let me look."
        assert reader.read_answer().items[0].text.strip() == expected
        assert "".join(e.text for e in view if isinstance(e, TextDelta)).strip() == "Let me look."


@every_level
async def test_the_beginning_of_a_mark_stays_where_no_call_is(
    make: Make, fake: FakeOpenAI, level: Level
) -> None:
    talk = Talk(await make(level), tools=(QUERY,), preface="")
    fake.say(Script(text="Let me look. <function", calls=(("nocodb_query", WORDS),), piece=3))
    fake.say(Script(text="The tag is <function", piece=3))
    assert await talk.say("Which customers?") == "The tag is <function"
    assert "Let me look." in [item.text.strip() for _, item in talk.transcript]


MARKS_AFTER_JSON = (
    "<|eom_id|>",
    "<|eot_id|>",
    "</s>",
    "<｜end▁of▁sentence｜>",
    "\n```\n<|end|>",
    "}",
    "]",
)


@pytest.mark.parametrize("mark", MARKS_AFTER_JSON)
def test_a_mark_after_a_call_is_no_part_of_it(mark: str) -> None:
    for markup in (f"<|python_tag|>{NAMED}{mark}", f"to=functions.nocodb_query{WORDS}{mark}"):
        calls = read_written_calls(markup, {"nocodb_query": QUERY.parameters})
        assert [arguments for _, arguments in calls] == [ARGUMENTS]


@pytest.mark.parametrize("mark", ["<tool_call>", "\n<tool_call>\n"])
@pytest.mark.parametrize("count", [0, 2])
def test_an_opening_mark_in_place_of_the_closing_one_ends_a_call(mark: str, count: int) -> None:
    markup = f"<tool_call>{NAMED}</tool_call>\n" * count + f"<tool_call>{NAMED}{mark}"
    calls = read_written_calls(markup, {"nocodb_query": QUERY.parameters})
    assert calls == [("nocodb_query", ARGUMENTS)] * (count + 1)


async def test_two_calls_of_which_the_first_lacks_its_end(make: Make, fake: FakeOpenAI) -> None:
    for join in ("\n", ""):
        talk = Talk(await make("chat"), tools=(QUERY,), preface="")
        second = NAMED.replace("3", "4")
        markup = f"<tool_call>\n{NAMED}{join}<tool_call>\n{second}\n</tool_call>"
        ran = await run_calls(talk, fake, markup)
        assert ran == [("nocodb_query", {**ARGUMENTS, "limit": limit}) for limit in (3, 4)]


CALL = "<tool_call>{}</tool_call>"
QUOTES = [
    f"Write ``{CALL}`` like so.",
    "Write `<tool_call>\n{}</tool_call>` like so.",
    f"It writes:\n\n    {CALL}\n    {CALL}\n\nThat is all.",
    f"> Like:\n> ```\n> {CALL}\n> ```\n\nYes.",
    f"A \\` and then `{CALL}` as text.",
    "The tag **<tool_call>** begins a call.",
    "The tag “<tool_call>” begins.",
    "Le tag «\xa0<tool_call>\xa0» commence.",
    "*<tool_call>* begins.",
    "Use <code><tool_call></code> here.",
    "So:\n\n    <|im_start|>user\n    hi<|im_end|>\n\nEnd.",
    "So `<|im_start|>user\nhi<|im_end|>` it is.",
    "`` <|im_end|> ``",
    f"- ```xml\n  {CALL}\n  ```\n- End.",
    f"1. Like:\n\n       {CALL}\n\nThat.",
    f"```` `a` ``` {CALL} ````",
    "Is it `<tool_call>`?",
]
NO_QUOTES = [
    "Use the ` key. ",
    "Use `` here.\n",
    "A `b\n\n",
    "1. Look:\n\n    ",
    "It is `a`: ",
    "```\na\n```\n",
    "- a ` b\n\n- c ",
    "`" * 300 + " ",
    "\\" * 300 + " ",
]


@pytest.mark.parametrize("piece", [1, 7, 1_000])
@pytest.mark.parametrize("answer", QUOTES)
def test_markup_that_is_quoted_is_text(answer: str, piece: int) -> None:
    growing = GrowingAnswer()
    for at in range(0, len(answer), piece):
        growing.add(answer[at : at + piece])
    growing.end()
    assert (growing.text, growing.calls) == (answer, "")


@pytest.mark.parametrize("piece", [1, 7, 10_000])
@pytest.mark.parametrize("before", NO_QUOTES)
def test_markup_outside_code_is_a_call(before: str, piece: int) -> None:
    text, growing = f"{before}<tool_call>{NAMED}</tool_call>", GrowingAnswer()
    for at in range(0, len(text), piece):
        growing.add(text[at : at + piece])
    growing.end()
    assert (growing.text, growing.calls) == (before, text[len(before) :])


@pytest.mark.parametrize("form", [form for form in FORMS if "without" not in form])
async def test_two_calls_in_the_text_run(make: Make, fake: FakeOpenAI, form: str) -> None:
    talk = Talk(await make("chat"), tools=(QUERY,), preface="")
    markup = f"{FORMS[form]}\n{FORMS[form].replace('Customers', 'Orders')}"
    ran = await run_calls(talk, fake, markup)
    assert ran == [
        ("nocodb_query", {**ARGUMENTS, "table": name}) for name in ("Customers", "Orders")
    ]


@pytest.mark.parametrize("form", FORMS)
async def test_markup_in_code_is_text(make: Make, fake: FakeOpenAI, form: str) -> None:
    talk = Talk(await make("chat"), tools=(QUERY,))
    line = FORMS[form].replace("\n", " ").replace("```", "")
    answer = f"It writes:\n\n```\n{line}\n```\n\nor `{line}` in a line."
    fake.say(Script(text=answer, piece=7))
    assert await talk.say("How does it call tools?") == answer
    assert shown_text(talk) == answer


@pytest.mark.parametrize(
    "markup",
    [
        '<tool_call>{"name": "rm", "arguments": {}}</tool_call>',
        "<tool_call>{broken",
        DSML[:-60],
        f"<|python_tag|>{NAMED}; {{",
        f"{FUNCTION}<function=x>",
        f"{KIMI}<|tool_call_begin|>",
        "<|tool_call_begin|>functions_nocodb_query_1<|tool_call_argument_begin|>{}",
        "[TOOL_CALLS]",
    ],
)
async def test_a_call_that_cannot_be_read_is_told(
    make: Make, fake: FakeOpenAI, markup: str
) -> None:
    """Without text before it, the model is asked once more."""
    talk = Talk(await make("chat"), tools=(QUERY,))
    fake.say(Script(text=f"Let me look.\n\n{markup}", piece=7))
    talk.begin("Which customers?")
    completion = await talk.round()
    assert [item.text.strip() for item in completion.items] == ["Let me look."]
    assert completion.broken
    assert "couldn't read" in completion.broken.words()
    fake.say(Script(text=markup, piece=7), Script(text=markup, piece=7))
    talk.begin("Which customers?")
    with pytest.raises(ModelError, match="couldn't read"):
        await talk.round()
    assert shown_text(talk) == "Let me look.\n\n"


async def test_many_marks_take_little_time() -> None:
    for mark in ('<invoke name="x">', "<|tool_call_begin|>x", " to=x", "<tool_call>", "<escape>"):
        assert read_written_calls(mark * (1_000_000 // len(mark)), {}) == []
    for mark in ("<tool_call>q", " to=", "<tool_call>", "✿FUNCTION✿:", "[TOOL_CALLS]q"):
        for filling in (" ", "a", "\n"):
            read_written_calls(mark + filling * 190_000, {})
            words = f'<invoke name="x"><parameter name={filling * 190_000}</invoke>'
            assert read_written_calls(words, {}) == []


async def test_several_calls_with_one_mark(make: Make, fake: FakeOpenAI) -> None:
    for join, frame in (
        (";", "<|python_tag|>{}"),
        (", ", "[TOOL_CALLS][{}]"),
        ("\n", "<tool_call>{}</tool_call>"),
    ):
        talk = Talk(await make("chat"), tools=(QUERY,), preface="")
        ran = await run_calls(talk, fake, frame.format(join.join([NAMED, NAMED.replace("3", "4")])))
        assert ran == [("nocodb_query", {**ARGUMENTS, "limit": limit}) for limit in (3, 4)]


async def test_a_call_that_the_limit_cut_does_not_run(make: Make, fake: FakeOpenAI) -> None:
    talk = Talk(await make("chat"), tools=(QUERY,))
    fake.say(Script(text=f"Let me look.\n\n{DSML[:-60]}", incomplete="max_output_tokens"))
    talk.begin("Which customers?")
    completion = await talk.round()
    assert [item.text.strip() for item in completion.items] == ["Let me look."]
    assert completion.is_truncated
