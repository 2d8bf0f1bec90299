"""Reads one answer of a model's server, streamed or not, of either API, into a `ModelAnswer`.

Servers that resemble OpenAI's leave out last events, indexes and ids, repeat them, and send other
types. So content counts more than signs. The APIs translate what a server sends into pieces: text,
pieces of calls, whole messages, thoughts, sources, token counts and a reason for the end.

A piece belongs to the call with its index, else with its id, else to the last call. Another id, or
another tool's name, begins another call, unless it continues arguments that are incomplete. The
same index and id again begin another call only if the arguments so far are complete JSON. If
arguments are no JSON, and each piece repeats the one before, the last piece counts.

An answer that ends without its last sign is whole if it has text, or calls with complete arguments.
If the connection breaks, its text is kept and marked as broken off. Both avoid a second payment.

These cases cannot be decided:

- Two calls with one index and id, whose pieces alternate: their arguments are no JSON, so that the
  tool refuses the call.
- A call that comes again with equal index, id, name and arguments was sent twice, or is two equal
  calls. It runs once, so that nothing is changed twice, and its output says so to the model. To
  refuse it would leave servers that repeat their events without any tool.
- Arguments in pieces without index and id belong to the last call.
- Without a last sign, a call without arguments is incomplete: the answer is asked for once more.
- Deltas that repeat the text so far are text. Only whole messages may repeat it.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Literal

from core.base.json_text import PieceJoiner
from core.base.model_faults import ModelServerFault
from core.base.openai import MAX_ID_CHARACTERS, Json, read_id, read_list, read_object, read_word
from core.domain.messages import Item, Usage
from core.domain.model_rounds import ModelEvent, ResponseStarted, TextDelta, TextWithdrawn
from core.models.thoughts import GrowingAnswer, read_whole, remove_cut_mark, remove_thoughts
from core.models.written_calls import read_bare_calls, read_written_calls
from core.money.usage import parse_usage

CutReason = Literal["", "length", "filter"]
MAX_ANSWER_CHARACTERS = 1_000_000
"""Characters of one answer, with its calls' arguments: about eight times what models can write."""
MAX_CALLS_PER_ANSWER = 256
AnswerEnd = Literal["whole", "length", "filter", "failed", "unknown"]
END_WORDS: tuple[tuple[AnswerEnd, str], ...] = (
    (
        "failed",
        (
            "error|fail|abort|cancel|time_?d?_?out|exception|overload|unavailable|malformed"
            "|rate_?limit|throttl|quota|insufficient|interrupt|internal|network|unexpected"
            "|too_?many|shutdown|connect|gateway|memory|^oom|kill|evict|preempt|crash"
        ),
    ),
    (
        "filter",
        (
            "filter|safety|sensitive|recitation|prohibit|block|spii|refus|policy|guardrail"
            "|moderat|flagged"
        ),
    ),
    ("length", "length|max|limit|context|budget|trunc|incomplete|unfinished|repetition"),
    (
        "whole",
        "stop|end|eos|complete|finish|done|success|tool|function|call|unspecified|normal|^ok$",
    ),
)
"""What a server's word for the end of an answer, in lower case, means. The first one counts."""
CARRIED_FIELD = re.compile(
    r"extra_content|provider_specific_fields|reasoning_(content|details|opaque)|thinking_blocks"
    r"|\w*signature\w*"
)
"""Fields of a message or a call that a server wants back with the call: thoughts of DeepSeek and
Moonshot, signatures of Gemini, and both from gateways. OpenRouter's and Groq's `reasoning` is not
among them, because Groq refuses it."""
CALL_PARTS = ("tool_use", "tool_call", "function_call")
"""Types of content parts that are calls (gateways)."""
HIDDEN_PART = re.compile("think|thought|reason|summary|analysis|^tool|^function")
"""Types of content parts that are thoughts (Mistral, gateways), calls or results."""
TOOL_NAME = re.compile(r"\W*(?:[\w-]+[.:/])*?([\w-]+?)(?::\d+)?\W*(?:<\|.*)?", re.DOTALL)
"""The forms in which models write the name of a tool: `functions.tables:0`, `tables()`,
`tables<|channel|>json`."""
MAX_NAME_CHARACTERS, MAX_WRAPPERS = 200, 4
NO_ARGUMENTS = ("", "None", "undefined")
_ARGUMENTS_DECODER = json.JSONDecoder(strict=False)
"""Takes line breaks in texts, which models write into code."""
SOURCE_FIELDS = ("citations", "search_results", "annotations", "web_search")  # the last: Zhipu
MAX_SOURCES, MAX_SOURCE_TITLE_CHARACTERS = 20, 200
MAX_CHECKED_CHARACTERS = 20 * MAX_ANSWER_CHARACTERS
"""Characters of arguments that are parsed to find out where a call ends."""
WEB_ADDRESS = re.compile(
    r"https?://(?:[^\s<>\[\]()`|\\\"]|\([^\s<>\[\]()`|\\\"]*\)){1,2000}", re.IGNORECASE
)
"""An address that is listed as a source. Its brackets are balanced, so that a link may hold it."""
END_OF_STREAM = "done"
"""The reason for the end if the server names none, but ends its stream with a sign."""
KEPT_ON_FAULTS = ("lost", "broken", "silent")


