"""How many tokens the context of a model has, and what of a request fits into it.

The size is that of PONTE_MODEL_CONTEXT, or what the server tells, or that of OpenAI's model, or an
assumption. Tokens are estimated from bytes, on the safe side, and what the server counted corrects
the estimate. Some servers (Ollama) drop the beginning of what is too long without an error: the
instructions. So nothing is sent that may not fit.
"""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from core.base.errors import TooLong
from core.base.i18n import format_number, say
from core.base.model_faults import ModelServerFault
from core.base.openai import (
    MODEL_NAME_FIELDS,
    Json,
    ModelServerClient,
    read_models,
    read_word,
)
from core.base.tasks import cancel_all
from core.base.text import compose_letters
from core.domain.messages import CONTEXT_NAME, Item
from core.domain.model_rounds import RoundRequest, ToolSpec
from core.models.model_input import (
    LEFT_OUT_NOTE,
    count_tokens,
    describe_files,
    estimate_tokens,
    file_tokens,
    find_turn_starts,
    fit_files,
    keep_newest_turns,
)

ASSUMED_CONTEXT_TOKENS = 128_000
UNLOADED_CONTEXT_TOKENS = 4_096
"""The context with which Ollama and LM Studio load a model, unless somebody chose another one
(docs.ollama.com/context-length)."""
TOOLS_CONTEXT_TOKENS = 8_192
"""A context that has room for all tools, with their whole descriptions, and a conversation."""
INSTRUCTION_TOKENS = 300
OPENAI_CONTEXT_TOKENS = {
    "gpt-3.5": 16_385, "gpt-4": 8_192, "gpt-4-turbo": 128_000, "gpt-4o": 128_000,
    "gpt-4.1": 1_047_576, "gpt-5": 400_000, "gpt-6": 1_050_000,
    "o1": 200_000, "o3": 200_000, "o4": 200_000,
}  # fmt: skip
"""The context of OpenAI's models by the beginning of their names; the longest one counts
(developers.openai.com, Models)."""
HISTORY_WINDOW_TOKENS = 200_000
"""Tokens of a conversation that are sent at most. Over 272,000 gpt-6-luna doubles its price."""
ANSWER_SHARE = 4
MAX_ANSWER_TOKENS = 16_000
MAX_COMPARED_CHARACTERS = 4_000
FIXED_SHARE = 0.6
MIN_CONTEXT_TOKENS = 256
MIN_REQUEST_TOKENS = 1_000
"""Tokens that each server takes. A smaller request was refused for another reason, such as the
bytes of a file."""
CONTEXT_ASK_SECONDS, CONTEXT_WAIT_SECONDS = 5.0, 1.0
CONTEXT_KNOWN_SECONDS = 600.0
"""After this time a turn asks again: the server may have been restarted with another context."""
CONTEXT_PAUSE_SECONDS = 60.0
"""Without a sure answer a turn asks again after this time: a busy server, or one without the key,
may answer soon, but one that never does would delay each turn."""
MIN_SCALE, MAX_SCALE = 0.75, 3.0
"""Limits for the correction of estimates. Servers that dropped a part, or had it in their cache,
count too little."""
SIZE_FIELDS = re.compile(
    r"(.*\.)?(context_(length|size|window)|(loaded|max)_context_length|n_ctx"
    r"|max_(input_tokens|model_len|total_tokens))"
)
"""Fields with the size: vLLM and SGLang (max_model_len), OpenRouter, Together and Moonshot
(context_length), Novita (context_size), Groq (context_window), Mistral (max_context_length), LM
Studio (loaded_context_length), LiteLLM (max_input_tokens), llama.cpp (n_ctx)."""
TOLD_SIZE_PATTERNS = (
    (
        r"(?i)(?:n_ctx|context (?:length|window|size)|model length|max_\w+)"
        r"(?: is| of| only|:| |\(|=)*(\d[\d,]{2,8})\b"
    ),
    (
        r"(?i)(?:max\w*|at most|limit|allowed|<=|>|less than)"
        r"(?:(?!\bby\b)[^\d.]){0,40}?(?<!limit \()(?<!\[)(\d[\d,]{2,8})\b"
    ),
    (r"(?:\[1, |for model with )(\d{1,12})\b"),
)
TOKEN_LIMIT_PATTERN = re.compile(r"(?i)\btokens?\b|_token|\bTP[MD]\b")
REQUESTED_PATTERN = re.compile(r"(?i)\brequested\D{0,9}(\d[\d,]{0,11})\b")
"""How a rate limit names what it counts, and how much the request has: "tokens per min (TPM): Limit
30000, Requested 45000"."""
NUM_CTX_PATTERN = re.compile(r"(?m)^num_ctx\s+(\d{1,12})\b")

