"""The doubles of an evaluation: platforms, tables, quick commands and Python.

Each stands behind the same port as the real one, so that rights, cards, allowances and answers are
Ponte's own. None of them contacts a service.
"""

from __future__ import annotations

import functools
import itertools
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from bot.integrations import FACES
from core.base.errors import Undeliverable
from core.base.splitting import split_text
from core.chat.people import Conversations, People
from core.chat.reply import GrowingReply
from core.domain.changes import DisplayName
from core.domain.messages import (
    Address,
    Answer,
    Attachment,
    Card,
    File,
    Message,
    Person,
    PlaceMessage,
    ReplyTo,
)
from core.domain.ports import AnswerPart, PostJournal, QuickCommands, Reply, StatusBoard
from core.domain.records import Health, ToolContext
from core.integrations import (
    ChatIntegration,
    IntegrationDependencies,
    ModelIntegration,
    OperatorConfig,
    OwnerIntegration,
    RuleNames,
    SettingsPart,
    SharedSettings,
    ToolBundle,
    ToolIntegration,
)
from core.tools.code import CodeSettings
from core.tools.code.local import LOCAL_DESCRIPTION
from core.tools.code.port import InputFile, RunResult
from core.tools.code.source import CodeSource
from core.tools.nocodb import REST_TOOLS
from core.tools.nocodb.source import NocoSource, TableSource
from core.tools.sample.base import Cells, Content, NewRow, SampleApi, SampleDriver, SampleTable
from core.tools.sample.shop import BASE_TITLE, SHOP_TABLES, make_shop
from core.tools.stackspot.client import AgentAnswer, OnProgress, Result, StackSpot
from core.tools.stackspot.source import StackSpotCommands, StackSpotRuns, StackSpotSource
from tests.evals.case import PEOPLE, Case, PersonInCase

POST_CHARACTERS = 4_000
"""Characters of one post on every platform of an evaluation."""
CASE_ZONE = "America/Sao_Paulo"
"""PONTE_TIMEZONE in all cases, and the zone of the sample tables' days."""


Rows = Mapping[str, Mapping[int, Cells]]
"""The stored cells of all rows, by the table's title and the row's id."""


@dataclass(slots=True)
class CasePost:
    """One post: where it is, the texts that it showed one after the other, and its last cards."""

    to: ReplyTo
    texts: list[str]
    cards: Sequence[Card] = ()
    is_private: bool = False
    files: list[str] = field(default_factory=list)


class PostBoard:
    """All posts of a case, on all platforms."""

    def __init__(self) -> None:
        self.posts: dict[str, CasePost] = {}
        self._numbers = itertools.count(1)

    def add(self, post: CasePost) -> str:
        """Record a post and return its id."""
        id = f"p{next(self._numbers)}"
        self.posts[id] = post
        return id

    def texts_of(self, turn: str) -> str:
        """Return the last texts of a turn's posts."""
        return "\n".join(post.texts[-1] for post in self.posts.values() if post.to.turn == turn)

    @property
    def every_text(self) -> str:
        """All texts that were ever shown, also while an answer grew, and the texts of cards."""
        matches = [text for post in self.posts.values() for text in post.texts]
        for post in self.posts.values():
            matches += [f"{card.title}\n{card.text}\n{card.rows}" for card in post.cards]
        return "\n".join(matches)


class BoardSurface:
    """The `Surface` of one reply on a `PostBoard`."""

    limit = POST_CHARACTERS
    interval = 0.0
    arrival_seconds = 0.0
    has_code_button = False

    def __init__(self, board: PostBoard, to: ReplyTo) -> None:
        self._board = board
        self._to = to

    def split(self, text: str) -> tuple[str, ...]:
        return split_text(text, self.limit)

    async def seconds_until_growth(self) -> float:
        return 0.0

    async def show_activity(self, doing: str) -> None:
        return None

    async def end_activity(self) -> None:
        return None

    async def post(self, key: str, part: AnswerPart) -> str:
        post = CasePost(self._to, [part.text])
        _draw(post, part.answer)
        return self._board.add(post)

    async def edit(self, post: str, part: AnswerPart) -> None:
        match = self._board.posts[post]
        match.texts.append(part.text)
        _draw(match, part.answer)

    async def delete(self, post: str) -> None:
        self._board.posts.pop(post, None)

    async def find(self, number: int, key: str) -> str | None:
        return None

    async def upload(self, key: str, files: Sequence[File]) -> str:
        return self._board.add(CasePost(self._to, [""], files=[file.name for file in files]))


