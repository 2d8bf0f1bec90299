"""The audit log: a JSON line for each proposal, decision and change, each run that costs, each
refusal and each act of the operator's, only ever appended to.

Who asked, which rule allowed it, who decided, what was done: ids and counts, nothing out of the
rows, nothing that was said. People stand in it by a pseudonym of their own, and who forgets a
person destroys what says whose it is: the lines stay and name nobody. A line may stand twice where
a crash came between the line and the ledger.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

import structlog

from core.domain.changes import WRITTEN, Change, View
from core.domain.errors import AuditRefused, NotStored
from core.domain.messages import Address, Person
from core.runtime.tasks import Tasks

log = structlog.get_logger("audit")
OPERATOR = Person("operator", "")
"""Who sits at the machine and types `ponte …`."""
PATIENCE = 10.0
"""Seconds that lines which are under way are waited for at the end."""
_LONGEST = 200
"""Characters of one fact."""
_ROW_ID = re.compile(r"\d{1,20}|[0-9a-fA-F-]{24,36}|[0-9A-Z]{26}")
KEY = "-"
"""Stands for a row's id that is no number, UUID or ULID: people made it up, an e-mail address, say,
and it is the value of a cell."""
_PEOPLE = ("asker", "decider", "by", "person")
"""Facts that are people."""


@dataclass(frozen=True, slots=True)
class Page:
    """Some lines, oldest first; `next` is where those after them begin, "" at the end."""

    lines: Sequence[str]
    next: str = ""


class Lines(Protocol):
    """Where the lines are kept."""

    @property
    def name(self) -> str:
        """For the operator who has to make room there."""

    async def append(self, line: str) -> None:
        """Durable on return. Raises OSError, NotStored."""

    async def page(self, after: str, wanted: Callable[[str], bool]) -> Page:
        """Some of the lines after that place ("" is the beginning)."""

    async def purge(self, is_old: Callable[[str], bool]) -> int:
        """Drop those at the beginning that are old; how many. Raises OSError, NotStored."""

    async def close(self) -> None: ...


class Keys(Protocol):
    """Who goes by which pseudonym. All raise NotStored."""

    async def of(self, people: Collection[str]) -> Mapping[str, str]:
        """Their pseudonyms by their keys; who has none gets one."""

    async def people(self) -> Mapping[str, str]:
        """Everybody's key by their pseudonym."""

    async def destroy(self, person: str) -> None:
        """Nobody can say any more whose that person's lines are."""