NAME_WORDS = {
    "link": r"(?<!the )(un)?link|(dis)?connect|attach|assign|(des)?vincul\w+|vínculo|atribu\w+"
    r"|(des)?li(ga|gar|gue)|(des)?conect\w+|(dis)?associ\w+|dissoci\w+|(dé)?lie[rz]?|relie[rz]?"
    r"|(r?at|dé)tach\w+",
    "create": r"creat\w+|add(s|ed|ing)?|insert|new|register|cri(a|e|ar|em)|adicion\w+|insir\w+"
    r"|inser\w+|cadastr\w+|nov[oa]s?|registr(a|e|ar)|cré(e|er|ez)|ajout\w+|insèr\w+|enregistr\w+"
    r"|nouve\w+",
    "update": r"updat\w+|change[drsz]?|set(?! of)|put|mark|edit|rename|correct|fix|modify"
    r"|atualiz\w+|alter(a|e|ar)?|mud(a|e|ar)|marqu?(a|e|ar|er|ez)|corri[gj]\w+|renome\w+"
    r"|edit(a|e|ar|er|ez)|coloqu?\w+|defin(a|e|ir)|tro(ca|car|que)|modifi\w+|met[st]|mettre|mettez"
    r"|passe[rz]?|renomm\w+",
    "delete": r"delet\w+|remov\w+|eras\w+|drop|get rid|exclu(a|i|ir)|apag\w+|tir(a|e|ar)|elimin\w+"
    r"|supprim\w+|effac\w+|enl[eè]v\w+|retir(a|e|ar|er|ez)",
    "summarize": r"summar\w+|sum|count(?! me)|total\w*|how (many|much)|average|conte|contar"
    r"|quant[oa]s?|som(a|ar|me)|média|resum\w+|combien|compte[rz]|compte(?= les)|nombre de|moyenne"
    r"|résum\w+",
}
"""Words by which people mean a part of a tool's name: English, Portuguese and French. A beginning
alone would be too little: "address" is no "add", and "conta" (account) no "contar" (to count)."""
SIZE_KNOWN = "its context has {tokens} tokens"
SIZE_LIMITED = (
    "its account can use at most {tokens} tokens at a time, so long requests are shortened"
)
SIZE_ASSUMED = (
    "the size of its context isn't known, so Ponte assumes {tokens} tokens; if that's "
    "wrong, set PONTE_MODEL_CONTEXT"
)
SIZE_SMALL = (
    "its context of {tokens} tokens is too small for all the tools that are on, so they're "
    "described briefly, or left out until a message names them; load the model with {needed} "
    "tokens or more (Ollama: OLLAMA_CONTEXT_LENGTH, llama.cpp: --ctx-size, vLLM: "
    "--max-model-len), or turn off tools that you don't need"
)
REST_LEFT_OUT = "[The rest was left out: it is too long for your context. Ask for less at a time.]"
SHORT_LEFT_OUT = "[Left out.]"
OUTPUT_LIMIT_REACHED = "The model ran out of space before it could answer. Ask for less at a time."
OWN_MESSAGE_TOO_LONG = (
    "Your message is too long for the model: it has about {size} tokens, and at most {limit} fit "
    "alongside the instructions and the answer. Shorten it, or send it in parts."
)
SOME_TOOLS_LEFT_OUT = (
    "\n\nYour context is too small for these tools now: {names}. If one of them is needed, tell "
    "the person to name it in the message."
)


