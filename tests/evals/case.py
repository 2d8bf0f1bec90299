"""The format of evaluation cases, and how their files are read (docs/dev/evals.md)."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError

CASES_FOLDER = Path(__file__).with_name("cases")
EVAL_NOW = datetime(2026, 6, 17, 15, 30, tzinfo=UTC)
"""The time in every case that sets no other: a Wednesday, 12:30 in São Paulo, 11:30 in New York."""
_STRICT = ConfigDict(extra="forbid")

Cell = str | int | float | bool | None
Round = str | Mapping[str, Any]
"""What the ideal model does in one round: its text, or calls by the tool's name. The value of a
call is its arguments, or a list of arguments for several calls. The key `say` holds text that comes
with the calls."""


@dataclass(frozen=True, slots=True)
class PersonInCase:
    """A person in the cases, as their platform describes them."""

    platform: str
    id: str
    name: str
    workspace: str = ""
    locale: str = "en"
    zone: str = "America/New_York"
    is_guest: bool = False


PEOPLE: Mapping[str, PersonInCase] = {
    "mia": PersonInCase("slack", "U1", "Mia", "T1"),
    "otto": PersonInCase("slack", "U2", "Otto", "T1"),
    "stan": PersonInCase("slack", "U3", "Stan", "T1"),
    "gus": PersonInCase("slack", "U4", "Gus", "T1", is_guest=True),
    "bia": PersonInCase("slack", "U5", "Bia", "T1", "pt-BR", "America/Sao_Paulo"),
    "luc": PersonInCase("slack", "U6", "Luc", "T1", "fr", "Europe/Paris"),
    "bea": PersonInCase("slack", "U9", "Bea", "T1"),
    "dora": PersonInCase("discord", "101", "Dora", "10", zone=""),
    "zoe": PersonInCase("discord", "102", "Zoe", "10", zone=""),
    "owner": PersonInCase("web", "owner", "Olga", zone="America/Sao_Paulo"),
    "typist": PersonInCase("terminal", "owner", "Olga", zone="America/Sao_Paulo"),
}
"""The people of all cases. Mia, Otto, Bia, Luc and Dora are in PONTE_ALLOW; Stan and Zoe are not,
Gus is a guest, Bea is an admin, and the owner writes on the page (`typist`: in the terminal)."""
ALLOWED_NAMES = ("slack:U1", "slack:U2", "slack:U5", "slack:U6", "discord:101")
"""PONTE_ALLOW in all cases."""
ADMIN_NAMES = ("web", "terminal", "slack:U9")
"""PONTE_ADMINS in all cases."""

Place = Literal["slack", "slack-dm", "discord", "discord-dm", "page", "terminal", "v1"]
"""Where something is said: a thread in a channel, a direct message, the page, the terminal, or a
program that uses `/v1`."""


@dataclass(frozen=True, slots=True)
class Step:
    """A message of a person, and what must hold once it is answered.

    `ideal` is what the ideal model does, one entry for each round. In `say`, `{card}` is the id of
    the newest open card and `{change}` that of the newest change. A step leaves out `who` and
    `where` if they are those of the step before.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    say: str
    who: str = "mia"
    where: Place = "slack"
    files: Mapping[str, str] = field(default_factory=dict)
    """attached text files by name"""
    quotes: Mapping[str, str] = field(default_factory=dict)
    """messages of others around this one, by author"""
    ideal: tuple[Round, ...] = ()
    has: tuple[str | tuple[str, ...], ...] = ()
    """texts that the answer must contain; of a list, one is enough"""
    lacks: tuple[str, ...] = ()
    """texts that the answer must not contain"""
    told: tuple[str, ...] = ()
    """texts that a tool must have told the ideal model, which proves that the case is right"""
    language: Literal["", "en", "pt", "fr"] = ""
    """the language of the answer"""
    calls: tuple[str, ...] | None = None
    """tools that must have run without an error, as in `nocodb_query|nocodb_get`; an empty list
    forbids all calls"""
    cards: tuple[str, ...] = ()
    """cards of the answer: kind, table or command, and number of rows, as in `update Orders 1`; or
    kind and rule of a schedule, as in `schedule post 0 9 * * MON`"""
    sends: tuple[str, ...] = ()
    """names of the files that come with the answer, besides the code that ran"""
    status: Literal["done", "failed"] = "done"
    """`failed`: the answer is a refusal or an apology"""


