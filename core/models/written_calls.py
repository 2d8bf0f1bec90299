"""Tool calls that a model wrote into its text, because its server has no parser for that model.

Each form is one of a family of models (vLLM and SGLang have a parser for each). The text of an
answer ends where the first mark stands outside code. What follows runs if it can be read as a
whole, and if its tools were offered.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

OPENINGS = (
    "<｜dsml｜", "<|dsml|", "<｜tool▁calls▁begin｜>", "<｜tool▁call▁begin｜>",
    "<tool_call>", "<tool_calls>", "<function=", "<function_calls>", "<invoke name=",
    "<minimax:tool_call>", "<|tool_calls_section_begin|>", "<|tool_call_begin|>",
    "[tool_calls]", "<|python_tag|>", "<start_function_call>", "<|tool_call>",
    "<|channel|>commentary to=", "<|channel|>analysis to=", "<|start|>assistant to=",
    "<|start|>assistant<|channel|>commentary to=", "<|start|>assistant<|channel|>analysis to=",
)  # fmt: skip
"""What begins a call, in lower case: DeepSeek, Qwen, Llama and GLM, MiniMax, Kimi, Mistral, Gemma,
gpt-oss."""
_XML_FORMS = (
    # MiniMax. DeepSeek writes "｜DSML｜" before each name.
    (
        r'<invoke name="([^"]+)">(.*?)</invoke>',
        r'<parameter name="([^"]+)"([^>]*)>(.*?)</parameter>',
    ),
    # Qwen Coder
    (r"<function=([^>]+)>(.*?)</function>", r"<parameter=([^>]+)()>\n?(.*?)\n?</parameter>"),
    # GLM
    (
        r"<tool_call>\s*([\w.:-]+)\s*((?:<arg_key>.*?)?)</tool_call>",
        r"<arg_key>(.*?)</arg_key>()\s*<arg_value>(.*?)</arg_value>",
    ),
)
"""Patterns of a call with its name and content, and of an argument in it: name, attributes, value.
"""
_JSON_FORMS = (
    # DeepSeek R1 and V3, V3.1
    r"<｜tool▁call▁begin｜>(?:function<｜tool▁sep｜>)?([\w.:-]+)(.*?)(?:<｜tool▁call▁end｜>|\Z)",
    # Kimi
    r"<\|tool_call_begin\|>\s*(\S+?)\s*<\|tool_call_argument_begin\|>(.*?)(?:<\|tool_call_end\|>|\Z)",
    # Mistral
    r"\[TOOL_CALLS\]\s*([\w.:-]+)(?:\[CALL_ID\]\w*)?(?:\[ARGS\])?\s*(\{.*?)(?=\[TOOL_CALLS\]|\Z)",
    # gpt-oss
    r" to=([\w.:-]+).*?<\|message\|>(.*?)(?:<\|call\|>|(?=<\|start\|>|<\|channel\|>)|\Z)",
    # Gemma
    r">call:([\w.:-]+)(\{.*?\})(?:<end_function_call>|<tool_call\|>|\Z)",
    # Qwen, Llama and Mistral: the name stands in the JSON.
    r"(?:<tool_calls?>|<\|python_tag\|>|\[TOOL_CALLS\])()(.*?)"
    r"(?:</tool_calls?>|(?=<\|python_tag\|>|\[TOOL_CALLS\])|\Z)",
)
_GEMMA_WORDS = re.compile(
    r'(?:<escape>|<\|"\|>)(.*?)(?:<escape>|<\|"\|>)|(?<=[{,])\s*(\w+)(?=:)', re.DOTALL
)
"""Texts and keys in the arguments of Gemma, which has no quotes."""
_MARK = re.compile(
    r"<invoke|<function=|<tool_call|<parameter|<arg_key>|call_begin|call▁begin"
    r"|\[TOOL_CALLS|python_tag| to=|call:"
)
MAX_MARKS, MAX_MARKUP_CHARACTERS = 256, 200_000
"""Marks and characters of the calls in one text. They bound the time."""
_REST_OF_CALL = re.compile(r"\{|<invoke|<function=|<arg_key>|call_begin|call▁begin")


def read_written_calls(markup: str, tools: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Return the calls in a text with their names and arguments; none if a part of it is no call.
    `tools` are the schemas of the arguments, by the tool."""
    if len(markup) > MAX_MARKUP_CHARACTERS or len(_MARK.findall(markup)) > MAX_MARKS:
        return []
    markup = re.sub(r"[|｜]DSML[|｜]", "", markup)
    for call, argument in _XML_FORMS:
        matches = list(re.finditer(call, markup, re.DOTALL))
        if matches and all(
            not m[2].strip() or re.search(argument, m[2], re.DOTALL) for m in matches
        ):
            calls = [
                (m[1], dict(_read_arguments(argument, m[2], tools.get(m[1])))) for m in matches
            ]
            return [] if _REST_OF_CALL.search(re.sub(call, "", markup, flags=re.DOTALL)) else calls
    for call in (*(call for call, _ in _XML_FORMS[:2]), *_JSON_FORMS):
        found = re.findall(call, markup, re.DOTALL)
        calls = [each for name, words in found for each in _read_json(name, words)]
        rest = re.sub(call, "", markup, flags=re.DOTALL)
        if calls and len(calls) >= len(found) and not _REST_OF_CALL.search(rest):
            return calls
    return []


def _read_arguments(pattern: str, content: str, schema: Any) -> Iterator[tuple[str, Any]]:
    """Yield the arguments between tags. A value is JSON, unless the tag or the schema says that it
    is text."""
    properties = (schema or {}).get("properties", {})
    for name, attributes, words in re.findall(pattern, content, re.DOTALL):
        kind = str(properties.get(name, {}).get("type"))
        value: Any = words
        if 'string="true"' not in attributes and "string" not in kind:
            try:
                value = json.loads(words)
            except ValueError:
                value = words
        yield name.strip(), value


def _read_json(name: str, words: str) -> list[tuple[str, Any]]:
    """Return the calls in JSON: arguments of a tool, or objects with a name and arguments."""
    words = re.sub(r"^(<｜tool▁sep｜>|\s|```json)*|(\s|```)*$", "", words)
    if name and re.match(r"\{\s*\w+:", words):
        words = _GEMMA_WORDS.sub(lambda match: json.dumps(match[1] or match[2] or ""), words)
    values, rest = list[Any](), words or "{}"
    while rest.startswith(("{", "[")):
        try:
            value, end = json.JSONDecoder(strict=False).raw_decode(rest)
        except (ValueError, RecursionError):
            return []
        values += value if isinstance(value, list) else [value]
        rest = rest[end:].lstrip("; \n,")
    if name and len(values) == 1 and isinstance(values[0], dict):
        return [(name, values[0])]
    if name or not all(
        isinstance(each, dict) and isinstance(each.get("name"), str) for each in values
    ):
        return []
    return [(each["name"], each.get("arguments", each.get("parameters"))) for each in values]
