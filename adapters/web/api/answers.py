"""The JSON of answers of the HTTP API. Handlers return it, and `GET /openapi.json` describes it."""

from __future__ import annotations

from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict  # pydantic needs this one below Python 3.12

from core.domain.messages import ChangeAction
from core.feedback.votes import Vote

Json = dict[str, Any]


class ErrorDetail(TypedDict):
    """The code of an error and its words for the reader."""

    code: str
    message: str


class Error(TypedDict):
    """The body of an error."""

    error: ErrorDetail


class OpenAiErrorDetail(TypedDict):
    """An error in the form of OpenAI's API."""

    message: str
    type: str
    param: str | None
    code: str | None


class OpenAiError(TypedDict):
    """The body of an error in the form of OpenAI's API."""

    error: OpenAiErrorDetail


class StoredFile(TypedDict):
    """A file of an answer. `size` is in bytes."""

    name: str
    url: str
    type: str
    size: int


class CardState(TypedDict):
    """A card. `expires_at` and `decided_at` are in seconds since the epoch. Each of `rows` has the
    raw values `before` and `after`, and its `name`, `name_field`, `changes` and `details` in words:
    `details` are fields that only identify the row, with their values in `after`.
    `is_whole`: offer no approval where `text` is cut. `result` is what a call returned, where the
    answer to the decision does not tell it; `text` has its beginning. `seq` is the same for all
    cards of one turn. `plan` is the address of an Excel file with all that an import writes: `rows`
    are samples of it. `conversation` is set in a list of requests if the reader can open it."""

    id: str
    kind: Literal["proposal", "change"]
    title: str
    text: str
    result: str
    rows: list[dict[str, Any]]
    actions: list[ChangeAction]
    label: str
    plan: str
    state: str
    expires_at: float | None
    decided_at: float | None
    is_whole: bool
    revision: int
    seq: int
    conversation: NotRequired[str]


class ShownCard(CardState):
    """`refusal` says why the reader cannot approve it."""

    refusal: str


class WaitingCard(CardState):
    """A card in the list of requests. `platform` is where it was asked for, `table` the title of
    what it changes, `asker` a name ("" for the reader), `asked_at` in seconds since the epoch."""

    platform: str
    table: str
    asker: str
    asked_at: float


class CardFormField(TypedDict):
    """An input of the form of a card. `key` names its value. `row` is the name of its row, "" if
    there is one row. `value` is as a person types it: `2026-11-20`, `true`, or a number in the
    reader's language: `1,234.50`."""

    key: str
    label: str
    type: Literal["text", "lines", "number", "date", "moment", "select", "checkbox"]
    value: str
    options: list[str]
    row: str


class CardForm(TypedDict):
    """The form that changes a proposal. `revision` is that of the proposal that it shows."""

    id: str
    revision: int
    title: str
    fields: list[CardFormField]


class RequestList(TypedDict):
    """The oldest requests that wait for the reader's decision, and how many `more` wait."""

    approvals: list[WaitingCard]
    more: int


class ChatAnswer(TypedDict):
    """An answer. `code` is set if the status is `failed`, `html` if it was asked for, `vote` if the
    answer can be rated, `rerun` if the command `rerun TURN` reads its tables again, `choices` if
    it asks (`choice` of `POST /chat`)."""

    response: str
    conversation: str
    turn: str
    status: Literal["done", "stopped", "failed"]
    files: list[StoredFile]
    cards: list[CardState]
    code: NotRequired[str]
    aloud: NotRequired[bool]
    quiet: NotRequired[bool]
    html: NotRequired[str]
    vote: NotRequired[Vote]
    rerun: NotRequired[bool]
    choices: NotRequired[list[str]]
    error: NotRequired[ErrorDetail]


class DecisionResult(TypedDict):
    """The state of a card after a decision, and the card if it changed; after `again` the card of
    the new request. `change` is the id of the change that it became. `status` is `failed` if
    somebody else changed the card first."""

    id: str
    state: str
    status: Literal["done", "stopped", "failed"]
    text: str
    card: NotRequired[CardState]
    change: NotRequired[str]
    aloud: NotRequired[bool]
    error: NotRequired[ErrorDetail]


class TurnText(TypedDict):
    """A message and its answer. `replaces` is the turn that this one asks again, "" for none."""

    turn: str
    message: str
    text: str
    state: str
    at: float
    replaces: str
    html: NotRequired[str]


class TurnUsage(TypedDict):
    """Tokens of a turn, and their cost in US dollars (null: the price is unknown). `estimated`: the
    model's server reported no counts."""

    turn: str
    input: int
    cached: int
    output: int
    reasoning: int
    cost: float | None
    estimated: bool
    model: str


class StoredVote(TypedDict):
    """The reader's vote on the answer of a turn."""

    turn: str
    vote: Vote


class StopResult(TypedDict):
    """The state of a turn after it was stopped."""

    turn: str
    status: str
    text: str


class CommandInput(TypedDict):
    """An input of a quick command. `type` is text, number, boolean or choice."""

    name: str
    type: str
    required: bool
    choices: list[str]


class QuickCommandEntry(TypedDict):
    """A quick command."""

    slug: str
    title: str
    description: str
    inputs: list[CommandInput]