@dataclass(frozen=True, slots=True)
class ModelAnswer:
    """A finished answer: its items, its token counts, and why it ends early, if it does. `items`
    can hold opaque ones: a server's encrypted reasoning or compaction, in `raw`. Calls have ids of
    Ponte's own: servers repeat theirs, or send none. `fault` is why the text was broken off, None
    if it was not."""

    items: tuple[Item, ...]
    usage: Usage = field(default_factory=Usage)
    cut_reason: CutReason = ""
    model: str = ""
    fault: ModelServerFault | None = None

    @property
    def has_calls(self) -> bool:
        return any(item.kind == "call" for item in self.items)


@dataclass(slots=True)
class TextPart:
    """The text of a message, or of one of its parts, while its pieces arrive. `key` are the numbers
    of the message and of the part. `growing` has the same text without thoughts."""

    key: tuple[object, object]
    pieces: list[str] = field(default_factory=list)
    size: int = 0
    is_shown: bool = False
    growing: GrowingAnswer = field(default_factory=GrowingAnswer)


@dataclass(slots=True)
class CallPart:
    """A tool call whose pieces arrive. `is_whole`: the server sent it whole. `is_repeated`: it has
    the id and the index of the call before it. `may_be_two`: it came twice. `carried`: fields that
    the server wants back. `latest`: the last piece of the arguments. `is_cumulative`: each piece
    begins with the one before."""

    index: object = None
    id: str = ""
    name: str = ""
    arguments: str = ""
    carried: Json = field(default_factory=dict)
    is_whole: bool = False
    is_repeated: bool = False
    may_be_two: bool = False
    latest: str = ""
    is_cumulative: bool = True

    def read_objects(self) -> list[str]:
        """If each piece repeated the one before, the last piece counts alone."""
        objects = find_objects(self.arguments)
        return objects or (find_objects(self.latest) if self.is_cumulative else [])


Part = TextPart | CallPart | Item