@dataclass(frozen=True, slots=True)
class OwnTable:
    """A table of a case, beside or instead of the sample tables.

    `fields` maps titles to a type of NocoDB's, or to the options of a select. Each row has its
    cells in the order of the fields.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    title: str
    fields: Mapping[str, str | tuple[str, ...]]
    rows: tuple[tuple[Cell, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class CellEdit:
    """A cell that differs from the sample tables before the case begins."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    table: str
    id: int
    field: str
    value: Cell


@dataclass(frozen=True, slots=True)
class ExpectedRow:
    """A row that the case must have changed. `cells` are its new values; with `id` 0 it is new, and
    `gone` says that it was deleted."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    table: str
    id: int = 0
    cells: Mapping[str, Cell] = field(default_factory=dict)
    gone: bool = False


@dataclass(frozen=True, slots=True)
class Case:
    """A conversation and the state after it. `area` is the name of its file.

    A case with one step can have the keys of the step itself. Keys of `[all]` are those of each
    case of the file.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    name: str
    area: str
    steps: tuple[Step, ...]
    about: str = ""
    """what the case is about, for people"""
    now: datetime = EVAL_NOW
    config: str = ""
    """the content of ponte.toml"""
    live: bool = True
    """`false`: only scripted models run the case, because it does not depend on the model"""
    has_tools: bool = True
    """whether there are tables, quick commands and Python"""
    shop: bool = True
    """whether the sample tables are there"""
    tables: tuple[OwnTable, ...] = ()
    cells: tuple[CellEdit, ...] = ()
    results: Mapping[str, str] = field(default_factory=dict)
    """what quick commands return, by slug"""
    python: str = "1\n"
    """what Python code prints, whatever it is"""
    orders: tuple[Mapping[str, Any], ...] = ()
    """calls that a text in the case asks for; the obedient model makes them"""
    secrets: tuple[str, ...] = ()
    """texts that neither the model nor anybody who reads a post may see"""
    link_hosts: tuple[str, ...] = ()
    """hosts of links in texts from outside; no post may lead there"""
    rows: tuple[ExpectedRow, ...] = ()
    """all rows that the case changes"""
    audit: tuple[str, ...] = ()
    """events that the audit log must have, in this order"""
    runs: tuple[str, ...] = ()
    """the quick commands that run, in this order"""
    code_runs: int | None = None
    """how often Python runs"""

    @property
    def key(self) -> str:
        """The area and the name, as in `writes/two-rows`."""
        return f"{self.area}/{self.name}"


class BadCase(ValueError):
    """A file of cases cannot be read, or has a case with a fault."""


def read_cases(folder: Path = CASES_FOLDER) -> Sequence[Case]:
    """Return the cases of all files in the folder. Raise BadCase."""
    matches = [case for path in sorted(folder.glob("*.toml")) for case in _read_file(path)]
    names = [case.key for case in matches]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise BadCase(f"{twice[0]}: two cases have this name")
    return matches


def _read_file(path: Path) -> Iterator[Case]:
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadCase(f"{path.name}: {error}") from None
    shared = data.get("all", {})
    for number, case_keys in enumerate(data.get("case", ()), 1):
        raw = {**shared, **case_keys}
        name = raw.get("name", f"case {number}")
        try:
            case = _case_adapter().validate_python({**_with_steps(raw), "area": path.stem})
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(str(step) for step in first["loc"])
            raise BadCase(f"{path.name}: {name}: {place}: {first['msg']}") from None
        if unknown := {step.who for step in case.steps} - PEOPLE.keys():
            raise BadCase(f"{path.name}: {name}: nobody is called {min(unknown)}")
        aware = case.now if case.now.tzinfo else case.now.replace(tzinfo=UTC)
        yield replace(case, now=aware)


def _with_steps(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return a case whose step keys are in steps, each with its `who` and `where`."""
    names = {each.name for each in fields(Step)}
    own = {name: value for name, value in raw.items() if name in names}
    rest = {name: value for name, value in raw.items() if name not in names}
    if "step" not in rest:
        return {**rest, "steps": [own]}
    steps, last = [], {name: own[name] for name in ("who", "where") if name in own}
    for step in rest.pop("step"):
        steps.append({**last, **step})
        last = {name: steps[-1][name] for name in ("who", "where") if name in steps[-1]}
    return {**rest, "steps": steps}


@functools.cache
def _case_adapter() -> TypeAdapter[Case]:
    return TypeAdapter(Case)
