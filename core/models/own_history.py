"""Levels 2 and 3, where Ponte sends the history itself: the part of a thread that one round sends,
`POST /responses` without storage at the server (the private mode), and `POST /chat/completions`.

A model's server can refuse a request for something in it: its length, a file, calls in a shape that
the server does not take back, or a text. Each refusal leaves more out, and the model reads a note
about it. So the number of requests is bounded, and the next message is answered.
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress

from core.base.errors import TooLong
from core.base.model_faults import ModelServerFault
from core.base.openai import END_EVENT, Json, read_list, read_object, read_objects, read_word
from core.domain.messages import Item, Usage
from core.domain.model_rounds import ModelEvent, RoundRequest, TextWithdrawn
from core.models.answer_reader import (
    CALL_PARTS,
    END_OF_STREAM,
    AnswerReader,
    ModelAnswer,
    classify_end,
    dump_arguments,
    is_same_json,
    read_arguments,
    read_call_id,
    read_text,
)
from core.models.context_size import (
    HISTORY_WINDOW_TOKENS,
    MIN_REQUEST_TOKENS,
    fit_request,
    requested_tokens,
    told_limit,
    told_size,
)
from core.models.model_input import (
    LEFT_OUT_NOTE,
    describe_calls,
    drop_unanswered_turns,
    estimate_max_tokens,
    estimate_tokens,
    keep_newest_turns,
    pair_calls,
)
from core.models.model_server import (
    COMPACT_TOKENS,
    OUTPUT_LIMIT_FIELDS,
    ModelServer,
    is_against_policy,
    is_too_long,
    is_unexplained,
    read_events,
)

CALLS, FAILED_TURNS, FILES, EARLIER_TURNS = 1, 2, 3, 4
"""What is left out, the least loss first."""


class RoundHistory:
    """Chooses which part of the request and of the transcript one round sends, so that it fits into
    the model's context."""

    def __init__(self, server: ModelServer, ask: RoundRequest, most: int = 0) -> None:
        self._server = server
        self._full_request = self.request = ask
        self.model = ask.model or server.options.model
        self.omission = server.omissions.get(ask.thread.id, 0)
        """What else than old turns is left out: 0 for nothing, else `CALLS`, `FAILED_TURNS`,
        `FILES` or `EARLIER_TURNS`, each with those before it."""
        # The most estimated tokens of the whole request, and of its items, unless the last message
        # has more. A refusal lowers both.
        self._most_tokens = math.inf
        self._most_items = most or HISTORY_WINDOW_TOKENS
        self._is_shortened = False
        # Half of a request that was refused as too long, because the server named no size that
        # fits; 0 if none was halved. `on_answer` guesses the size of the context from it.
        self._halved_tokens = 0
        self._estimated_tokens = 0
        # Hashes of files that this round left out after a refusal.
        self._refused_files: set[int] = set()
        self._shown_ids: set[str] = set()

    def choose(self, transcript: Sequence[Item]) -> Sequence[Item]:
        """Raise TooLong if the last message does not fit.

        After refusals, `omission` says what is left out (`CALLS` to `EARLIER_TURNS`, each with
        those before it): first, calls are told in words; then turns without an answer go, then
        files, and at last all turns but the newest. `fit` also sets `request`, with the tools that
        fit.
        """
        items: Sequence[Item] = self._server.input.name_calls(pair_calls(transcript), self.model)
        if self.omission >= EARLIER_TURNS:
            last = keep_newest_turns(items, 0)  # 0 tokens: the last turn alone
            items = [LEFT_OUT_NOTE, *last] if len(last) < len(items) else items
        elif self.omission >= FAILED_TURNS:
            items = drop_unanswered_turns(items)
        # FILES has no branch: `ModelInput` leaves the files out itself (`refused_files`).
        if self.omission:
            with suppress(TooLong):
                return self.fit(describe_calls(items))
            # It is too long. Results can only be cut as items of their own, so they are fitted
            # first and put into words afterwards.
            return describe_calls(self.fit(items))
        return self.fit(items)

    def fit(self, items: Sequence[Item]) -> Sequence[Item]:
        """Cut the items to the model's context, and set `request` (the tools that fit). Raise
        TooLong if the last message does not fit."""
        sizes = self._server.sizes
        # `scale` is the number of tokens that the server counts for one of Ponte's estimate. A
        # refusal lowers `_most_tokens` (the whole request) and `_most_items` (the items in it).
        room = int(min(sizes.of(self.model).room / sizes.scale(self.model), self._most_tokens))
        try:
            self.request, items, self._estimated_tokens = fit_request(
                self._full_request, items, room, self._most_items
            )
        except TooLong:
            # The correction of the estimate may be too large: the next attempt uses a smaller one.
            sizes.doubt_count(self.model)
            raise
        items = self._server.input.fit_files(items)
        self._shown_ids = {file.id for item in items for file in item.files}
        return items

    @property
    def unseen_files(self) -> tuple[str, ...]:
        seen = self._shown_ids - self._server.input.refused_ids
        messages = [item for item in self._full_request.input if item.kind == "message"]
        return tuple(file.name for item in messages for file in item.files if file.id not in seen)

    @property
    def sent_tokens(self) -> int:
        """The tokens of the request as the server probably counts them: Ponte's estimate, corrected
        by earlier counts."""
        return int(self._estimated_tokens * self._server.sizes.scale(self.model))

    def leave_out(self, fault: ModelServerFault, transcript: Sequence[Item], body: Json) -> bool:
        """Leave more out after a refusal. Return whether that changes the request. Raise TooLong if
        the last message does not fit into the size that the server names.

        A request that is too long is shortened. After a refusal without a known reason, one step
        after the other is tried, until one changes the request: the same request would be refused
        again. The steps are `CALLS`, `FAILED_TURNS`, `FILES` and `EARLIER_TURNS`, in this order.
        `omission` is the last one taken, and `choose` builds the request by it."""
        # The tokens that this request reserves for the answer.
        answer = max(body.get(field, 0) for field in OUTPUT_LIMIT_FIELDS)
        before = list(self.choose(transcript))
        # A limit of tokens per minute also counts the tokens that are reserved for the answer.
        if is_too_long(fault) or told_limit(fault, self.sent_tokens + answer):
            return self._shorten(fault, transcript, body, answer)
        # A refusal for a known reason, such as a wrong key, is not cured by leaving anything out.
        steps: Sequence[int] = range(CALLS, EARLIER_TURNS + 1) if is_unexplained(fault) else ()
        if is_against_policy(fault):
            # What the server objects to may stand in earlier turns that it refused, too.
            steps = (FAILED_TURNS,)
        for step in [step for step in steps if step > self.omission]:
            self.omission = step
            # The files of `body` now become lines in words, so the next request differs.
            if step == FILES and self._refuse_files(body):
                return True
            if list(self.choose(transcript)) != before:
                return True
        # Leaving these files out did not help.
        self._server.input.refused_files -= self._refused_files
        return False

    def on_answer(self, usage: Usage | None = None) -> None:
        """Remember what helped, for later requests, and correct the estimate by the server's
        count. If halving the request helped, the server's size is guessed: a third more than the
        half. At most `FAILED_TURNS` is remembered of `omission`: earlier turns are left out only of
        this round, and `refused_files` of `ModelInput` remembers the files."""
        server = self._server
        if self.omission:
            server.omissions[self._full_request.thread.id] = min(self.omission, FAILED_TURNS)
        # 0: nothing was halved. If the half is below the minimum, the request was hardly refused
        # for its size. OpenAI's sizes are in a table, so none is guessed.
        if self._halved_tokens >= MIN_REQUEST_TOKENS and not server.official:
            most = self._halved_tokens * 4 // 3
            server.sizes.record_refusal(self.model, most, is_guess=True)
        elif usage and not usage.is_estimated:
            server.sizes.record_count(self.model, self._estimated_tokens, usage.input)

    def _shorten(
        self, fault: ModelServerFault, transcript: Sequence[Item], body: Json, answer: int
    ) -> bool:
        """Fit the request to the size that the server names, or else to half of itself, once in a
        round. Return whether that changes the request. `answer`: the tokens that are reserved for
        the answer; the server counts them, too."""
        if self._is_shortened:
            return False
        self._is_shortened = True
        before = (list(self.choose(transcript)), self.request)
        sent, server = self.sent_tokens, self._server
        counted = requested_tokens(fault)
        # Of the numbers in the server's words, the size is the first that is smaller than the
        # request and at least MIN_REQUEST_TOKENS.
        if size := told_size(fault, max(counted or sent + answer, MIN_REQUEST_TOKENS)):
            # What the server counted for the request itself corrects the estimate.
            if counted > answer:
                server.sizes.record_count(self.model, self._estimated_tokens, counted - answer)
            # The size that a rate limit names is forgotten after a while.
            server.sizes.record_refusal(self.model, size, is_limit=fault.is_rate_limited)
            # Even with the same items, the next request reserves fewer tokens for its answer.
            return (list(self.choose(transcript)), self.request) != before or answer > 0
        # The request has too many bytes, which are mostly those of files.
        if fault.status == 413 and self._refuse_files(body):
            return True
        # The server names no size: half of what it refused may fit. `fit` obeys the last two of
        # these numbers, and `on_answer` reads the first.
        self._halved_tokens, self._most_items = sent // 2, estimate_tokens(before[0]) // 2
        self._most_tokens = max(self._estimated_tokens // 2, MIN_REQUEST_TOKENS)
        # If the last message alone is too long for that (TooLong), files can still be left out.
        with suppress(TooLong):
            if (list(self.choose(transcript)), self.request) != before:
                return True
        return self._refuse_files(body)

    def _refuse_files(self, body: Json) -> bool:
        file_ids = self._server.input.refuse_files(body)
        self._refused_files |= file_ids
        return bool(file_ids)


RESPONSES_PATH = "/responses"
MAX_OUTPUT_FIELD = "max_output_tokens"
START_EVENTS = ("response.created", "response.queued", "response.in_progress")
END_EVENTS = (
    "response.completed",
    "response.incomplete",
    "response.failed",
    "response.cancelled",
    "response.done",
)


class ResponsesReader(AnswerReader):
    """Reads a Responses stream, or the whole response in place of a stream.

    The text of a refusal is shown like any other text, because it is the model's answer.
    """

    _last: object = None

    def read_event(self, event: Json) -> Sequence[ModelEvent]:
        """Return the events for the turn that listens. Raise ModelServerFault if the server turns
        out not to have this API.

        Events with pieces ("delta") are added as they come. Later events repeat them as a whole
        ("done", then the whole response), from which only what is missing is taken, because some
        servers send one of these alone.
        """
        kind, item = read_word(event.get("type")), read_object(event.get("item"))
        ids = (event.get("output_index"), event.get("item_id"), item.get("id"))
        # Servers number the parts of an answer in one of three ways, or not at all: then it is the
        # last part.
        number: object = next((word for id in ids if (word := read_word(id))), None)
        # An item without a number is a new one, too.
        if number or item:
            self._last = number
        number, part = self._last, event.get("content_index", 0)
        if event is END_EVENT:
            self.finish = self.finish or END_OF_STREAM
        # A gateway that answers with Chat Completions. 404 makes Ponte change to that API.
        elif not kind and "choices" in event:
            raise ModelServerFault("refused", status=404)
        elif kind in START_EVENTS:
            return self.add_start(read_object(event.get("response")))
        elif kind in END_EVENTS or (not kind and "output" in event):
            return self._read_response(read_object(event.get("response")) or event, kind)
        elif kind in ("response.output_text.delta", "response.refusal.delta"):
            return self.add_text(read_text(event.get("delta", event.get("text"))), number, part)
        elif kind in ("response.output_text.done", "response.refusal.done"):
            return self.add_whole_part(event, number, part)
        elif kind == "response.content_part.done":
            return self.add_whole_part(event.get("part"), number, part)
        elif kind == "response.output_text.annotation.added":
            self.add_sources({"annotations": [event.get("annotation")]})
        elif kind == "response.output_item.added" and item.get("type") == "function_call":
            id, name = read_call_id(item, "call_id"), read_word(item.get("name"))
            self.add_call(number, id, name, item.get("arguments"))
        elif kind == "response.function_call_arguments.delta":
            self.add_call(number, arguments=event.get("delta"))
        elif kind == "response.function_call_arguments.done":
            # Repeats the pieces before it; some servers send nothing but this.
            if not any(call.arguments for call in self.calls if call.index == number):
                self.add_call(number, arguments=event.get("arguments"))
        elif kind == "response.output_item.done":
            # A whole message, call or reasoning.
            return self._read_item(item, number)
        return ()

    def _read_response(self, response: Json, kind: str) -> Sequence[ModelEvent]:
        """Take the response that ends a stream, or the whole of one that was not streamed: its
        status, model, usage and output. Return the events for text that was not streamed before."""
        status = read_word(response.get("status")) or kind.removeprefix("response.")
        reason = read_word(read_object(response.get("incomplete_details")).get("reason"))
        # Some servers repeat the status of the first event in the last one.
        self.finish = "stop" if status in ("queued", "in_progress") else status
        # "incomplete" has a reason beside it: a content filter, or a limit of tokens.
        if status == "incomplete":
            self.finish = reason if classify_end(reason) == "filter" else "length"
        elif classify_end(status) == "failed":
            self.error = read_object(response.get("error")) or {"code": status}
        self.has_ended = True
        self.model = read_word(response.get("model"))
        self.add_usage(response.get("usage"))
        # Takes the id of the response, and tells it if no earlier event did.
        events = list(self.add_start(response))
        # Some servers send the text alone.
        output = response.get("output") or response.get("output_text")
        items = read_objects({"content": output} if isinstance(output, str) else output)

        # It takes the place of what was streamed (`take_whole`).
        def read_output() -> Sequence[ModelEvent]:
            pairs = enumerate(items)
            return [event for n, item in pairs for event in self._read_item(item, str(n))]

        return [*events, *self.take_whole(read_output)]

    def _read_item(self, item: Json, number: object) -> Sequence[ModelEvent]:
        """Take a complete item of the response: a message, a call, or encrypted reasoning, which is
        sent back with the next request. `number`: its place in the output. Return the events for
        text that was not streamed before. Items of other types are left out."""
        kind, content = item.get("type", "message"), item.get("content")
        if kind == "message" and item.get("role", "assistant") == "assistant":
            # OpenAI's word for commentary or final answer, which goes back with the message.
            self.phases[number] = read_word(item.get("phase"))
            parts = [content] if isinstance(content, str) else read_list(content)
            pairs = enumerate(parts)
            return [event for n, part in pairs for event in self.add_whole_part(part, number, n)]
        if kind in CALL_PARTS:
            id = read_call_id(item, "call_id", "id")
            # The name and the arguments may be in `function`, as in Chat Completions.
            call = {**item, **read_object(item.get("function"))}
            self.add_whole_call(number, id, read_word(call.get("name")), read_arguments(call))
        # "compaction" is the server's own summary of older items.
        elif kind in ("reasoning", "compaction") and item.get("encrypted_content"):
            self.add_opaque(item)
        return ()


def read_response(response: Json) -> ModelAnswer:
    """Raise ModelServerFault if it failed or was cancelled."""
    reader = ResponsesReader()
    reader.read_event({"type": "response.done", "response": response})
    return reader.read_answer()


class OwnHistoryApi:
    """Asks rounds of an API to which Ponte sends the whole history. Two APIs are derived from it.

    `max_tokens_field` is the field that limits the tokens of the answer, `new_reader` makes the
    reader of an answer.
    """

    path: str
    max_tokens_field: str
    new_reader: type[AnswerReader]

    def __init__(self, server: ModelServer) -> None:
        self._server = server

    async def build_body(self, ask: RoundRequest, items: Sequence[Item]) -> Json:
        raise NotImplementedError

    async def ask(self, ask: RoundRequest) -> AsyncGenerator[ModelEvent, None]:
        """Raise ModelError.

        A lost answer is asked for once more: the server keeps nothing, so a second request costs
        only money.
        """
        # `tries` counts failed attempts by the kind of fault; `payment` reserves the cost of each
        # request and says how many tokens its answer may have (None: no limit).
        server, tries = self._server, Counter[str]()
        transcript = [*await ask.history(), *ask.input]
        history = RoundHistory(server, ask)
        while True:
            items = history.choose(transcript)
            body = server.without_refused_fields(await self.build_body(history.request, items))
            # Limits on spending may allow only a shorter answer.
            if ask.payment and (most := await ask.payment(estimate_max_tokens(body))) is not None:
                # The part of the context that the request leaves.
                room = server.sizes.of(history.model).tokens - history.sent_tokens
                server.limit_output(body, self.max_tokens_field, min(most, room))
            model = body["model"]
            tools = {tool.name: tool.parameters for tool in ask.tools}
            holds_start = model in server.thinking_models
            reader = self.new_reader(tools, holds_start, is_continued=ask.number > 1)
            try:
                async with aclosing(self._events(body, reader)) as events:
                    async for event in events:
                        yield event
                answer = reader.read_answer()
                break
            except ModelServerFault as fault:
                # The text of an answer that broke off is kept: to ask again would pay twice.
                if rescued := reader.rescue(fault):
                    answer = rescued
                    break
                # The next attempt streams the answer from its beginning.
                if reader.has_shown:
                    yield TextWithdrawn()
                if ask.payment and server.is_unpaid(fault, bool(reader.parts)):
                    ask.payment.on_refused_request()
                # Another attempt follows if one of these says so. The first two change what is
                # sent, and the third counts attempts, so that the loop ends.
                if not (
                    server.adapt_to_refusal(fault, body)
                    or history.leave_out(fault, transcript, body)
                    or await server.wait_before_retry(fault, tries)
                ):
                    raise await server.explain_fault(fault) from None
        # This model's answers begin inside a thought, without its opening tag. The next answer is
        # held back until that is clear.
        if any(text.growing.is_unopened for text in reader.texts):
            server.thinking_models.add(model)
        else:
            server.thinking_models.discard(model)
        history.on_answer(answer.usage)
        yield server.complete_round(ask, body, reader.response, answer, history.unseen_files)

    async def _events(self, body: Json, reader: AnswerReader) -> AsyncGenerator[ModelEvent, None]:
        silence = self._server.silence_seconds(body)
        async with aclosing(self._server.client.stream(self.path, body)) as source:
            async for event in read_events(source, silence, lambda: bool(reader.finish)):
                for stream_event in reader.read_event(event):
                    yield stream_event
                if reader.has_ended:
                    return


class ResponsesApi(OwnHistoryApi):
    """Encrypted reasoning arrives with each answer and is sent back with the next question."""

    path = RESPONSES_PATH
    max_tokens_field = MAX_OUTPUT_FIELD
    new_reader = ResponsesReader

    async def build_body(self, ask: RoundRequest, items: Sequence[Item]) -> Json:
        """The server is told to store nothing (`store`), and OpenAI to send its reasoning
        encrypted, so that it can be sent back."""
        input = self._server.input
        # A summary of the server's own (compaction) takes the place of older items.
        input_items = await input.build_items(
            input.drop_compacted(items), preface=ask.preface, with_names=has_other_speakers(ask)
        )
        body = build_response_body(self._server, ask, input_items)
        body["store"] = False
        if self._server.official:
            body["include"] = ["reasoning.encrypted_content"]
        return body


def has_other_speakers(ask: RoundRequest) -> bool:
    return any(person != ask.asker.key for person in ask.thread.participants)


def build_response_body(server: ModelServer, ask: RoundRequest, input: Sequence[Json]) -> Json:
    """The body lacks the fields that say where its history is. Fields that only OpenAI knows are
    sent only to OpenAI: other servers refuse or ignore them. OpenAI compacts a long history itself
    from `compact_threshold` tokens on (half of the room for a request, at most COMPACT_TOKENS), and
    leaves out items rather than to fail (`truncation`)."""
    options = server.options
    body: Json = {
        "model": ask.model or options.model,
        "instructions": ask.instructions,
        "input": list(input),
        "stream": True,
        **server.user_pseudonyms(ask),
    }
    if ask.tools:
        definitions = server.define_tools(ask.tools)
        # `define_tools` sets `strict` only where it is true. Here it is always sent.
        body["tools"] = [
            {"type": "function", "strict": False, **definition} for definition in definitions
        ]
    if effort := server.reasoning_effort(ask):
        body["reasoning"] = {"effort": effort}
    if server.official:
        body["truncation"] = "auto"
        room = server.sizes.of(body["model"]).room // 2
        compaction = {"type": "compaction", "compact_threshold": min(COMPACT_TOKENS, room)}
        body["context_management"] = [compaction]
        # Without the random padding that OpenAI adds to each event of a stream.
        body["stream_options"] = {"include_obfuscation": False}
    return body


FUNCTION_CALL = "function_call"


class ChatCompletionsReader(AnswerReader):
    """Reads the chunks of a chat completion, or the whole one in place of a stream.

    Some servers call the pieces of a chunk `message` instead of `delta`, and repeat the whole
    message at the end. Only the first choice counts.
    """

    _choice = ""

    def read_event(self, event: Json) -> Sequence[ModelEvent]:
        """Add a chunk and return the events that it causes. Raise ModelServerFault for an oversized
        answer.

        `delta` has the next pieces, `message` either pieces (servers that name them so), or the
        whole answer: in place of a stream, or at its end, where it repeats the pieces. Token counts
        come in one of several places. `finish` is the reason for the end."""
        if event is END_EVENT:
            self.finish = self.finish or END_OF_STREAM
            return ()
        self.model = read_word(event.get("model")) or self.model
        groq = read_object(event.get("x_groq"))
        self.add_usage(event.get("usage") or groq.get("usage"))
        self.add_sources(event)
        events = list(self.add_start(event))
        for choice in read_objects(event.get("choices")):
            number = read_word(choice.get("index")) or "0"
            # Ponte asks for one choice. If a server sends several, the first one counts.
            self._choice = self._choice or number
            if number != self._choice:
                continue
            message, delta = read_object(choice.get("message")), read_object(choice.get("delta"))
            finish = read_word(choice.get("finish_reason")).lower()
            self.error = read_object(choice.get("error")) or self.error
            # Some servers put these beside the message instead of into it.
            beside = {"content": choice.get("text"), "tool_calls": choice.get("tool_calls")}
            events += self._read_pieces({**beside, **delta})
            # Perplexity sends the whole message so far with each delta. So a message is taken as
            # the whole answer only where it stands alone, or where the last chunk has one that
            # repeats the pieces (`_is_whole`).
            is_whole = not delta and event.get("object") == "chat.completion"
            if message and (is_whole or (finish and self._is_whole(message))):
                events += self.take_whole(functools.partial(self._read_pieces, message))
            elif message and not delta:
                events += self._read_pieces(message)
            self.add_usage(choice.get("usage"))  # Moonshot
            self.finish = self.finish if finish in ("", "null", "none") else finish
        return events

    def _is_whole(self, message: Json) -> bool:
        """Return whether a message in the last chunk is the whole answer, which repeats the pieces
        before it, or one more piece of it. It is whole if it begins with the text so far, and has
        the calls so far with equal arguments, perhaps more. Taken as a piece, it would double the
        answer."""
        calls = read_calls(message.get("tool_calls"))
        functions = [read_object(call.get("function")) for call in calls]
        is_same = all(
            call.name in ("", function.get("name"))
            and is_same_json(call.arguments, dump_arguments(function.get("arguments")))
            for call, function in zip(self.calls, functions, strict=False)
        )
        return (
            is_same
            and len(self.calls) <= len(calls)
            and self.starts_with_known_text(read_text(message.get("content")))
        )

    def _read_pieces(self, delta: Json) -> Sequence[ModelEvent]:
        """Add the pieces of text and of tool calls in one part of a stream (`delta` or `message`),
        and return the events for the text. Servers name a call's pieces by an index, by an id, or
        not at all. Calls come in `tool_calls`, in the content, or in `function_call`, which is the
        older form."""
        self.add_carried(delta)  # fields to send back, such as a model's thoughts
        self.add_sources(delta)
        events = self.add_text(read_text(delta.get("content")) + read_text(delta.get("refusal")))
        parts = read_objects(delta.get("content"))
        calls = [part for part in parts if part.get("type") in CALL_PARTS]
        calls = [*calls, *read_calls(delta.get("tool_calls"))]
        for number, piece in enumerate(calls):
            function = {**piece, **read_object(piece.get("function"))}
            # Without an index, several calls in one piece count by their order.
            index = read_word(piece.get("index")) or (str(number) if len(calls) > 1 else None)
            name = read_word(function.get("name"))
            call = self.add_call(index, read_call_id(piece, "id"), name, read_arguments(function))
            call.carried |= self.carried_fields(piece)
        # The older form counts only if no call has come in another one.
        function = read_object(delta.get("function_call"))
        if function and all(call.index == FUNCTION_CALL for call in self.calls):
            name = read_word(function.get("name"))
            self.add_call(FUNCTION_CALL, "", name, read_arguments(function))
        return events


class ChatCompletionsApi(OwnHistoryApi):
    """Asks rounds over `POST /chat/completions`, the API that nearly all model servers have."""

    path = "/chat/completions"
    new_reader = ChatCompletionsReader

    def __init__(self, server: ModelServer) -> None:
        super().__init__(server)
        # `max_tokens` is deprecated at OpenAI, and not known to its reasoning models (types of the
        # openai package); others know nothing else.
        self.max_tokens_field = "max_completion_tokens" if server.official else "max_tokens"

    async def build_body(self, ask: RoundRequest, items: Sequence[Item]) -> Json:
        """A server that has refused a system message, or two messages of one role in a row, gets
        neither (`takes_roles`)."""
        server, model = self._server, ask.model or self._server.options.model
        # Carried: what the server wants back with its own items, such as signatures. Names: only if
        # several people write here.
        input = await server.input.build_items(
            items, preface=ask.preface, with_names=has_other_speakers(ask), with_carried=True
        )
        messages = build_chat_messages(ask.instructions, input)
        body: Json = {
            "model": model,
            "messages": messages if server.takes_roles else merge_roles(messages),
            "stream": True,
            "stream_options": {"include_usage": True},
            **server.user_pseudonyms(ask),
        }
        if ask.tools:
            functions = server.define_tools(ask.tools)
            body["tools"] = [{"type": "function", "function": function} for function in functions]
        # gpt-6-luna accepts function tools over this API only without reasoning (its model page).
        # The other models of its family are treated alike.
        takes_none = bool(ask.tools) and model.startswith("gpt-6")
        if effort := "none" if takes_none else server.reasoning_effort(ask):
            body["reasoning_effort"] = effort
        return body


def build_chat_messages(instructions: str, input: Sequence[Json]) -> list[Json]:
    """`input` are items in the form of the Responses API, as `ModelInput` builds them. The only
    system message comes first, because some servers' chat templates demand that."""
    chat: list[Json] = [{"role": "system", "content": instructions}]
    for item in input:
        if item["type"] == "message" and item["role"] == "user":
            chat.append({"role": "user", "content": _message_content(item["content"])})
        elif item["type"] == "message":
            chat.append({"role": "assistant", "content": item["content"]})
        elif item["type"] == "function_call":
            # Calls are a part of the assistant's message; without text, it is empty.
            if chat[-1]["role"] != "assistant":
                chat.append({"role": "assistant", "content": None})
            function = {"name": item["name"], "arguments": item["arguments"]}
            call = {"id": item["call_id"], "type": "function", "function": function}
            carried = item.get("carried", {}).get("call", {})
            chat[-1].setdefault("tool_calls", []).append({**carried, **call})
        elif item["type"] == "function_call_output":
            output = {"tool_call_id": item["call_id"], "content": item["output"]}
            chat.append({"role": "tool", **output})
        # Fields that the server wants back with its message; Ponte's own count more.
        if carried := item.get("carried", {}).get("message"):
            chat[-1] = {**carried, **chat[-1]}
    return chat


def merge_roles(messages: Sequence[Json]) -> list[Json]:
    """Return chat messages without a system message, with one message of a role in a row: some
    chat templates take nothing else. The instructions become the beginning of the first message of
    the person."""
    merged: list[Json] = []
    for message in messages:
        role = "user" if message["role"] == "system" else message["role"]
        last = merged[-1] if merged else {}
        # Each result of a tool keeps its own message, because it answers one call. So does a
        # message without text, which has nothing but calls.
        if role != "tool" and role == last.get("role") and message["content"]:
            parts = [*_as_parts(last["content"]), *_as_parts(message["content"])]
            is_text = all(part["type"] == "text" for part in parts)
            texts = "\n\n".join(part.get("text", "") for part in parts)
            last |= {**message, "role": role, "content": texts if is_text else parts}
        else:
            merged.append({**message, "role": role})
    return merged


def _as_parts(content: str | list[Json] | None) -> list[Json]:
    if isinstance(content, list):
        return content
    return [{"type": "text", "text": content}] if content else []


def read_calls(value: object) -> Sequence[Json]:
    """Servers send a list, one object, or an object of pieces by their numbers."""
    if isinstance(value, dict) and not {"function", "name"} & value.keys():
        return read_objects(list(value.values()))
    return read_objects(value)


def _message_content(parts: Sequence[Json]) -> str | list[Json]:
    # Small servers accept nothing but a plain text.
    if all(part["type"] == "input_text" for part in parts):
        return "\n\n".join(part["text"] for part in parts)
    return [_content_part(part) for part in parts]


def _content_part(part: Json) -> Json:
    if part["type"] == "input_image":
        return {"type": "image_url", "image_url": {"url": part["image_url"], "detail": "auto"}}
    if part["type"] == "input_file":
        named = {"filename": part["filename"], "file_data": part["file_data"]}
        return {"type": "file", "file": named}
    return {"type": "text", "text": part["text"]}