class AnswerReader:
    """Collects the parts of one answer.

    `tools` are the tools that were offered, with the schemas of their arguments. `holds_start`: the
    answer may begin with a thought that no tag opens, so no text is shown before its end.
    `is_continued`: this turn has called tools before.
    """

    def __init__(
        self,
        tools: Mapping[str, Mapping[str, Any]] | None = None,
        holds_start: bool = False,
        is_continued: bool = False,
    ) -> None:
        # `has_ended`: the server sent its last event. `has_shown`: the person was shown some text.
        self.has_ended = self.has_shown = False
        # The response's id, the model as the server names it, and the server's word for the end.
        self.response = self.model = self.finish = ""
        self.usage: Json = {}
        self.error: Json | None = None
        self.parts: list[Part] = []
        self.phases: dict[object, str] = {}
        # A call that the model wrote as text counts only if its tool was offered.
        self._tools = tools or {}
        # The answer may begin with a thought that no tag opens; this turn has called tools before.
        self._holds_start, self._is_continued = holds_start, is_continued
        # Joins characters that a server cuts into two pieces.
        self._joiner = PieceJoiner()
        self._carried: dict[str, list[Any]] = {}
        self._sources: dict[str, str] = {}
        self._characters = self._checked_characters = 0
        """How much was read: an answer that never ends is broken off at MAX_ANSWER_CHARACTERS, and
        arguments of calls are checked again for at most MAX_CHECKED_CHARACTERS."""

    def read_event(self, event: Json) -> Sequence[ModelEvent]:
        """Raise ModelServerFault."""
        raise NotImplementedError

    def read_answer(self) -> ModelAnswer:
        """Raise ModelServerFault if the answer failed or is incomplete.

        If the stream ended without the server's word for its end (`finish`), text counts as whole;
        calls count only if their arguments are complete JSON, because half a call must not run. A
        failed answer whose text came is taken as one that was broken off.
        """
        if self._has_failed:
            fault = ModelServerFault("broken", body=self.error or {"message": self.finish})
            if rescued_answer := self.rescue(fault):
                return rescued_answer
            raise fault
        end = classify_end(self.finish)
        cut: CutReason = end if end in ("length", "filter") else ""
        # Some servers send a call without a name and arguments beside their text. If the server
        # names no end, such a call may be one that was cut, so it stays and counts as lost below.
        self.parts = [part for part in self.parts if not (self.finish and is_no_call(part))]
        if not (cut or self.calls):
            self._add_written_calls()
        # A call with the index or id of the one before, and no arguments, is an echo of it.
        calls = [call for call in self.calls if call.arguments or not call.is_repeated]
        # For a word that Ponte does not know, nobody can tell whether text is whole.
        if end == "unknown" and not calls:
            cut = "length"
        for call in () if cut else calls:
            # Pieces of a call may be missing: neither the server nor the end says otherwise.
            # END_OF_STREAM is a sign without a reason.
            is_unsure = not call.is_whole and self.finish in ("", END_OF_STREAM)
            is_cut = not call.read_objects() or not (self.finish or call.arguments.strip())
            if not call.name or (is_unsure and is_cut):
                raise ModelServerFault("lost")
        answer = self._build(cut)
        # No word and no end: the connection broke.
        if not self.finish and not answer.items:
            raise ModelServerFault("lost")
        return answer

    def _add_written_calls(self) -> None:
        """A model may write calls into its text, if its server has no parser for that model. Raise
        ModelServerFault if one with a mark (such as `<tool_call>`) cannot be read, or if its tool
        was not offered: the model is asked once more. Without a mark, a text counts as calls only
        if it is nothing but calls of offered tools."""
        for text in self.texts:
            # `calls` is the text from the first marked call on, which nobody is shown; "" if there
            # is none.
            shown, markup = read_whole("".join(text.pieces))
            calls = read_written_calls(markup, self._tools) if markup else read_bare_calls(shown)
            if not calls or not all(self._offered_name(name) in self._tools for name, _ in calls):
                if markup:
                    # `is_bad_call` knows this code, so the model may be asked once more.
                    raise ModelServerFault("broken", body={"code": "tool_use_failed"})
                continue
            # The text was nothing but calls, so none of it is shown.
            if not markup:
                text.pieces = []
            for name, arguments in calls:
                # Its own index keeps a call apart from an equal one.
                self.add_whole_call(f"written {len(self.calls)}", "", name, arguments)

    @property
    def _has_failed(self) -> bool:
        return self.error is not None or classify_end(self.finish) == "failed"

    def rescue(self, fault: ModelServerFault) -> ModelAnswer | None:
        """Return what can be used of the answer after a fault: all of it if the server had named
        the reason for the end before, else its text; None if nothing can. An answer with calls is
        not used: the last one may be incomplete."""
        if self.finish and not self._has_failed and self.parts:
            with suppress(ModelServerFault):
                return self.read_answer()
        if fault.kind not in KEPT_ON_FAULTS or self.calls:
            return None
        answer = self._build("", fault)
        return answer if answer.items else None

    def starts_with_known_text(self, text: str) -> bool:
        if len(text) < sum(part.size for part in self.texts):
            return False
        return text.startswith("".join(piece for part in self.texts for piece in part.pieces))

    def add_start(self, response: Json) -> Sequence[ModelEvent]:
        """Take the response's id. Return the event that tells it, once: servers repeat it."""
        if self.response or not (id := read_id(response)):
            return ()
        self.response = id
        return (ResponseStarted(id),)

    def add_text(self, piece: str, message: object = 0, part: object = 0) -> Sequence[ModelEvent]:
        """Add a piece of the text of a message, and return the events for whoever shows it: new
        text, or that text which was shown turned out to be a thought. `message` and `part` are the
        server's numbers."""
        if not piece:
            return ()
        self._count(len(piece))
        text = self._find_text(message, part)
        if text is None:
            text = TextPart((message, part))
            self.parts.append(text)
        text.pieces.append(piece)
        text.size += len(piece)
        was_unopened = text.growing.is_unopened
        # `_joiner` keeps back half a character at the end, `growing` leaves out thoughts.
        new_text = text.growing.add(self._joiner.add(piece))
        # This model's last answer began with a thought that no tag opened. So nothing is shown
        # until a thought has ended; then all of the text after it is.
        if self._holds_start:
            if not text.growing.has_thoughts:
                return ()
            # `was_unopened` is set so that nothing is withdrawn: no part of the thought was shown.
            self._holds_start, was_unopened, new_text = False, True, text.growing.text
        events: list[ModelEvent] = []
        # "</think>" without an opening tag: the text that was shown was a thought.
        if text.growing.is_unopened and not was_unopened and self.has_shown:
            events.append(TextWithdrawn())
            self.has_shown = False
        if new_text:
            # The first part of another message begins a paragraph; its other parts continue it.
            is_paragraph = self.has_shown and not text.is_shown and part == 0
            events.append(TextDelta(f"\n\n{new_text}" if is_paragraph else new_text))
            self.has_shown = text.is_shown = True
        return events

    def add_whole_part(self, whole: object, message: object, part: object) -> Sequence[ModelEvent]:
        """Add a part of a message that the server sent whole: its sources, and of its text only
        what is missing, because its pieces may have come before."""
        self.add_sources(read_object(whole))
        text = read_text(whole)
        if not text.strip():
            return ()
        open_text = self._find_text(message, part)
        if open_text is None:
            # Its pieces may have come under other numbers: then an equal text is there already.
            is_known = any(
                known.size == len(text) and "".join(known.pieces) == text for known in self.texts
            )
            return () if is_known else self.add_text(text, message, part)
        # Pieces that came before stay, also if the whole part has another text.
        if len(text) <= open_text.size or not text.startswith("".join(open_text.pieces)):
            return ()
        return self.add_text(text[open_text.size :], message, part)

    def add_call(
        self, index: object = None, id: str = "", name: str = "", arguments: object = None
    ) -> CallPart:
        """Add a piece of a call and return the call. `index` and `id` may be missing.

        A piece that comes after its call is complete is either the same call again, which is only
        marked (`may_be_two`), or the beginning of another call with the same index and id.
        """
        arguments_json = dump_arguments(arguments)
        self._count(len(name) + len(arguments_json))
        call = self._find_call(index, id, name, arguments_json)
        # The call is complete already: it was sent whole, or its arguments are a whole object. A
        # piece without arguments may still bring the name that it lacks.
        if call and (call.is_whole or self._is_object(call)) and (call.name or arguments_json):
            if (
                arguments_json.strip()
                and name in ("", call.name)
                and is_same_json(arguments_json, call.arguments)
            ):
                call.may_be_two = True
                return call
            # Another call with the same index or id.
            if name or id:
                call = self._add_call_part(CallPart(index, id, name or call.name))
                call.is_repeated = True
        # An empty field beside the text (Snowflake): this call is not added to the answer.
        if not call and not (id or name or arguments_json):
            return CallPart(index)
        call = call or self._add_call_part(CallPart(index, id))
        call.id = call.id or id
        # A name that begins with the one so far replaces it: some servers send all of it again.
        if not call.name or name.startswith(call.name):
            call.name = name or call.name
        # The name itself may come in pieces.
        elif call.name not in self._tools and not call.arguments:
            call.name += name
        if call.arguments.strip() == "{}" and arguments_json:  # a place holder
            call.arguments = call.latest = ""
        if arguments_json:
            # Some servers send all arguments so far with each piece. If every piece begins with the
            # one before (`is_cumulative`), the last one (`latest`) alone may be the arguments.
            call.is_cumulative = call.is_cumulative and arguments_json.startswith(call.latest)
            call.latest = arguments_json
        call.arguments += arguments_json
        return call

    def add_whole_call(self, index: object, id: str, name: str, arguments: object) -> CallPart:
        """Servers name a call by its index, by its id, by both or by none, and some send each call
        twice: in pieces and whole, or whole and whole. So the open call that fits best is
        completed. An equal call that is complete already is marked (`may_be_two`), not added: it
        runs once, and its output says so to the model."""
        arguments_json = dump_arguments(arguments)
        # An empty field beside the text: this call is not added to the answer.
        if not (id or name or arguments_json):
            return CallPart(index)
        # The call at this index counts first, then the one with this id, then, without both, the
        # last one of this name.
        open_calls = [call for call in reversed(self.calls) if not call.is_whole]
        at_index = (part for part in open_calls if part.index == index is not None)
        call = next((part for part in at_index if not id or part.id in ("", id)), None)
        call = call or next((part for part in open_calls if id and part.id == id), None)
        if call is None and index is None and not id:
            call = next((part for part in open_calls if part.name == name), None)
        # No open call fits. An equal one that is complete was sent twice; else it is a new one.
        if call is None:
            for part in self.calls:
                is_at_index = None in (index, part.index) or part.index == index
                is_same = is_at_index and (part.id, part.name) == (id, name)
                if is_same and is_same_json(arguments_json, part.arguments):
                    part.may_be_two = True
                    return part
            self._count(len(name) + len(arguments_json))
            call = self._add_call_part(CallPart(index))
        call.id, call.name = call.id or id, name or call.name
        call.arguments, call.is_whole = arguments_json or call.arguments, True
        return call

    def add_opaque(self, item: Json) -> None:
        self._count(len(dump_arguments(item)))
        self.parts.append(Item(kind="opaque", raw={"item": item}))

    def add_carried(self, message: Json) -> None:
        for name, value in self.carried_fields(message).items():
            self._carried.setdefault(name, []).append(value)

    def carried_fields(self, fields: Json) -> Json:
        """Return those fields of a server's message or call that the server wants back in the next
        request, such as a model's thoughts or signatures. They count for the limit of an answer,
        beyond which `_count` raises ModelServerFault."""
        carried = {
            name: value
            for name, value in fields.items()
            if value is not None and CARRIED_FIELD.fullmatch(name)
        }
        self._count(len(dump_arguments(carried)) if carried else 0)
        return carried

    def add_usage(self, usage: object) -> None:
        """A later count replaces an earlier one, unless it is empty or 0: some servers tell input
        and output apart, others end with zeros."""
        counts = read_object(usage).items()
        self.usage |= {name: count for name, count in counts if count or name not in self.usage}

    def add_sources(self, fields: Json) -> None:
        """`fields` is a chunk, a message or a part that may name web addresses outside its text.
        Sources are listed below the answer, each once, with the first title."""
        # DashScope and Azure put them into an object.
        fields = {**fields, **read_object(fields.get("search_info") or fields.get("context"))}
        for found in filter(None, map(fields.get, SOURCE_FIELDS)):
            for element in read_list(found):
                source = read_object(element) or {"url": element}
                source = read_object(source.get("url_citation")) or source
                url = read_word(source.get("url") or source.get("link"))
                has_room = url in self._sources or len(self._sources) < MAX_SOURCES
                if has_room and WEB_ADDRESS.fullmatch(url):
                    title = read_word(source.get("title"))[:MAX_SOURCE_TITLE_CHARACTERS]
                    self._sources[url] = self._sources.get(url) or title

    def take_whole(self, read: Callable[[], Sequence[ModelEvent]]) -> Sequence[ModelEvent]:
        """Take the whole answer that `read` adds, in place of the parts so far: some servers repeat
        at the end, as a whole, what they sent in pieces.

        Kinds of parts (text, calls, opaque items) that it lacks stay. Its text is shown if none was
        shown before.
        """
        before, carried, has_shown = self.parts, self._carried, self.has_shown
        # The whole answer is read into empty parts. `_carried` has the fields of the message that
        # the server wants back with the next request; if the whole one has none, those of the
        # pieces stay. Its characters count anew for the limit, since those of the pieces are the
        # same ones.
        self.parts, self._carried, self._characters = [], {}, 0
        events = read()
        self._carried = self._carried or carried
        for text in self.texts:
            text.is_shown = text.is_shown or has_shown
        kinds = {type(part) for part in self.parts}
        self.parts = [part for part in before if type(part) not in kinds] + self.parts
        return () if has_shown else events

    @property
    def texts(self) -> list[TextPart]:
        return [part for part in self.parts if isinstance(part, TextPart)]

    @property
    def calls(self) -> list[CallPart]:
        return [part for part in self.parts if isinstance(part, CallPart)]

    def _find_text(self, message: object, part: object) -> TextPart | None:
        return next((text for text in self.texts if text.key == (message, part)), None)

    def _find_call(self, index: object, id: str, name: str, arguments_json: str) -> CallPart | None:
        """Return the call to which a piece belongs; None if the piece begins another call. The last
        call at the index counts, then the one with the id, then, without both, the last call."""
        calls = self.calls[::-1]
        same_id = [call for call in calls if id and call.id == id]
        call = next((call for call in calls if call.index == index is not None), None)
        if call is None:
            # No call has this index, so the id decides. A piece with a tool's name and another
            # index than the call with its id begins another call.
            call = next((c for c in same_id if not name or None in (index, c.index)), None)
            last = calls[0] if calls else None
            # A server without indexes, and a new id: does it continue the last call all the same?
            if call is None and last and id and index is last.index is None:
                return last if self._continues(last, name, arguments_json) else None
            # Without an id, and without an index or a name, it belongs to the last call. If both
            # have a name, only an equal one continues the call, while its arguments are incomplete.
            if call is None and last and not id and (not name or index is last.index is None):
                is_open = name in ("", last.name) and not self._is_object(last)
                return last if not (name and last.name) or is_open else None
            return call
        # One index with two ids: some servers give all calls the same index.
        if id and call.id not in ("", id):
            if other := next((part for part in same_id if part.index == index), None):
                return other
            return call if self._continues(call, name, arguments_json) else None
        # A whole name of another offered tool begins another call; a part of a name goes on with
        # this one.
        names = {name, call.name} - {""}
        return call if len(names) < 2 or not names <= set(self._tools) else None

    def _continues(self, call: CallPart, name: str, arguments_json: str) -> bool:
        # Return whether a piece with another id continues a call: some servers send a new id with
        # each piece. It does not if the call is complete, if it names another tool, or if it begins
        # arguments of its own.
        if not arguments_json.strip() or name not in ("", call.name) or self._is_object(call):
            return False
        return not name or not (call.arguments.strip() and arguments_json.lstrip().startswith("{"))

    def _add_call_part(self, call: CallPart) -> CallPart:
        if len(self.calls) >= MAX_CALLS_PER_ANSWER:
            raise ModelServerFault("excess", message=f"{MAX_CALLS_PER_ANSWER} calls")
        self.parts.append(call)
        return call

    def _is_object(self, call: CallPart) -> bool:
        """This is asked for each piece of a call, so the end is looked at first, and what is parsed
        in all has a limit."""
        # A few blanks may follow the brace.
        if not call.arguments[-20:].rstrip().endswith("}"):
            return False
        self._checked_characters += len(call.arguments)
        if self._checked_characters > MAX_CHECKED_CHARACTERS:
            return False
        try:
            return isinstance(json.loads(call.arguments), dict)
        except (ValueError, RecursionError):
            return False

    def _count(self, characters: int) -> None:
        self._characters += characters
        if self._characters > MAX_ANSWER_CHARACTERS:
            raise ModelServerFault("excess", message=f"{MAX_ANSWER_CHARACTERS:,} characters")

    def _build(self, cut: CutReason, fault: ModelServerFault | None = None) -> ModelAnswer:
        """If the answer was `cut`, it has no calls: one that was cut could run with half of its
        arguments. `raw` holds what is kept beside an item: the server's own id, fields that the
        server wants back (`carried`), and that a call may have come twice (`may_be_two`)."""
        raw: Json
        texts: dict[object, str] = {}
        items: dict[object, Item] = {}
        for part in self.parts:
            if isinstance(part, TextPart):
                # All parts of a message become one text.
                key = ("text", part.key[0])
                text = remove_thoughts("".join(part.pieces))
                # Some servers read a call and leave the beginning of its mark in the text.
                texts[key] = texts.get(key, "") + (remove_cut_mark(text) if self.calls else text)
                phase = self.phases.get(part.key[0])
                raw = {"phase": phase} if phase else {}
                if texts[key].strip():
                    items[key] = Item("message", "assistant", texts[key], raw=raw)
            elif isinstance(part, Item):
                items[len(items)] = part
            # A call with the index or id of the one before, and no arguments, is an echo of it.
            elif not cut and (part.arguments.strip() or not part.is_repeated):
                name, objects = self._offered_name(part.name), part.read_objects()
                raw = {"id": part.id, **({"call": part.carried} if part.carried else {})}
                is_repeated = len(objects) > len(set(objects))
                raw |= {"may_be_two": True} if part.may_be_two or is_repeated else {}
                # Some servers merge two calls into one, with one JSON object after the other.
                for arguments_json in dict.fromkeys(objects) or (part.arguments,):
                    # Ponte's own id: the server's may be missing, or that of another call, too.
                    id = os.urandom(8).hex()
                    items[len(items)] = Item("call", "", "", id, name, arguments_json, raw=raw)
        output = list(items.values())
        if not any(item.kind == "opaque" for item in output):
            # Text before calls, as APIs want it back. Encrypted thoughts keep their places: they
            # belong to the item after them.
            output.sort(key=lambda item: item.kind == "call")
        kinds = [item.kind for item in output]
        # The first item gets the fields that the server wants back, which go back only in a turn
        # that calls tools. The last message gets the sources.
        if self._carried and output and ("call" in kinds or self._is_continued):
            message = {name: _join_pieces(name, pieces) for name, pieces in self._carried.items()}
            output[0] = replace(output[0], raw={**output[0].raw, "message": message})
        if self._sources and "message" in kinds:
            last = len(kinds) - 1 - kinds[::-1].index("message")
            sources = [list(source) for source in self._sources.items()]
            output[last] = replace(output[last], raw={**output[last].raw, "sources": sources})
        usage = parse_usage({"usage": self.usage})
        return ModelAnswer(tuple(output), usage, cut, self.model, fault)

    def _offered_name(self, name: str) -> str:
        # `functions.tables:0` is `tables`. A name of which no offered tool can be meant stays as it
        # is, and the call is refused later.
        is_odd = name not in self._tools and len(name) <= MAX_NAME_CHARACTERS
        match = TOOL_NAME.fullmatch(name) if is_odd else None
        bare = match[1].lower() if match else ""
        return next((tool_name for tool_name in self._tools if tool_name.lower() == bare), name)