class QuickCommandList(TypedDict):
    """The quick commands that the reader may run, and the names of the saved questions that they
    may use: the message `show NAME` shows one."""

    commands: list[QuickCommandEntry]
    saved: list[str]


class SavingField(TypedDict):
    """An input of the form that saves a question (`title` is its name, `move` lets its days move:
    "true") or makes an alert. `options`: the labels of a menu by their values."""

    key: str
    type: str
    label: str
    hint: str
    value: str
    required: bool
    options: dict[str, str]


class SavingForm(TypedDict):
    """`save TURN /MOVE TITLE` saves a question, and the values of the other form make an alert:
    `watch TURN VALUE|COMPARISON|EVERY|NOW|LIMIT|TITLE`."""

    fields: list[SavingField]


class SearchExcerpt(TypedDict):
    """A place that a search found, on one line."""

    before: str
    match: str
    after: str


class ListedConversation(TypedDict):
    """A conversation. `at` is its last use in seconds since the epoch, `turn` the newest hit of a
    search."""

    id: str
    title: str
    pinned: bool
    at: float
    turn: NotRequired[str]
    excerpt: NotRequired[SearchExcerpt]


class ConversationList(TypedDict):
    """The reader's conversations."""

    conversations: list[ListedConversation]


class Transcript(TypedDict):
    """A conversation. `messages` are the person's (`role` `user`) and the answers (`assistant`)."""

    conversation: str
    messages: list[dict[str, Any]]
    cards: list[CardState]
    cursor: str


class StatusAnswer(TypedDict):
    """The result of an action. `status` is a fixed English word, `text` a sentence to show."""

    status: str
    text: NotRequired[str]


class Reason(TypedDict):
    """A part that is not ready, and why."""

    name: str
    words: str


class Readiness(TypedDict):
    """The readiness of the process. Only the owner and admins get `reasons`."""

    status: Literal["ready", "not ready"]
    reasons: NotRequired[list[Reason]]


class PartState(TypedDict):
    """The state of one part."""

    name: str
    state: Literal["on", "off", "failing", "checking"]
    words: str


class PartList(TypedDict):
    """The state of each part."""

    parts: list[PartState]


class FirstMessage(TypedDict):
    """A message that the visitor can send as it is."""

    kind: Literal["ask", "change", "chart", "quick", "help", "commands"]
    text: str


class Welcome(TypedDict):
    """Suggestions for the first message, the tables that the visitor may read, and the state of the
    parts, which only admins get. `sample`: the tables are sample tables. `demo`: the demo model
    answers. `connect`: the cards of the setup page that the owner can still fill in here."""

    suggestions: list[FirstMessage]
    sample: bool
    tables: list[str]
    parts: list[PartState]
    demo: bool
    connect: list[str]


class WaitingNotice(TypedDict):
    """A sentence that waits until the visitor closes it. `at` is in seconds since the epoch."""

    id: str
    text: str
    at: float


class Me(TypedDict):
    """The visitor. `person` is their key, `provider` the one that they signed in with. `operates`
    is true for the owner and admins."""

    person: str
    name: str
    provider: str
    owner: bool
    operates: bool
    voice: bool
    models: list[str]
    notices: list[WaitingNotice]


class ApiTokenEntry(TypedDict):
    """An API token. Times are in seconds since the epoch; `expires` is 0 for never. `seen` is the
    day of the last use. `kind` is what it opens: `/v1` ("api"), `/mcp` or `/metrics`. Only the
    answer to its creation contains `token`."""

    id: str
    kind: str
    name: str
    added: float
    expires: float
    seen: str
    expired: bool
    token: NotRequired[str]


class ApiTokenList(TypedDict):
    """The visitor's API tokens."""

    tokens: list[ApiTokenEntry]


class PageWords(TypedDict):
    """The page's sentences by key."""

    locale: str
    words: dict[str, str]


class SignInWay(TypedDict):
    """A provider with which people sign in, and the address that a browser opens for it."""

    label: str
    url: str


class SignInWays(TypedDict):
    """The ways to sign in. `signed_in`: the browser already is."""

    signed_in: bool
    ways: list[SignInWay]


class ModelEntry(TypedDict):
    """A model in the form of OpenAI's API."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class ModelList(TypedDict):
    """The answer to `GET /v1/models`: the models that the person of the request may use."""

    object: Literal["list"]
    data: list[ModelEntry]


class CompletionUsage(TypedDict):
    """The tokens of a turn."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: dict[str, int]
    completion_tokens_details: dict[str, int]


class CompletionMessage(TypedDict):
    """The text of an answer. OpenAI's clients expect the other fields, which are always empty."""

    role: Literal["assistant"]
    content: str
    refusal: None
    annotations: list[dict[str, Any]]


class CompletionChoice(TypedDict):
    """The only choice of an answer. `finish_reason` is `length` if it was cut at a limit."""

    index: Literal[0]
    message: CompletionMessage
    logprobs: None
    finish_reason: Literal["stop", "length"]


class CompletionHead(TypedDict):
    """The fields that an answer of OpenAI's Chat Completions and each piece of it have."""

    id: str
    created: int
    model: str
    service_tier: Literal["default"]
    system_fingerprint: None


class Completion(CompletionHead):
    """An answer in the form of OpenAI's Chat Completions."""

    object: Literal["chat.completion"]
    choices: list[CompletionChoice]
    usage: CompletionUsage