class AuditLog:
    """The `Audit` port. Lines are written one after the other, in the order of the calls."""

    def __init__(
        self, lines: Lines, keys: Keys, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._lines = lines
        self._keys = keys
        self._now = now
        self._one_by_one = asyncio.Lock()
        self._beside = Tasks("audit")

    async def write(
        self, event: str, change: Change, rule: str = "", by: Person | None = None
    ) -> None:
        line = self._begun(event)
        proposal = change.proposal
        line |= {"id": change.id, "undoes": proposal.undoes, "state": change.state,
                 "asker": proposal.asker.key, "decider": _key(change.decider), "by": _key(by),
                 "rule": rule, "place": place(proposal.address), **_done(change)}  # fmt: skip
        await self._durable(line)

    def note(
        self,
        event: str,
        asker: Person,
        address: Address | None = None,
        *,
        person: str = "",
        **facts: str,
    ) -> None:
        self._beside.start(self._noted(self._told(event, asker, address, person, facts)))

    async def tell(
        self, event: str, asker: Person, address: Address | None = None, *, person: str = "",
        **facts: str,
    ) -> None:  # fmt: skip
        """The same as `note`, durable on return. Raises AuditRefused."""
        await self._durable(self._told(event, asker, address, person, facts))

    async def knows(self, person: str) -> bool:
        """Whether lines are that person's, by their key. Raises NotStored."""
        return person in (await self._keys.people()).values()

    async def forget(self, person: str) -> None:
        """Destroy what says whose that person's lines are; nobody can tell any more. Raises
        NotStored."""
        await asyncio.create_task(self._written())
        await self._keys.destroy(person)

    async def read(
        self, after: str = "", *, since: str = "", until: str = "", person: str = "",
        event: str = "",
    ) -> tuple[Sequence[Mapping[str, Any]], str]:  # fmt: skip
        """Some lines, the oldest first, and where the next ones begin ("" at the end), each with
        the keys of those people who were not forgotten.

        `since` and `until` (not itself) are moments as the lines have them; `person` is a key, a
        pseudonym, or `platform:ID`.
        """
        await asyncio.create_task(self._written())
        known = await self._keys.people()
        theirs = [f'"{name}"' for name, key in known.items() if _is(key, person)]
        theirs.append(json.dumps(person))
        said = f'"event": {json.dumps(event)}'

        def wanted(line: str) -> bool:
            at = line[8:37]  # {"at": "2026-11-20T08:30:00.000+00:00"
            return (
                since <= at
                and (not until or at < until)
                and (not event or said in line)
                and (not person or any(name in line for name in theirs))
            )

        page = await self._lines.page(after, wanted)
        read = (_shown(_parsed(line), known) for line in page.lines)
        return [line for line in read if line], page.next

    async def purge(self, before: datetime) -> int:
        """Drop what was written before that moment; how many lines. Raises NotStored."""
        first = before.astimezone(UTC).isoformat(timespec="milliseconds")

        def is_old(line: str) -> bool:
            return str(_parsed(line).get("at", "")) < first  # one that is torn, too

        async with self._one_by_one:
            try:
                return await self._lines.purge(is_old)
            except OSError as error:
                raise NotStored from error

    async def close(self) -> None:
        """What was noted is written first."""
        await self._beside.close(PATIENCE)
        await self._lines.close()

    def _begun(self, event: str) -> dict[str, object]:
        return {"at": self._now().isoformat(timespec="milliseconds"), "event": event}

    def _told(
        self, event: str, asker: Person, address: Address | None, person: str,
        facts: Mapping[str, str],
    ) -> Mapping[str, object]:  # fmt: skip
        line = self._begun(event) | {"asker": asker.key, "person": person}
        line |= {name: value[:_LONGEST] for name, value in facts.items()}
        return line | {"place": place(address) if address else ""}

    async def _durable(self, line: Mapping[str, object]) -> None:
        try:
            await asyncio.create_task(self._kept(line))  # after those that were noted before
        except (OSError, NotStored) as error:
            raise AuditRefused(path=self._lines.name, cause=_cause(error)) from None

    async def _kept(self, line: Mapping[str, object]) -> None:
        """Raises OSError, NotStored."""
        async with self._one_by_one:
            people = {str(line[name]) for name in _PEOPLE if ":" in str(line.get(name, ""))}
            known = await self._keys.of(people) if people else {}
            await self._lines.append(json.dumps(_shown(line, known)))

    async def _written(self) -> None:
        """Once all that was told until now is."""
        async with self._one_by_one:
            pass

    async def _noted(self, line: Mapping[str, object]) -> None:
        try:
            await self._kept(line)
        except (OSError, NotStored) as error:
            log.error("audit log refused", event_lost=line["event"], why=_cause(error))


def is_old(line: str) -> bool:
    """Whether it is of a Ponte that named people by their own keys."""
    return '"conversation": "' in line


async def renamed(lines: Sequence[str], keys: Keys) -> list[str]:
    """The same lines; old ones as they are written now. Raises NotStored."""
    read = {line: _parsed(line) for line in lines if is_old(line)}
    named = ((one.get("asker", ""), one.get("decider", "")) for one in read.values())
    people = {person for both in named for person in both if ":" in person}
    known = await keys.of(people) if people else {}
    return [json.dumps(_renewed(read[line], known)) if line in read else line for line in lines]


def _renewed(old: Mapping[str, Any], known: Mapping[str, str]) -> Mapping[str, Any]:
    """Who read a conversation that an old line names is not known any more: its platform stays."""
    view = View.of(old.get("target", {}))
    line = {
        "at": old.get("at", ""), "event": old.get("event", ""), "id": old.get("id", ""),
        "undoes": old.get("undoes", ""), "state": old.get("state", ""),
        "asker": old.get("asker", ""), "decider": old.get("decider", ""),
        "place": str(old.get("conversation", "")).partition(":")[0],
        "system": old.get("system", ""), "kind": old.get("kind", ""), "table": view.table_id,
        "command": view.slug, "rows": old.get("rows", 0), "written": _ids(old.get("written", [])),
        "unknown": old.get("unknown", []),
    }  # fmt: skip
    return _shown(line, known)


def place(address: Address) -> str:
    """Where it was, as others know the place. Whom a direct conversation is with stays out: its
    platform tells that by the channel's id."""
    parts = [address.platform, address.workspace]
    parts += [address.channel, address.thread] if address.shared else ["direct"]
    return ":".join(filter(None, parts))


def _done(change: Change) -> Mapping[str, object]:
    draft, view = change.draft, change.draft.view
    return {
        "system": draft.applier, "kind": draft.kind, "table": view.table_id,
        "command": view.slug, "rows": len(change.steps),
        "written": _ids(step.write.id for step in change.steps if step.state in WRITTEN),
        "unknown": [step.number for step in change.steps if step.state == "unknown"],
    }  # fmt: skip


def _ids(written: Iterable[str]) -> list[str]:
    return [id if _ROW_ID.fullmatch(id) else KEY for id in written]


def _key(person: Person | None) -> str:
    return person.key if person else ""


def _is(key: str, person: str) -> bool:
    """Whether `person` means them; the workspace may be left out."""
    parts = key.split(":")
    return person in (key, f"{parts[0]}:{parts[-1]}")


def _parsed(line: str) -> Mapping[str, Any]:
    try:
        read: Mapping[str, Any] = json.loads(line)
    except ValueError:
        return {}  # torn, when the machine went down
    return read


def _shown(line: Mapping[str, object], known: Mapping[str, str]) -> Mapping[str, Any]:
    """What is in it, people by the names that are `known` for them."""
    return {
        name: known.get(str(value), value) if name in _PEOPLE else value
        for name, value in line.items()
        if value not in ("", 0, [])
    }


def _cause(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