def is_no_call(part: Part) -> bool:
    """Some servers send one beside their text (Snowflake)."""
    if not isinstance(part, CallPart) or part.name.strip() not in ("", "null", "None"):
        return False
    return find_objects(part.arguments) in ([], ["{}"])


@lru_cache(maxsize=32)
def classify_end(reason: str) -> AnswerEnd:
    """Without a word the answer counts as complete."""
    found = (end for end, pattern in END_WORDS if re.search(pattern, reason))
    return next(found, "unknown" if reason else "whole")


def read_call_id(call: Json, *names: str) -> str:
    """Return "" if there is no id, or if it is too long: LiteLLM puts a whole signature into it."""
    id = next((word for name in names if (word := read_word(call.get(name)))), "")
    return id if len(id) <= MAX_ID_CHARACTERS else ""


def read_text(content: object) -> str:
    """Return the text in a message's content: a text, or parts under any of the names that servers
    have for them. Thoughts and calls among the parts are left out."""
    if isinstance(content, list):
        return "".join(map(read_text, content))
    if not isinstance(content, dict):
        return read_word(content)
    if content.get("thought") is True or HIDDEN_PART.search(read_word(content.get("type"))):
        return ""
    names = ("text", "refusal", "value", "content", "parts")
    return read_text(next((content[name] for name in names if content.get(name)), None))