def _draw(post: CasePost, answer: Answer | None) -> None:
    if answer:
        post.cards, post.is_private = answer.cards, answer.is_private


class CasePlatform:
    """A platform on which people of the cases write (the port `ChatPlatform`)."""

    find_workspace = None

    def __init__(
        self, name: str, board: PostBoard, conversations: Conversations, files: Mapping[str, str]
    ):
        self.name = name
        self._board = board
        self._conversations = conversations
        self._files = files
        self._people = {each.id: each for each in PEOPLE.values() if each.platform == name}

    def reply(self, to: ReplyTo, posts: PostJournal) -> Reply:
        return GrowingReply(BoardSurface(self._board, to), posts, to.turn)

    async def start(self, *, listens: bool = True) -> None:
        return None

    async def health(self) -> Health:
        return Health(self.name, "on")

    async def stop_intake(self) -> None:
        return None

    async def close(self) -> None:
        return None

    async def fetch(self, message: Message, attachment: Attachment) -> File | None:
        data = self._files[attachment.name].encode()
        return await self._conversations.files.put(
            message.event_key,
            attachment.name,
            attachment.type,
            data,
            message.author,
            message.address.conversation,
        )

    async def look_up(self, message: Message, pointed: bool) -> tuple[Message, Sequence[str]]:
        return message, ()

    async def membership(self, person: Person, max_age: float) -> frozenset[str]:
        return frozenset()

    async def guest(self, person: Person, max_age: float) -> bool:
        return self._people[person.id].is_guest

    async def has_left(self, person: Person, address: object, since: float) -> bool:
        return False

    async def forget(self, ids: frozenset[str]) -> None:
        return None

    async def members(self, names: Collection[str]) -> Sequence[Person]:
        ids = {name.partition(":")[2] for name in names}
        return [as_person(each) for each in self._people.values() if each.id in ids]

    async def can_read(self, person: Person, address: object) -> bool:
        return True

    async def link_to(self, address: object, post: str) -> str:
        return ""

    async def is_public(self, address: object) -> bool:
        return True

    async def may_have_outsiders(self, address: object) -> bool:
        return False

    async def can_write(
        self, person: Person | None, address: object, *, afresh: bool = False
    ) -> bool:
        return True

    async def can_write_to(self, person: Person, other: Person, address: object) -> bool:
        return True

    async def read_messages(
        self, to: ReplyTo, since: float, most: int, after: str = ""
    ) -> tuple[Sequence[PlaceMessage], bool]:
        return (), False

    async def labels(self, names: Collection[str]) -> Mapping[str, DisplayName]:
        values = {
            f"{self.name}:{each.id}": DisplayName(each.name) for each in self._people.values()
        }
        return {name: values[name] for name in names if name in values}

    async def title(self, address: object) -> str:
        return "sales"

    async def open_direct_message(self, person: Person) -> tuple[ReplyTo, str]:
        raise Undeliverable(reason="nobody reads direct messages in an evaluation")

    def destination_in(self, address: Address, person: Person) -> ReplyTo:
        return ReplyTo(address, person, "", "")

    def destination_after(self, to: ReplyTo, post: str = "") -> ReplyTo:
        return to

    def surface(self, to: ReplyTo) -> BoardSurface:
        return BoardSurface(self._board, to)

    async def find_post(self, to: ReplyTo, key: str, text: str) -> None:
        return None

    async def http(
        self, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, Mapping[str, str], bytes]:
        return 404, {}, b""


def as_person(known: PersonInCase) -> Person:
    """Return the person as the author of messages."""
    return Person(known.platform, known.id, known.workspace, known.name)


class CaseChat(ChatIntegration[Any]):
    """A chat platform of the cases, with the rights and ids of the real one."""

    section: type[Any] | None

    def __init__(self, real: ChatIntegration[Any], stage: Stage) -> None:
        self.name, self.settings, self.rights = real.name, real.settings, real.rights
        self.ids, self.place_ids, self.section = real.ids, real.place_ids, real.section
        self._stage = stage

    def is_used(self, own: Any, shared: SharedSettings) -> bool:
        return True

    def summary(self, own: Any, shared: SharedSettings) -> Health:
        return Health(self.name, "on")

    async def build(
        self,
        deps: IntegrationDependencies[Any],
        conversations: Conversations,
        people: People,
        board: StatusBoard,
    ) -> CasePlatform:
        return CasePlatform(self.name, self._stage.board, conversations, self._stage.files)


