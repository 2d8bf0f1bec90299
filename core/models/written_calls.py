"""Tool calls that a model wrote into its text, because its server has no parser for that model.

Each form is one of a family of models (vLLM and SGLang have a parser for each). The text of an
answer ends where the first mark stands outside code, which `GrowingCode` follows. What comes after
it runs if it can be read as a whole, and if its tools were offered.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from core.base.splitting import Fence, fence_after_line

OPENINGS = tuple(
    """\
<｜dsml｜
<|dsml|
<｜tool▁calls▁begin｜>
<｜tool▁call▁begin｜>
<｜tool▁calls｜>
<｜tool_calls_begin｜>
<｜tool_call_begin｜>
<｜tool_calls｜>
<｜tool calls begin｜>
<｜tool call begin｜>
<｜tool calls｜>
<|tool▁calls▁begin|>
<|tool▁call▁begin|>
<|tool▁calls|>
<|tool_calls_begin|>
<|tool_call_begin|>
<|tool_calls|>
<|tool calls begin|>
<|tool call begin|>
<|tool_calls_section_begin|>
<|tool_call_section_begin|>
<tool_call>
<tool_call name=
<tool_calls>
<function=
<function_calls>
<invoke name=
<antml:function_calls>
<antml:invoke name=
<steptml:invoke name=
<minimax:tool_call>
<minimax:invoke name=
<seed:tool_call>
[tool_calls]
<|python_tag|>
<|python_start|>
<start_function_call>
<|tool_call>
<|tool_call|>
<|tool_call_start|>
<toolcall>
<|start_action|>
functools[{
✿function✿
<|channel|>commentary to=
<|channel|>analysis to=
<|channel|>final to=
<|start|>assistant to=
<|start|>assistant<|channel|>commentary to=
<|start|>assistant<|channel|>analysis to=
<|start|>assistant<|channel|>final to=
assistantcommentary to=
assistantanalysis to=
commentary to=functions.
to=functions.
""".splitlines()
)
"""What begins a call, in lower case: DeepSeek, Qwen, Llama and GLM, MiniMax, Kimi, Mistral, Gemma,
Granite and Phi, LFM, Nemotron, Cohere, Seed, Step, gpt-oss."""
_RESULTS = re.compile(
    r"<\|?tool_(?:response|result)|<(?:start_)?function_(?:response|result)"
    r"|<[|｜]tool[▁_ ]outputs?|✿RESULT|<\|start\|>functions"
)
"""What begins a result that a model made up after its call."""
_NAMESPACES = re.compile(r"(</?)(?:antml|steptml|minimax|seed):")
"""The prefix with a colon that some models put before the name of a tag."""
_TOKENS = re.compile(r"<[|｜](tool[▁_ ](?:sep|calls?)(?:[▁_ ][a-z]+)*)[|｜]>")
"""Marks of DeepSeek's calls, in which the characters for `|` and `_` vary."""
_DSML = re.compile(r'[|｜]DSML[|｜]|(?<=[^|]")[|｜](?=>)')
_FORMS = tuple(
    (call.replace("END", end), argument)
    for end in (
        r"(</invoke>|</function>|</tool_call>)",
        r"()(?=<invoke |<function=|<tool_call|</(?:tool|function)_call|\Z)",
    )
    for call, argument in (
        # MiniMax. DeepSeek writes "｜DSML｜" before each name.
        (
            r"""<invoke name=["']?([^"'>]++)["']?>(.*?)END""",
            r"""<parameter name=["']?([^"'>]++)["']?([^>]*)>(.*?)(?:</parameter>|(?=\n<param))""",
        ),
        # Qwen Coder
        (
            r"""<function=["']?([^"'>]++)["']?>(.*?)END""",
            r"""<parameter=["']?([^"'>]++)["']?()>\n?(.*?)\n?(?:</parameter>|(?=\n<parameter=))""",
        ),
        # GLM
        (
            r"""<tool_call(?:>| name=["']?)\s*([\w.:-]++)["']?>?(.*?)END""",
            r"<arg_key>(.*?)</arg_key>()\s*<arg_value>(.*?)</arg_value>",
        ),
    )
) + tuple(
    (call, r"(?!)")
    for call in (
        # DeepSeek R1 and V3, V3.1, Kimi
        r"<\|tool_call(?:_begin|s)\|>\s*(?:function<\|tool_sep\|>)?([\w.:-]++)(.*?)"
        r"(?:<\|tool_call_end\|>|\Z)",
        # Mistral
        r"\[TOOL_CALLS\]\s*([\w.:-]++)(?:\[CALL_ID\]\w*)?(?:\[ARGS\])?\s*(\{.*?)"
        r"(?:(?<=\})(?=\s*\[TOOL_CALLS\])|\Z)",
        # gpt-oss
        r"\bto=([\w.:-]++)[^{]*?(?:<\|message\|>|(?=\{))(.*?)"
        r"(?:<\|call\|>|(?=<\|start\|>|<\|channel\|>)|\Z)",
        # Gemma
        r">\s*call:\s*([\w.:-]++)(\{.*?\})\s*(?:<end_function_call>|<tool_call\|>|\Z)",
        # Qwen Agent
        r"✿FUNCTION✿:\s*([\w.:-]++)\s*✿ARGS✿:(.*?)(?=✿|\Z)",
        # The name stands in the JSON.
        r"(?i:<tool_?calls?>|<\|tool_call(?:_start)?\|>|<\|python_(?:tag|start)\|>|\[TOOL_CALLS\]"
        r"|<\|START_ACTION\|>|functools)()(.*?)"
        r"(?i:</tool_?calls?>|<\|/?tool_call(?:_end)?\|>|<\|(?:python_end|END_ACTION)\|>"
        r"|(?=<\|python_tag\|>|\[TOOL_CALLS\]|\n<tool_call>\s*\S)|\Z)",
    )
)
"""Patterns of a call, and of an argument in it: name, attributes, value. A call has a name and its
content, which is JSON without arguments, and those with arguments have an end. The ones that lack
it come later."""
_GEMMA_WORDS = re.compile(
    r'(?:<escape>|<\|"\|>)(.*?)(?:<escape>|<\|"\|>)|(?<=[{,])\s*(\w+)(?=:)', re.DOTALL
)
"""Texts and keys in the arguments of Gemma, which has no quotes."""
_MARK = re.compile(
    r"<invoke|<function=|<tool_call|<parameter|<arg_key>|call_begin|call▁begin|tool.calls?.?[|｜]"
    r"|\[TOOL_CALLS|python_tag|to=|call:|✿FUNC"
)
MAX_MARKS, MAX_MARKUP_CHARACTERS = 256, 200_000
MAX_BARE_CALL_CHARACTERS = 20_000
"""Characters of an answer that is a call without a mark, and of a call in the form of Python."""
_PYTHON_ERRORS = (ValueError, SyntaxError, TypeError, MemoryError, RecursionError)
_AFTER_JSON = re.compile(r"^(?:[;,\s`}\]]|<tool_call>(?=\s*(?:[{\[]|$))|<[|｜/][^<>]*>)*")
"""What may stand between JSON objects or after them: separators, closing tags, marks, and what
small models write: one closing bracket too many, or an opening tag in place of the closing one."""
_REST_OF_CALL = re.compile(r"\{|<invoke|<function=|<parameter|<arg_key>|call_begin")


def read_written_calls(markup: str, tools: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Return no calls if a part of the text is none. `tools` are the schemas of the arguments, by
    the tool. A result that the model made up is dropped.

    Forms that differ only in prefixes (`antml:`) or in DeepSeek's characters (｜, ▁) become one
    first.
    """
    # Both limits bound the time that the patterns take.
    if len(markup) > MAX_MARKUP_CHARACTERS or len(_MARK.findall(markup)) > MAX_MARKS:
        return []
    markup = _NAMESPACES.sub(r"\1", _DSML.sub("", markup))
    markup = _TOKENS.sub(lambda token: f"<|{re.sub('[▁ ]', '_', token[1])}|>", markup)
    # A made-up result ends the calls, unless the whole text can be read as calls.
    return _read_calls(markup, tools) or _read_calls(_RESULTS.split(markup, 1)[0], tools)


def read_bare_calls(text: str) -> list[tuple[str, Any]]:
    """Return the calls of which a whole text consists, in JSON with names and arguments, or in
    Python; none for any other text. An object with a name alone may be data, and is no call."""
    text = text.strip()
    if len(text) > MAX_BARE_CALL_CHARACTERS or not text.endswith(("}", "]")):
        return []
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return _read_python(text)
    # `_name_calls` gives an object with a name alone None in place of arguments.
    calls = _name_calls(values if isinstance(values, list) else [values])
    return [] if None in dict(calls).values() else calls


def _read_calls(markup: str, tools: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Return the calls, each a name and its arguments, that a model has written as text in its own
    markup instead of calling a tool.

    Each form of markup is tried. One counts only if each of its matches is a call, and nothing that
    looks like a part of one is left beside them (`_REST_OF_CALL`): of a text that is understood
    only in part, nothing runs.
    """
    # `pattern` is a form's call with its name and content, `argument` an argument in that.
    for pattern, argument in _FORMS:
        calls = list[tuple[str, Any]]()
        for match in re.finditer(pattern, markup, re.DOTALL):
            name, content, *end = match.groups()
            arguments = dict(_read_arguments(argument, content, tools.get(name)))
            # A call with arguments in tags has nothing else in it.
            rest = re.sub(argument, "", content, flags=re.DOTALL).strip()
            if arguments:
                found = [] if rest else [(name, arguments)]
            else:
                # No arguments in tags: the content is JSON, or empty for a call without arguments.
                # An empty one counts unless its closing tag is missing: then `end` is [""].
                found = _read_json(name, rest) if rest or end != [""] else []
            # Each match must be a call, or a list of calls, whatever the others hold.
            if not found:
                break
            calls += found
        else:
            rest = re.sub(pattern, "", markup, flags=re.DOTALL)
            if calls and not _REST_OF_CALL.search(rest):
                return calls
    return []


def _read_arguments(pattern: str, content: str, schema: Any) -> Iterator[tuple[str, Any]]:
    """Yield the names and values of the arguments between tags in a call's content. The groups of
    `pattern` are an argument's name, the attributes of its tag, and its value. A value is JSON or
    Python, unless the tag (`string="true"`, as DeepSeek writes it) or the tool's schema says that
    it is text. What is neither is text, too."""
    properties = (schema or {}).get("properties", {})
    for name, attributes, value_text in re.findall(pattern, content, re.DOTALL):
        # A schema has one type, or a list of types.
        kind = str(properties.get(name, {}).get("type"))
        value: Any = value_text
        if 'string="true"' not in attributes and "string" not in kind:
            try:
                value = json.loads(value_text)
            except (ValueError, RecursionError):
                with suppress(*_PYTHON_ERRORS):
                    value = _read_literal(_parse_python(value_text.strip()))
        yield name.strip(), value


def _read_json(name: str, text: str) -> list[tuple[str, Any]]:
    """Return the calls in the content of a tag: with a `name`, the arguments of that tool as one
    JSON object; without one (""), JSON objects that have a name and arguments, or calls in Python.
    Return none for anything else."""
    # Marks of DeepSeek and Kimi before the JSON, a fence around it, and an end tag of Mistral.
    text = re.sub(r"^(?:<\|tool_(?:sep|call_argument_begin)\|>|\s|```json)*", "", text)
    text = text.rstrip("` \n").removesuffix("[/TOOL_CALLS]")
    # Gemma writes names without quotes, and its own quotes around texts.
    if name and re.match(r"\{\s*\w+:", text):
        text = _GEMMA_WORDS.sub(lambda match: json.dumps(match[1] or match[2] or ""), text)
    # No content with a name is a call without arguments.
    values, rest = list[Any](), text or "{}"
    if not name and re.match(r"\[?[\w.]+\(", text):
        return _read_python(text)
    # Several objects may follow each other, with or without a separator. Texts in them may contain
    # line breaks (`strict`). What comes after them must mean nothing (`_AFTER_JSON`).
    while rest.startswith(("{", "[")):
        try:
            value, end = json.JSONDecoder(strict=False).raw_decode(rest)
        except (ValueError, RecursionError):
            return []
        values += value if isinstance(value, list) else [value]
        rest = _AFTER_JSON.sub("", rest[end:])
    if rest:
        return []
    if name:
        is_one = len(values) == 1 and isinstance(values[0], dict)
        return [(name, values[0])] if is_one else []
    return _name_calls(values)


def _name_calls(values: list[Any]) -> list[tuple[str, Any]]:
    """Arguments that are missing are None. Models name both fields in several ways; "function" is
    an object with both, or the name itself."""
    calls = list[tuple[str, Any]]()
    for value in values:
        value = value if isinstance(value, dict) else {}
        function = value.get("function")
        value = function if isinstance(function, dict) else value
        name = value.get("name") or value.get("tool_name") or function
        if not isinstance(name, str):
            return []
        calls.append((name, value.get("arguments", value.get("parameters"))))
    return calls


def _read_python(source: str) -> list[tuple[str, Any]]:
    """Return the calls in Python code that a model wrote as text, such as `[tables(base="a")]`;
    none if it is not only calls with named arguments."""
    try:
        tree = _parse_python(source)
        calls = list[tuple[str, Any]]()
        for call in tree.elts if isinstance(tree, ast.List) else [tree]:
            if not isinstance(call, ast.Call) or call.args:
                return []
            arguments = {keyword.arg: _read_literal(keyword.value) for keyword in call.keywords}
            if None in arguments:  # `**{…}`
                return []
            # The name may come as `tables.call(…)`.
            calls.append((ast.unparse(call.func).removesuffix(".call"), arguments))
    except _PYTHON_ERRORS:
        return []
    return calls


def _parse_python(source: str) -> ast.expr:
    # Python's parser takes much time for a long text.
    if len(source) > MAX_BARE_CALL_CHARACTERS:
        raise ValueError
    return ast.parse(source, mode="eval").body


def _read_literal(node: ast.expr) -> Any:
    value = ast.literal_eval(node)
    json.dumps(value)
    return value


MAX_FENCE_LINE_CHARACTERS = 200
MAX_SPAN_CHARACTERS = 2_000
_SPAN_TICKS = re.compile(r"(?<!\\)(\\*)(`+)")
_SPAN_END = re.compile(r"`+|\n[ \t>]*\n")
_QUOTE_MARKS = re.compile(r"(?: {0,3}> ?)*")
_ITEM_MARK = re.compile(r"\s*(?:[-*+]|\d{1,9}[.)])\s+")


class GrowingCode:
    """Tells whether a Markdown text that streams in is inside code at its end. `ticks`: the number
    of backticks that may have opened a code span in this paragraph, 0 without one."""

    def __init__(self) -> None:
        self.ticks = 0
        self._line = ""
        self._fence: Fence | None = None
        self._may_indent = False
        self._code_indent = 4
        """The column from which an indented line is code; more inside a list item."""

    @property
    def is_line_blank(self) -> bool:
        return not self._line.strip()

    @property
    def is_block(self) -> bool:
        is_element = self._line.rfind("<code>") > self._line.rfind("</code>")
        return self._fence is not None or self._is_indented or is_element

    @property
    def _is_indented(self) -> bool:
        line = self._line.expandtabs(4)
        return self._may_indent and len(line) - len(line.lstrip()) >= self._code_indent

    def add(self, text: str) -> None:
        """Of a line, only the beginning is kept, which decides on blocks. No run of backticks goes
        on in the next piece: a piece ends at a tag."""
        for number, line in enumerate(text.split("\n")):
            if number:
                self._end_line()
            self._line = (self._line + line[:MAX_FENCE_LINE_CHARACTERS])[:MAX_FENCE_LINE_CHARACTERS]
            self._read_ticks(line)

    def find_span_end(self, text: str, start: int, *, is_last: bool) -> int | None:
        """Return the index after the code span that is open at `start`; 0 if nothing closes it, so
        that its backticks are text; None if the text so far does not tell. It ends at as many
        backticks as opened it (`ticks`), and never goes on over a blank line. `is_last`: no more
        text comes.
        """
        # Each match is a run of backticks, or a blank line. The search is limited, because a span
        # that stays open would hold back the text that follows it.
        for match in _SPAN_END.finditer(text, start, start + MAX_SPAN_CHARACTERS):
            if "\n" in match[0]:
                return 0
            if match.end() == len(text) and not is_last:
                return None
            if len(match[0]) == self.ticks:
                return match.end()
        return 0 if is_last or len(text) - start > MAX_SPAN_CHARACTERS else None

    def _read_ticks(self, text: str) -> None:
        # An escaped backtick (an odd number of backslashes) opens nothing, but inside a code span
        # backslashes are text. `ticks` becomes the number of backticks that opened a span, and 0
        # where as many close it.
        for match in _SPAN_TICKS.finditer(text):
            size = len(match[2]) - (len(match[1]) % 2 if not self.ticks else 0)
            if size and self.ticks in (0, size):
                self.ticks = size - self.ticks

    def _end_line(self) -> None:
        """Note what the line that has ended means for the next one: whether a fenced block is open,
        and from which column on an indented line is code (CommonMark)."""
        content = _QUOTE_MARKS.sub("", self._line, count=1)  # without the `>` of block quotes
        before, item, is_blank = self._fence, _ITEM_MARK.match(content), not content.strip()
        # Where the text of a list item begins: a fence may be there, and code is indented from
        # there.
        start = item.end() if item and not before else 0
        self._fence = fence_after_line(content[start:], before, MAX_FENCE_LINE_CHARACTERS)
        # No code span goes on over a blank line or a fence.
        if is_blank or before or self._fence:
            self.ticks = 0
        # An indented line is code only after a blank line or other code.
        self._may_indent = is_blank or self._is_indented
        # A list item and a line without indentation set the column; other lines keep it.
        if item or (content[:1].strip() and not is_blank):
            self._code_indent = 4 + start
        self._line = ""