@dataclass(frozen=True, slots=True)
class ContextSize:
    """The number of tokens that a model takes in one request with its answer, and where that number
    comes from (`source`). "limit": a rate limit of the account, which allows less than the
    model."""

    tokens: int
    source: Literal["setting", "server", "table", "assumed", "limit"]

    @property
    def room(self) -> int:
        return self.tokens - min(self.tokens // ANSWER_SHARE, MAX_ANSWER_TOKENS)


class ContextSizes:
    """The numbers of tokens that the models of a server take, as far as they are known."""

    def __init__(self, client: ModelServerClient, model: str, tokens: int) -> None:
        self._client = client
        self._is_official = client.place.is_official
        self._model = model
        # PONTE_MODEL_CONTEXT, which the operator has set for `model`; 0 if it is not set.
        self._setting = tokens
        self.model_list: Json = {}
        self._server_tokens: dict[str, int] = {}
        self._refused: dict[str, tuple[ContextSize, float]] = {}
        """By model, the size above which the server refused a request, and until when that counts
        (monotonic seconds)."""
        self._scales: dict[str, float] = {}
        """The tokens that the server counts for one token of Ponte's estimate, by model."""
        self._questions: dict[str, asyncio.Task[None]] = {}
        """The latest question for the size of a model. It is removed if the model is not loaded
        yet, so that the next turn asks again."""
        self._asked_at: dict[str, float] = {}
        """A model is asked again after CONTEXT_KNOWN_SECONDS; the time is set back if
        CONTEXT_PAUSE_SECONDS are enough."""
        self._is_refused = False
        """Since the latest sure answer, the server answered a path with an error 4xx that neither
        concerns the key nor passes: it can be reached, but may not have this path."""

    def of(self, model: str) -> ContextSize:
        """Return the size as it is known now, by the surest source: the operator's setting, the
        server's own answer, the table of OpenAI's models, or an assumption. If the server refused
        requests above a smaller size (`_refused`), that size counts instead."""
        # Gateways put a provider before the name, as in "openai/gpt-5".
        name = model.rpartition("/")[2]
        known = [prefix for prefix in OPENAI_CONTEXT_TOKENS if name.startswith(prefix)]
        if self._setting and model == self._model:
            size = ContextSize(self._setting, "setting")
        elif model in self._server_tokens:
            size = ContextSize(self._server_tokens[model], "server")
        elif known:
            # Variants such as gpt-5-chat-latest take less than their models (OpenAI's documents).
            is_chat = "chat" in name
            tokens = 128_000 if is_chat else OPENAI_CONTEXT_TOKENS[max(known, key=len)]
            size = ContextSize(tokens, "table")
        else:
            # The setting is of another model, but the best guess for this one.
            size = ContextSize(self._setting or ASSUMED_CONTEXT_TOKENS, "assumed")
        # `until` is infinite, except for a guess of Ponte's and a rate limit, which may change.
        refused, until = self._refused.get(model, (size, 0.0))
        is_refused = refused.tokens < size.tokens and time.monotonic() < until
        return refused if is_refused else size

    async def wait(self, model: str, seconds: float = CONTEXT_WAIT_SECONDS) -> None:
        """Make the size of a model known: ask the server, unless its latest answer is younger than
        CONTEXT_KNOWN_SECONDS, or CONTEXT_PAUSE_SECONDS if it was not sure. Wait at most `seconds`
        for the answer; a later answer is used by later turns. The question goes on in
        a task (`_questions`), which all turns share.

        OpenAI's own server is not asked: it does not tell sizes, and OPENAI_CONTEXT_TOKENS has
        them. Nor is any server for a model whose size the operator has set (`_setting`).
        """
        if self._is_official or (self._setting and model == self._model):
            return
        await self._client.load_sdk()  # not within `seconds`: each request needs it
        now = time.monotonic()
        is_old = now - self._asked_at.get(model, now) > CONTEXT_KNOWN_SECONDS
        if is_old:  # the operator may have loaded the model with another size meanwhile
            self.model_list = {}
        if model not in self._questions or is_old:
            self._asked_at[model] = now
            self._questions[model] = asyncio.create_task(self._ask(model))
        # Without an answer yet, or with an old one, the turn waits for the new one.
        if (model not in self._server_tokens or is_old) and not self._questions[model].done():
            await asyncio.wait({self._questions[model]}, timeout=seconds)

    async def close(self) -> None:
        await cancel_all(self._questions.values())

    def scale(self, model: str) -> float:
        """1.0 until a request of this model has been counted."""
        return self._scales.get(model, 1.0)

    def record_count(self, model: str, estimate: int, counted: int) -> None:
        """The correction grows at once, with a margin of a tenth, and falls by a twentieth at a
        time, so that estimates stay on the safe side."""
        scale = min(1.1 * counted / max(estimate, 1), MAX_SCALE)
        self._scales[model] = max(scale, self.scale(model) * 0.95, MIN_SCALE)

    def doubt_count(self, model: str) -> None:
        """The correction of the estimate may be wrong, and if no request fits any more, no answer
        would correct it."""
        if (scale := self.scale(model)) > 1:
            self._scales[model] = max(scale * 0.8, 1.0)

    def record_refusal(
        self, model: str, tokens: int, *, is_guess: bool = False, is_limit: bool = False
    ) -> None:
        """The server refuses more than `tokens`. A guess of Ponte's (`is_guess`), and a rate limit
        of the account (`is_limit`), count only for a while. They may replace a lasting refusal,
        because the size never grows; later the server would refuse again. A guess counts as
        "server", because it follows from a refusal."""
        until = time.monotonic() + CONTEXT_KNOWN_SECONDS if is_guess or is_limit else math.inf
        size = ContextSize(min(tokens, self.of(model).tokens), "limit" if is_limit else "server")
        self._refused[model] = size, until

    async def _ask(self, model: str) -> None:
        """Ask all paths where servers tell the size of a model, and store it. If the server has
        not loaded the model yet, the next turn asks again; if it answered nothing sure, a turn
        after a pause does."""
        try:
            async with asyncio.timeout(CONTEXT_ASK_SECONDS):
                self.model_list = listed = self.model_list or await self._get("/models")
                tokens = find_size(_entry_of(listed, model))
                # `_is_refused`: an error 4xx came that may be about a path, so it was reached.
                is_sure = bool(listed) or self._is_refused
                if not tokens:
                    tokens, is_loaded = await self._ask_native(model)
                    is_sure = is_loaded if tokens else is_sure
        # RecursionError: `find_size` walks through all of the answer, which may be nested deeply.
        except (TimeoutError, RecursionError):
            return  # the question stays: it is asked again after CONTEXT_KNOWN_SECONDS only
        if tokens:
            if tokens != self._server_tokens.get(model):  # what it refused before no longer counts
                self._refused.pop(model, None)
            self._server_tokens[model] = tokens
        if is_sure:
            self._is_refused = False
        elif tokens:
            # `wait` starts a question for a model that has none, so the next turn asks once more.
            self._questions.pop(model, None)
        else:
            self._asked_at[model] += CONTEXT_PAUSE_SECONDS - CONTEXT_KNOWN_SECONDS

    async def _ask_native(self, model: str) -> tuple[int, bool]:
        """Ask the paths where local servers (Ollama, LM Studio, llama.cpp) and the proxy LiteLLM
        tell the size, besides OpenAI's API. Return the tokens, 0 for none, and whether they are
        sure: a model that is not loaded may be loaded with a smaller context than it could have."""
        # The address of OpenAI's API ends in /v1; the other APIs are beside it ("/.."). A path that
        # the server does not have gives {}.
        props, running, shown, studio, proxy = await asyncio.gather(
            self._get("/../props"),  # llama.cpp
            self._get("/../api/ps"),  # Ollama: the loaded models
            self._get("/../api/show", {"model": model}),  # Ollama
            self._get("/../api/v0/models"),  # LM Studio
            self._get("/model/info"),  # LiteLLM
        )
        sizes = map(find_size, (props, _entry_of(running, model), _entry_of(proxy, model)))
        # These count as the sizes of loaded models.
        if tokens := next(filter(None, sizes), 0):
            return tokens, True
        num_ctx = NUM_CTX_PATTERN.search(str(shown.get("parameters")))
        # Ollama's own setting of a model, which holds however the model is loaded.
        if num_ctx and int(num_ctx[1]) >= MIN_CONTEXT_TOKENS:
            return int(num_ctx[1]), True
        entry = _entry_of(studio, model)
        # `remote_host`: another host runs the model for Ollama, so its size counts as sure.
        is_loaded = "loaded_context_length" in entry or "remote_host" in shown
        tokens = find_size(entry) or find_size(shown.get("model_info"))
        return tokens if is_loaded else min(tokens, UNLOADED_CONTEXT_TOKENS), is_loaded

    async def _get(self, path: str, body: Json | None = None) -> Json:
        """Ask the model's server at a path where some servers tell the context's size. Return the
        JSON object there; {} if the server has none."""
        try:
            return await (self._client.post(path, body) if body else self._client.get(path))
        except ModelServerFault as fault:
            # A missing key or a busy server says nothing about the path.
            is_of_path = fault.status != 401 and not fault.may_pass
            self._is_refused |= is_of_path and 400 <= fault.status < 500
            return {}


def describe_size(size: ContextSize, tools: Sequence[ToolSpec] | None = None) -> str:
    """Return what the operator should know about a size; "" if it is large enough, and in the table
    of OpenAI's models. `tools` are those that are on; None for all that Ponte has. `needed` is the
    context in which they take no more than their share, rounded up to whole 1,024 tokens."""
    needed = TOOLS_CONTEXT_TOKENS
    # The size is then what the account's rate limit allows at a time. The model itself reads more,
    # so another size of its context, which is what SIZE_SMALL advises, would not help.
    if size.source == "limit":
        return say(SIZE_LIMITED, tokens=format_number(size.tokens))
    if tools is not None:
        # An ANSWER_SHARE-th of the context is for the answer, and FIXED_SHARE of the rest for tools
        # and instructions: 0.6 of three quarters. `fit_request` keeps what is left for messages.
        share = FIXED_SHARE * (ANSWER_SHARE - 1) / ANSWER_SHARE
        needed = -(-int((tool_tokens(tools) + INSTRUCTION_TOKENS) / share) // 1024) * 1024
    if size.tokens < needed:
        return say(SIZE_SMALL, tokens=format_number(size.tokens), needed=format_number(needed))
    if size.source == "table":
        return ""
    sentence = SIZE_ASSUMED if size.source == "assumed" else SIZE_KNOWN
    return say(sentence, tokens=format_number(size.tokens))


def find_size(value: object) -> int:
    """Return the smallest context size (in tokens) that the JSON of a model server names anywhere;
    0 if it names none. The smallest counts, because servers name the size that a model could have
    beside the one with which it is loaded."""
    if isinstance(value, list):
        value = dict(enumerate(value))
    if not isinstance(value, Mapping):
        return 0
    named = (
        read_word(field_value)
        for key, field_value in value.items()
        if SIZE_FIELDS.fullmatch(str(key))
    )
    # `read_word` returns the text of a number too; that of a float is as in "8192.0".
    numbers = (int(float(text)) for text in named if re.fullmatch(r"[0-9]{1,12}(\.0)?", text))
    # A smaller number is not the size of a context.
    sizes = [number for number in numbers if number >= MIN_CONTEXT_TOKENS]
    sizes += filter(None, map(find_size, value.values()))
    return min(sizes, default=0)


def _entry_of(listed: Json, model: str) -> Json:
    # Ollama adds ":latest" to names.
    names = (model, f"{model}:latest")
    for entry in read_models(listed):
        if any(entry.get(key) in names for key in MODEL_NAME_FIELDS):
            return entry
    return {}


def told_size(fault: ModelServerFault, sent: int) -> int:
    """Return the context size in tokens that a refusal names; 0 if it names none that is smaller
    than the request of `sent` tokens: another number would be of something else."""
    found = (n for pattern in TOLD_SIZE_PATTERNS for n in re.findall(pattern, fault.message))
    numbers = (int(number.replace(",", "")) for number in found)
    return next((n for n in numbers if MIN_REQUEST_TOKENS <= n < sent), 0)


def requested_tokens(fault: ModelServerFault) -> int:
    found = REQUESTED_PATTERN.search(fault.message) if fault.is_rate_limited else None
    return int(found[1].replace(",", "")) if found else 0


def told_limit(fault: ModelServerFault, sent: int = 0) -> int:
    """Return the tokens that a rate limit allows at a time, if a request of `sent` tokens can never
    pass it, however long one waits; else 0."""
    is_of_tokens = fault.is_rate_limited and TOKEN_LIMIT_PATTERN.search(fault.message)
    return told_size(fault, requested_tokens(fault) or sent) if is_of_tokens else 0


def shorten_tool(tool: ToolSpec) -> ToolSpec:
    first, *paragraphs = tool.description.split("\n\n")
    parameters = _without_descriptions(tool.parameters)
    return replace(tool, description="\n\n".join([first, *paragraphs[1:]]), parameters=parameters)


def _without_descriptions(schema: Any) -> Any:
    # This makes a request smaller. A property that is named `description` stays.
    if isinstance(schema, list):
        return [_without_descriptions(element) for element in schema]
    if not isinstance(schema, Mapping):
        return schema
    return {
        key: {name: _without_descriptions(subschema) for name, subschema in value.items()}
        if key == "properties"
        else _without_descriptions(value)
        for key, value in schema.items()
        if key != "description"
    }


def tool_tokens(tools: Iterable[ToolSpec]) -> int:
    return sum(16 - -tool.size // 3 for tool in tools)


def fit_request(
    ask: RoundRequest, items: Sequence[Item], room: int, most_items: int
) -> tuple[RoundRequest, Sequence[Item], int]:
    """Return a request and items that fit into `room` tokens together, and their tokens. Raise
    TooLong. The items have at most `most_items` tokens, unless the last message has more.

    Tools and instructions get their share first (`FIXED_SHARE`), or less if the last message needs
    it, but never less than a quarter of the room. The items get the rest."""
    # What of the last turn (the limit 0 keeps it alone) cannot be cut: the person's message and
    # the turn's calls. The note stands in place of earlier turns, if these do not fit.
    fixed_items = [item for item in keep_newest_turns(items, 0) if not is_cuttable(item)]
    message = estimate_tokens([LEFT_OUT_NOTE, *fixed_items])
    ask = fit_tools(ask, items, min(int(room * FIXED_SHARE), max(room - message, room // 4)))
    fixed = tool_tokens(ask.tools) + count_tokens(ask.instructions + ask.preface)
    items = fit_items(items, min(room - fixed, max(most_items, message)))
    return ask, items, fixed + estimate_tokens(items)


def fit_tools(ask: RoundRequest, items: Sequence[Item], most: int) -> RoundRequest:
    """Return the request with tools that fit, together with its instructions, into `most` tokens.

    All of them are shortened if they are too long. If that is not enough, some are left out. Tools
    that the last message names are kept first, then those that the conversation used, then those
    that share the most words with its messages. The instructions list those that are left out, so
    that the model can tell the person to name one.
    """
    room = most - count_tokens(ask.instructions + ask.preface)
    if tool_tokens(ask.tools) <= room:
        return ask
    tools = [shorten_tool(tool) for tool in ask.tools]
    if tool_tokens(tools) <= room:
        return replace(ask, tools=tuple(tools))
    used = {item.name for item in items if item.kind == "call"}
    user_words = _words_of(*(item.text for item in items if item.role == "user"))

    newest = next((item.text for item in reversed(items) if item.role == "user"), "").lower()
    # The patterns have each accent in one character with its letter; a text may have them apart.
    newest = compose_letters(newest)
    beginning = newest[:MAX_COMPARED_CHARACTERS]

    # The tools to keep come first in the order of this key.
    def rank(tool: ToolSpec) -> tuple[bool, int, bool, int]:
        # The words that people have for each part of the tool's name, in three languages.
        parts = [NAME_WORDS.get(part, rf"{part}\w*") for part in tool.name.split("_") if part]
        named = sum(re.search(rf"\b({part})\b", beginning) is not None for part in parts)
        shared = user_words & _words_of(tool.name, tool.description)
        is_called = any(_has_name(newest, name) for name in (tool.name, *tool.names))
        return not is_called, -named, tool.name not in used, -len(shared)

    left_out = [tool.name for tool in tools]
    # The list of names must not take the room that the tools need. Counted in bytes, three to a
    # token, it takes a third of it; but at least 100 bytes, so that the model knows of some tools
    # even if the instructions have taken all the room.
    most_names = max(room, 100)
    room -= count_tokens(_name_left_out(left_out, most_names))
    for tool in sorted(tools, key=rank):
        if (size := tool_tokens([tool])) <= room:
            room -= size
            left_out.remove(tool.name)
    words_left_out = _name_left_out(left_out, most_names)
    chosen = tuple(tool for tool in tools if tool.name not in left_out)
    return replace(ask, tools=chosen, instructions=ask.instructions + words_left_out)


def _name_left_out(names: Sequence[str], most: int) -> str:
    name_list = ", ".join(names)
    if len(name_list) > most:
        name_list = name_list[:most].rpartition(", ")[0] + ", …"
    return SOME_TOOLS_LEFT_OUT.format(names=name_list)


def _has_name(text: str, name: str) -> bool:
    # A person may write "nocodb link". `text` is in lower case.
    pattern = r"[\W_]+".join(re.findall(r"[^\W_]+", name.lower()))
    return pattern != "" and re.search(rf"\b{pattern}(?!-?\w)", text) is not None


def _words_of(*texts: str) -> set[str]:
    return set(re.findall(r"[^\W_]{5,}", " ".join(texts).lower()))


def fit_items(items: Sequence[Item], room: int) -> list[Item]:
    """Return the items that fit into `room` tokens. Raise TooLong if the last message does not fit.

    First, files that do not fit beside the texts, or into half of the room, are described in words.
    Then results and quotes of the last turn are cut to half of the room. Results of earlier turns
    become one line, the oldest first. Then the oldest turns are left out.
    """
    if estimate_tokens(items) <= room:
        return list(items)
    # The index at which the last turn begins.
    last = (find_turn_starts(items) or [0])[-1]
    texts = list(map(describe_files, items))
    # What must not be cut: the last message itself, and the calls of its turn.
    fixed_items = [item for item in texts[last:] if not is_cuttable(item)]
    # Files may take what the texts leave, or half of the room, but never what must not be cut.
    file_room = max(room // 2, room - estimate_tokens(texts))
    file_room = min(file_room, room - estimate_tokens([LEFT_OUT_NOTE, *fixed_items]))
    items = fit_files(items, file_room, file_tokens, math.inf)
    if estimate_tokens(items) <= room:
        return items
    items[last:] = _cut_long_texts(items[last:], room // 2)
    names = {item.call_id: item.name for item in items if item.kind == "call"}
    excess = estimate_tokens(items) - room
    # Only as many results as needed; a line that would be longer than the result is no gain.
    for number, item in enumerate(items[:last]):
        if excess > 0 and item.kind == "output":
            begin, name = " ".join(item.text[:120].split()), names.get(item.call_id, "")
            note = f"[Left out: an earlier result of {name}. It began: {begin}]"
            line = replace(item, text=note if len(note) < len(item.text) else item.text)
            items[number], excess = line, excess - estimate_tokens([item]) + estimate_tokens([line])
    if excess > 0:
        fixed_items = [item for item in items[last:] if not is_cuttable(item)]
        rest = room - estimate_tokens([LEFT_OUT_NOTE, *fixed_items])
        if rest < 0:
            # Which sentence helps depends on whether the person's own message is too long.
            size = sum(count_tokens(item.text) for item in fixed_items if item.kind == "message")
            if room > estimate_tokens([item for item in fixed_items if item.kind == "message"]):
                # The message fits; what the turn's own calls have grown to does not.
                raise TooLong(OUTPUT_LIMIT_REACHED)
            raise TooLong(
                OWN_MESSAGE_TOO_LONG,
                size=format_number(size),
                limit=format_number(max(rest + size, 0)),
            )
        # To half of the room was not enough, so now to what is left beside the turn itself.
        items[last:] = _cut_long_texts(items[last:], rest)
        kept = keep_newest_turns(items, room - estimate_tokens([LEFT_OUT_NOTE]))
        items = [LEFT_OUT_NOTE, *kept] if len(kept) < len(items) else list(kept)
        if estimate_tokens(items) > room:
            raise TooLong(OUTPUT_LIMIT_REACHED)
    return items


def is_cuttable(item: Item) -> bool:
    return item.kind == "output" or item.name == CONTEXT_NAME


def _cut_long_texts(items: Sequence[Item], most: int) -> list[Item]:
    """Results and quotes get at most `most` tokens together, each an equal share. Long ones are
    cut, a result to its beginning and a quote to its end."""
    # All that can be cut.
    texts = [item for item in items if is_cuttable(item)]
    if not texts or estimate_tokens(texts) <= most:
        return list(items)
    share = most // len(texts)

    def cut(item: Item) -> Item:
        """A tool's result keeps its beginning, a message its end, where the person asks for
        something."""
        if not is_cuttable(item) or estimate_tokens([item]) <= share:
            return item
        # The bytes that are left beside the note; 1 token for rounding up.
        size = 3 * (share - estimate_tokens([replace(item, text=REST_LEFT_OUT)]) - 1)
        if size <= 0:
            return replace(item, text=SHORT_LEFT_OUT)  # the longer note has no room
        data = item.text.encode(errors="replace")
        if item.kind == "output":
            return replace(item, text=f"{data[:size].decode(errors='ignore')}\n{REST_LEFT_OUT}")
        return replace(item, text=f"{REST_LEFT_OUT}\n{data[-size:].decode(errors='ignore')}")

    return list(map(cut, items))
