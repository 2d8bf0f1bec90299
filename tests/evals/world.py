"""One case in a whole Ponte: composed as `ponte run` composes it, in a temporary home."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

from pydantic import ConfigDict, SecretStr

from bot.compose import compose
from bot.config.ponte_toml import AllowanceRule, Config, PriceTable, read_config
from bot.home import Home
from bot.ponte import Ponte
from bot.settings import Settings
from core.domain.messages import (
    ONE_REQUEST_PREFIX,
    Address,
    Answer,
    Attachment,
    Card,
    Message,
    Quote,
    ReplyTo,
    turn_id,
)
from core.domain.model_rounds import ModelEvent, RoundCompleted, RoundRequest
from core.domain.ports import ListTools, Model
from core.domain.records import Health, Remote
from core.integrations import (
    IntegrationDependencies,
    ModelIntegration,
    RecordLateRemote,
    SharedSettings,
    start_nothing,
)
from core.models import MODEL_INTEGRATION, ModelSettings
from tests.evals.case import ADMIN_NAMES, ALLOWED_NAMES, PEOPLE, Case, Step
from tests.evals.doubles import CASE_ZONE, Stage, as_person

OPENAI_KEY_OF_CASES = "sk-of-the-evaluation-0123456789"
"""The API key in the settings of an offline evaluation. No post and no request may contain it."""
_UNCHECKED: dict[str, Any] = {"model_config": ConfigDict(defer_build=True)}
"""No validator is built for the settings of a case, because each case has a class of its own."""
NO_CARD = "aaaaa2"
"""The id in `{card}` and `{change}` before there is a card. No change has it."""


@dataclass(frozen=True, slots=True)
class ModelRound:
    """One round as the model had it. `seconds` is how long its answer took."""

    step: int
    request: RoundRequest
    completed: RoundCompleted
    seconds: float


class RecordingModel:
    """A `Model` that records each round. `step` is the number of the step under way."""

    def __init__(self, model: Model) -> None:
        self.rounds: list[ModelRound] = []
        self.step = 0
        self._model = model

    @property
    def name(self) -> str:
        return self._model.name

    @property
    def level(self) -> str:
        return self._model.level

    async def ask(self, ask: RoundRequest) -> AsyncGenerator[ModelEvent, None]:
        began = time.perf_counter()
        async with aclosing(self._model.ask(ask)) as events:
            async for event in events:
                if isinstance(event, RoundCompleted):
                    took = time.perf_counter() - began
                    self.rounds.append(ModelRound(self.step, ask, event, took))
                yield event

    async def health(self) -> Health:
        return await self._model.health()

    async def erase(self, remote: Remote) -> bool:
        return await self._model.erase(remote)

    async def close(self) -> None:
        await self._model.close()


class RecordingIntegration(ModelIntegration[ModelSettings]):
    """Builds the model of the settings, or takes a scripted one, and records its rounds."""

    name = "model"
    settings = ModelSettings
    model: RecordingModel

    def __init__(self, scripted: Model | None) -> None:
        self._scripted = scripted

    def summary(self, own: ModelSettings, shared: SharedSettings) -> Health:
        return Health(self.name, "on")

    def build(
        self,
        deps: IntegrationDependencies[ModelSettings],
        late: RecordLateRemote,
        list_tools: ListTools,
    ) -> tuple[Model, Callable[[], None]]:
        start = start_nothing
        if self._scripted:
            self.model = RecordingModel(self._scripted)
        else:
            model, start = MODEL_INTEGRATION.build(deps, late, list_tools)
            self.model = RecordingModel(model)
        return self.model, start


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """The model of an evaluation: a scripted one, or the one of `settings`, and its prices.

    `budget` is what one case may cost in US dollars; None for no limit besides those of the case.
    """

    scripted: Model | None = None
    settings: Mapping[str, Any] = field(
        default_factory=lambda: {"openai_api_key": SecretStr(OPENAI_KEY_OF_CASES)}
    )
    prices: PriceTable = field(default_factory=PriceTable)
    budget: float | None = None


@dataclass(frozen=True, slots=True)
class SentStep:
    """The message of a step, and its answer. `cards` are the open cards, as cases name them."""

    message: Message
    answer: Answer
    cards: tuple[str, ...]


class World:
    """A running Ponte with the doubles of one case."""

    def __init__(self, app: Ponte, stage: Stage, model: RecordingModel) -> None:
        self.stage = stage
        self.model = model
        self._engine = app.engine
        self._card = self._change = NO_CARD

    async def send(self, number: int, step: Step) -> SentStep:
        """Send the message of a step, and return once its answer is posted."""
        self.model.step = number
        text = step.say.replace("{card}", self._card).replace("{change}", self._change)
        message = make_message(number, replace(step, say=text))
        inbox = self._engine.conversations.inbox
        answer = await inbox.wait_for_answer((await inbox.accept(message)).seq)
        cards = []
        for card in answer.cards:
            self._change = card.id
            if card.state == "open":
                self._card = card.id
                cards.append(await self._describe_card(card))
        return SentStep(message, answer, tuple(cards))

    async def _describe_card(self, card: Card) -> str:
        """Return an open card as cases name it."""
        draft = (await self._engine.changes.ledger.get(card.id)).draft
        if draft.kind == "schedule":
            row = draft.rows[0].after or {"kind": "delete", "rule": {"cron": ""}}
            return f"schedule {row['kind']} {row['rule']['cron']}"
        return f"{draft.kind} {draft.title} {len(draft.rows)}"

    async def read_audit(self) -> Sequence[Mapping[str, Any]]:
        """Return the lines of the audit log."""
        return (await self._engine.people.audit.read())[0][::-1]

    async def read_cost(self) -> float:
        """Return the cost of the case so far in US dollars, also of quick commands."""
        report = await self._engine.people.budget.report("person", "2000-01-01")
        return sum(line["cost"] or 0.0 for line in report)


@asynccontextmanager
async def open_world(case: Case, choice: ModelChoice, folder: Path) -> AsyncIterator[World]:
    """Run a Ponte for one case in this empty folder, until the block ends."""
    stage = Stage(case, folder)
    model = RecordingIntegration(choice.scripted)
    faces = tuple(stage.faces(model))
    result: type[Settings] = type("CaseSettings", (Settings,), _UNCHECKED | {"faces": faces})
    settings = result.model_construct(
        **choice.settings,
        ponte_home=folder / "home",
        ponte_grace=0.1,
        ponte_web="off",
        ponte_titles="off",
        ponte_timezone=CASE_ZONE,
        ponte_allow=frozenset(ALLOWED_NAMES),
        ponte_admins=frozenset(ADMIN_NAMES),
    )
    home = Home(settings.ponte_home)
    with home.take():
        config = _read_case_config(case, choice, folder, faces)
        with patch("bot.compose.system_user_name", lambda: PEOPLE["owner"].name):
            app = await compose(settings, config, home, now=stage.now)
        try:
            await app.start()
            yield World(app, stage, model.model)
        finally:
            await app.stop()


def make_message(number: int, step: Step) -> Message:
    """Return the message of a step as its platform's adapter would make it."""
    value = PEOPLE[step.who]
    person, key = as_person(value), f"{value.platform}:case:{number}"
    address = _address_of(step)
    files = tuple(
        Attachment(
            name,
            "text/csv" if name.endswith(".csv") else "text/plain",
            len(text.encode()),
            reference=name,
        )
        for name, text in step.files.items()
    )
    return Message(
        key,
        step.say,
        person,
        address,
        ReplyTo(address, person, key, turn_id(key)),
        attachments=files,
        context=tuple(Quote(who, text) for who, text in step.quotes.items()),
        locale=value.locale,
        time_zone=value.zone,
        sent_at=time.time(),
    )


def _address_of(step: Step) -> Address:
    person = PEOPLE[step.who]
    match step.where:
        case "slack":
            return Address("slack", "C1", "T1", "1.0", is_shared=True)
        case "slack-dm":
            return Address("slack", f"D{person.id}", "T1")
        case "discord":
            return Address("discord", "20", "10", person=person.id, is_shared=True)
        case "discord-dm":
            return Address("discord", f"30{person.id}")
        case "v1":
            return Address("web", f"{ONE_REQUEST_PREFIX}1")
        case _:
            return Address(person.platform, "main")


def _read_case_config(
    case: Case, choice: ModelChoice, folder: Path, faces: Sequence[Any]
) -> Config:
    config = Config()
    if case.config:
        path = folder / "ponte.toml"
        path.write_text(case.config, encoding="utf-8")
        config = read_config(path, faces=faces)
    if choice.prices != PriceTable():
        config = replace(config, prices=choice.prices)
    if choice.budget is not None:
        own = AllowanceRule("everybody", "day", money=choice.budget)
        config = replace(config, allowances=(*config.allowances, own))
    return config