class CaseOwnerSurface(OwnerIntegration[Any]):
    """The page or the terminal of the cases, with the rights of the real one."""

    def __init__(self, real: OwnerIntegration[Any], stage: Stage) -> None:
        self.name, self.settings, self.rights = real.name, real.settings, real.rights
        self.ids = real.ids
        self._stage = stage

    def is_used(self, own: Any, shared: SharedSettings) -> bool:
        return True

    def summary(self, own: Any, shared: SharedSettings) -> None:
        return None

    async def build(
        self, deps: IntegrationDependencies[Any], conversations: Conversations, *parts: Any
    ) -> CasePlatform:
        return CasePlatform(self.name, self._stage.board, conversations, self._stage.files)


class CaseTables(ToolIntegration[SettingsPart]):
    """The tables of the cases, in a file of the temporary home. The model sees NocoDB's tools."""

    name = "nocodb"
    settings = SettingsPart

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def summary(self, own: SettingsPart, shared: SharedSettings) -> Health:
        return Health(self.name, "on")

    def build(
        self, deps: IntegrationDependencies[SettingsPart], quick: QuickCommands
    ) -> ToolBundle:
        source = CaseTableSource(self._stage.tables, deps.config, self._stage.now)
        return ToolBundle(source, [source.rows])

    def rule_names(self, own: SettingsPart, config: OperatorConfig) -> RuleNames:
        return {"tool": REST_TOOLS}


class CaseBase(SampleApi):
    """The tables of a case, with a look at all of their rows."""

    async def read_rows(self) -> Rows:
        """Return the present rows of all tables."""
        state = await self._read()
        return {
            table.title: {id: row.cells for id, row in state.rows.get(table.id, {}).items()}
            for table in state.tables.values()
        }


class CaseDriver(SampleDriver):
    """Does approved writes to the tables of a case. Cards show them as tables of NocoDB."""

    name = "nocodb"


class CaseTableSource(TableSource):
    """NocoDB's tools over the tables of a case."""

    name = "nocodb"
    description = NocoSource.description

    def __init__(self, api: SampleApi, config: OperatorConfig, now: Callable[[], float]) -> None:
        driver = CaseDriver(api)
        super().__init__(api, driver, drafting=driver, config=config, now=now)


class CaseCommands(ToolIntegration[SettingsPart]):
    """StackSpot in the cases: quick commands return the texts of the case at once."""

    name = "stackspot"
    settings = SettingsPart

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def summary(self, own: SettingsPart, shared: SharedSettings) -> Health:
        return Health(self.name, "on")

    def build(
        self, deps: IntegrationDependencies[SettingsPart], quick: QuickCommands
    ) -> ToolBundle:
        client = self._stage.commands
        quick.connect(StackSpotCommands(client).run)
        source = StackSpotSource(client, quick, deps.config)
        return ToolBundle(source, [StackSpotRuns(client, quick)])

    def rule_names(self, own: SettingsPart, config: OperatorConfig) -> RuleNames:
        return {"tool": ("stackspot_quick_command",), "command": config.quick_commands}


class CaseStackSpot(StackSpot):
    """A StackSpot whose quick commands end at once. `runs` are the slugs that ran, in order."""

    def __init__(self, results: Mapping[str, str]) -> None:
        self.deadline = 10.0
        self.runs: list[str] = []
        self._results = results

    async def check(self) -> None:
        return None

    async def create(
        self, slug: str, input: str | Mapping[str, Any] = "", *, conversation_id: str = ""
    ) -> str:
        self.runs.append(slug)
        return f"run-{len(self.runs)}"

    async def wait(self, execution: str, *, on_progress: OnProgress | None = None) -> Result:
        slug = self.runs[int(execution.removeprefix("run-")) - 1]
        return Result(self._results.get(slug, "Done."), execution)

    async def ask_agent(self, agent: str, prompt: str, *, conversation_id: str = "") -> AgentAnswer:
        self.runs.append(agent)
        return AgentAnswer(self._results.get(agent, ""), conversation_id)

    async def close(self) -> None:
        return None