def dump_arguments(arguments: object) -> str:
    """Return the arguments of a call, or another value, as JSON text; a text as it is, and None as
    "". Some servers send arguments as an object."""
    if arguments is None or isinstance(arguments, str):
        return arguments or ""
    try:
        return json.dumps(arguments, ensure_ascii=False)
    except RecursionError:
        raise ModelServerFault("excess", message="a value that is not nested so deeply") from None


def read_arguments(raw: Json) -> object:
    names = ("arguments", "parameters", "input", "args")
    return next((raw[name] for name in names if raw.get(name) is not None), None)


def find_objects(text: str) -> list[str]:
    """Return the JSON objects in the arguments of a call, without what servers and models put
    around them: a code block, a list, another text of JSON, or words. None of them if one is cut.

    There are several if a server sends several calls of one tool as one. Arguments may be wrapped
    several times, as JSON in a text in a list; `MAX_WRAPPERS` bounds that.
    """
    for _ in range(MAX_WRAPPERS):
        text = text.strip().removeprefix("\ufeff")
        try:
            value = json.loads(text) if text not in NO_ARGUMENTS else None
        except (ValueError, RecursionError):
            break
        # A list of one object is that object; a text may contain JSON again, so the loop goes on
        # with it.
        value = value[0] if isinstance(value, list) and len(value) == 1 else value
        if isinstance(value, dict):
            return [text if text.startswith("{") else json.dumps(value, ensure_ascii=False)]
        # Nothing is a call without arguments. A number or a longer list is an error that the tool
        # explains.
        if not value or not isinstance(value, str):
            return ["{}"] if not value else [text]
        text = value
    # Not JSON as a whole: one object after the other, from the first brace on.
    objects, at = list[str](), text.find("{")
    while text.startswith("{", at):
        try:
            # This decoder takes line breaks inside texts, which `json.loads` refuses.
            value, end = _ARGUMENTS_DECODER.raw_decode(text, at)
        except (ValueError, RecursionError):
            return []
        if value or not objects:
            # Some servers send an empty object before the real one.
            objects = [object_json for object_json in objects if object_json != "{}"]
            objects.append(json.dumps(value, ensure_ascii=False))
        at = end + len(text[end:]) - len(text[end:].lstrip())
    # What follows looks like the middle of JSON, so the object that was found is a part of it.
    return [] if text[at : at + 1] in (",", ":", '"') and objects else objects


def is_same_json(text: str, other: str) -> bool:
    with suppress(ValueError, RecursionError):
        return text == other or bool(json.loads(text) == json.loads(other))
    return False


def _join_pieces(name: str, pieces: Sequence[Any]) -> Any:
    # Thoughts and lists grow. Of other fields the last piece counts.
    if name == "reasoning_content":
        return "".join(map(read_word, pieces))
    if isinstance(pieces[-1], list):
        return [element for piece in pieces for element in read_list(piece)]
    return pieces[-1]