class CasePython(ToolIntegration[CodeSettings]):
    """The code tool in the cases. No code runs; the case says what is printed."""

    name = "code"
    settings = CodeSettings

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def summary(self, own: CodeSettings, shared: SharedSettings) -> Health:
        return Health(self.name, "on")

    def build(
        self, deps: IntegrationDependencies[CodeSettings], quick: QuickCommands
    ) -> ToolBundle:
        source = CodeSource(self._stage.python)
        return ToolBundle(source, runner=source.runner)

    def rule_names(self, own: CodeSettings, config: OperatorConfig) -> RuleNames:
        return {"tool": ("run_python",)}


class PrintingBackend:
    """A `CodeBackend` that runs nothing and prints a fixed text. `runs` are the codes it got."""

    name: Literal["local"] = "local"
    description = LOCAL_DESCRIPTION

    def __init__(self, printed: str) -> None:
        self.runs: list[str] = []
        self._printed = printed

    def start(self) -> None:
        return None

    async def is_available(self) -> bool:
        return True

    async def run(self, ctx: ToolContext, code: str, given: Sequence[InputFile]) -> RunResult:
        self.runs.append(code)
        return RunResult(printed=self._printed)

    async def forget(self, thread: str) -> None:
        return None

    async def health(self) -> Health:
        return Health("code", "on")

    async def close(self) -> None:
        return None


class Stage:
    """The doubles of one case. `files` are the files that its people attach."""

    def __init__(self, case: Case, folder: Path) -> None:
        self.board = PostBoard()
        self.files = {name: text for step in case.steps for name, text in step.files.items()}
        self.commands = CaseStackSpot(case.results)
        self.python = PrintingBackend(case.python)
        self.now = case.now.timestamp
        self.has_tools = case.has_tools
        tables = [*(SHOP_TABLES if case.shop else ()), *map(_sample_table, case.tables)]
        file = folder / "tables.db"
        self.tables = CaseBase(file, BASE_TITLE, tables, lambda: make_content(case))
        if not case.cells and not case.tables:
            file.write_bytes(_sample_file(case.now))

    def faces(self, model: ModelIntegration[Any]) -> Sequence[Any]:
        """Return the integrations of a Ponte with these doubles and this model."""
        return (
            model,
            *(CaseOwnerSurface(face, self) for face in FACES if isinstance(face, OwnerIntegration)),
            *(CaseChat(face, self) for face in FACES if isinstance(face, ChatIntegration)),
            *((CaseTables(self), CaseCommands(self), CasePython(self)) if self.has_tools else ()),
        )


@functools.cache
def _sample_file(now: datetime) -> bytes:
    """Return the file of the sample tables at that time. To fill one takes 15 ms."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "tables.db"
        SampleApi(file, BASE_TITLE, SHOP_TABLES, lambda: make_shop(CASE_ZONE, now)).reset()
        return file.read_bytes()


def make_content(case: Case) -> Content:
    """Return the rows of a case before it begins."""
    content = dict(make_shop(CASE_ZONE, case.now)) if case.shop else {}
    ids = {each.title: each.id for each in SHOP_TABLES}
    for table in case.tables:
        titles = list(table.fields)
        ids[table.title] = _table_id(table.title)
        content[ids[table.title]] = [
            NewRow(dict(zip(titles, cells, strict=True)), case.now) for cells in table.rows
        ]
    for edit in case.cells:
        rows = list(content[ids[edit.table]])
        rows[edit.id - 1] = replace(
            rows[edit.id - 1], cells={**rows[edit.id - 1].cells, edit.field: edit.value}
        )
        content[ids[edit.table]] = rows
    return content


def _sample_table(table: Any) -> SampleTable:
    fields: list[dict[str, Any]] = [{"id": "c_id", "title": "Id", "type": "ID"}]
    for number, (title, kind) in enumerate(table.fields.items()):
        about: dict[str, Any] = {"id": f"c_{number}", "title": title, "type": kind}
        if not isinstance(kind, str):
            choices = [{"title": each} for each in kind]
            about |= {"type": "SingleSelect", "options": {"choices": choices}}
        fields.append(about)
    return SampleTable(_table_id(table.title), table.title, tuple(fields))


def _table_id(title: str) -> str:
    return "m" + "".join(filter(str.isalnum, title.lower()))
