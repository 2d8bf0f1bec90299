"""The audit log: an append-only list of JSON lines.

A line records a proposal, a decision, a change, a run that costs money, a refusal, or an action of
the operator. It contains ids and counts: who asked, which rule allowed it, who decided, and what
was done. It never contains values of rows or texts of messages.

People appear under a pseudonym that only the audit log uses. Forgetting a person destroys the link
to the pseudonym: the lines remain, but no longer identify anybody. A line can occur twice after a
crash between the line and the ledger.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

import structlog

from core.base.errors import AuditRefused, NotStored
from core.base.tasks import BackgroundTasks
from core.domain.changes import WRITTEN_STATES, Change
from core.domain.messages import Address, Person

log = structlog.get_logger("audit")
OPERATOR = Person("operator", "")
"""The person who runs `ponte …` commands on the machine."""
AUDIT_CLOSE_SECONDS = 10.0
"""Seconds that `close` waits for pending lines."""
_MAX_FACT_CHARACTERS = 200
"""Maximum characters of one fact."""
_ROW_ID = re.compile(r"\d{1,20}|[0-9a-fA-F-]{24,36}|[0-9A-Z]{26}")
HIDDEN_ROW_ID = "-"
"""Replaces the id of a row that is not a number, UUID or ULID.

Such an id is made up by people, for example an e-mail address, and is the value of a cell.
"""
PERSON_FACTS = ("asker", "decider", "undo_asker", "person")
"""Facts that hold the key of a person."""


@dataclass(frozen=True, slots=True)
class AuditPage:
    """A page of lines, oldest first. `next` is the start of the next page, or "" at the end."""

    lines: Sequence[str]
    next: str = ""


class AuditLines(Protocol):
    """The storage of audit lines."""

    @property
    def name(self) -> str:
        """The location, shown to an operator who has to make room there."""

    async def append(self, line: str) -> None:
        """Store a line; it is durable on return. Raises OSError, NotStored."""

    async def page(self, after: str, is_wanted: Callable[[str], bool]) -> AuditPage:
        """Return some of the wanted lines after that position ("" is the beginning)."""

    async def purge(self, is_old: Callable[[str], bool]) -> int:
        """Delete the old lines at the beginning. Return how many. Raises OSError, NotStored."""

    async def close(self) -> None:
        """Write the remaining lines and release the storage."""


class Pseudonyms(Protocol):
    """The mapping of people to their pseudonyms. All methods raise NotStored."""

    async def assign(self, people: Collection[str]) -> Mapping[str, str]:
        """Return the pseudonyms by person key. Create those that are missing."""

    async def list_people(self) -> Mapping[str, str]:
        """Return all person keys by pseudonym."""

    async def destroy(self, person: str) -> None:
        """Delete the link between a person and their pseudonym.

        Nobody can identify the person's lines afterwards.
        """


class Audit:
    """The audit log of an installation.

    Lines are written one by one, in the order of the calls.
    """

    def __init__(
        self,
        lines: AuditLines,
        keys: Pseudonyms,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._lines = lines
        self._keys = keys
        self._now = now
        self._lock = asyncio.Lock()
        self._background = BackgroundTasks("audit")

    async def write(
        self, event: str, change: Change, rule: str = "", undo_asker: Person | None = None
    ) -> None:
        """Append a line about a change; it is durable on return. Raises AuditRefused."""
        line = self._start_line(event)
        proposal, draft, view = change.proposal, change.draft, change.draft.view
        # The place of a post is a channel (`slack:T1:C1`) or a person, who is left out.
        channel = view.place if view.place.count(":") == 2 else ""
        written = [step.write.id for step in change.steps if step.state in WRITTEN_STATES]
        line |= {
            "change": change.id,
            "undone_change": proposal.undone_change,
            "state": change.state,
            "asker": proposal.asker.key,
            "decider": _key_of(change.decider),
            "undo_asker": _key_of(undo_asker),
            "rule": rule,
            "place": place_of(proposal.address),
            **_program_fact(proposal.asker),
            "system": draft.applier,
            "kind": draft.kind,
            "table": view.table_id or channel,
            "command": view.slug,
            "row_count": len(change.steps),
            "written_row_ids": [id if _ROW_ID.fullmatch(id) else HIDDEN_ROW_ID for id in written],
            "unknown_rows": [step.number for step in change.steps if step.state == "unknown"],
        }
        await self._write_durably(line)

    def note(
        self,
        event: str,
        asker: Person,
        address: Address | None = None,
        *,
        person: str = "",
        **facts: str,
    ) -> None:
        """Append a line in the background. A failure is only logged."""
        self._background.start(
            self._append_or_log(self._note_line(event, asker, address, person, facts))
        )

    async def write_note(
        self, event: str, asker: Person, address: Address | None = None, *, person: str = "",
        **facts: str,
    ) -> None:  # fmt: skip
        """Append a line with the facts of `note`; it is durable on return. Raises AuditRefused."""
        await self._write_durably(self._note_line(event, asker, address, person, facts))

    async def forget(self, person: str) -> None:
        """Destroy the link between the person (a key) and their lines.

        Waits for pending lines first, because a line could create a pseudonym again. Raises
        NotStored.
        """
        await asyncio.create_task(self._wait_for_pending())
        await self._keys.destroy(person)

    async def read(
        self, after: str = "", *, since: str = "", until: str = "", person: str = "",
        event: str = "",
    ) -> tuple[Sequence[Mapping[str, Any]], str]:  # fmt: skip
        """Return a page of lines, oldest first, and the start of the next page ("" at the end).

        Pseudonyms are replaced by person keys, except for forgotten people. `since` (inclusive) and
        `until` (exclusive) are moments in the format of the lines. `person` is a key, a pseudonym,
        or `platform:ID`. Raises NotStored.
        """
        await asyncio.create_task(self._wait_for_pending())
        known = await self._keys.list_people()
        theirs = [f'"{name}"' for name, key in known.items() if _is_same_person(key, person)]
        theirs.append(json.dumps(person))
        said = f'"event": {json.dumps(event)}'

        def is_wanted(line: str) -> bool:
            # The time has a fixed place: {"at": "2026-11-20T08:30:00.000+00:00"
            at = line[8:37]
            return (
                since <= at
                and (not until or at < until)
                and (not event or said in line)
                and (not person or any(name in line for name in theirs))
            )

        page = await self._lines.page(after, is_wanted)
        read = (_replace_people(_parse_line(line), known) for line in page.lines)
        return [line for line in read if line], page.next

    async def purge(self, before: datetime) -> int:
        """Delete the lines written before that moment. Return how many. Raises NotStored."""
        first = before.astimezone(UTC).isoformat(timespec="milliseconds")

        def is_old(line: str) -> bool:
            # An incomplete line has no time, and counts as old.
            return str(_parse_line(line).get("at", "")) < first

        async with self._lock:
            try:
                return await self._lines.purge(is_old)
            except OSError as error:
                raise NotStored from error

    async def close(self) -> None:
        """Write the pending lines, waiting up to `AUDIT_CLOSE_SECONDS`, and close the storage."""
        await self._background.close(AUDIT_CLOSE_SECONDS)
        await self._lines.close()

    def _start_line(self, event: str) -> dict[str, object]:
        return {"at": self._now().isoformat(timespec="milliseconds"), "event": event}

    def _note_line(
        self, event: str, asker: Person, address: Address | None, person: str,
        facts: Mapping[str, str],
    ) -> Mapping[str, object]:  # fmt: skip
        line = self._start_line(event) | {"asker": asker.key, "person": person}
        line |= {name: value[:_MAX_FACT_CHARACTERS] for name, value in facts.items()}
        return line | {"place": place_of(address) if address else "", **_program_fact(asker)}

    async def _write_durably(self, line: Mapping[str, object]) -> None:
        try:
            # Tasks start in the order of their creation. As a task, this line comes after the lines
            # of earlier `note` calls.
            await asyncio.create_task(self._append(line))
        except (OSError, NotStored) as error:
            raise AuditRefused(path=self._lines.name, cause=_cause_of(error)) from None

    async def _append(self, line: Mapping[str, object]) -> None:
        """Replace people by pseudonyms and store the line. Raises OSError, NotStored."""
        async with self._lock:
            people = {str(line[name]) for name in PERSON_FACTS if ":" in str(line.get(name, ""))}
            known = await self._keys.assign(people) if people else {}
            await self._lines.append(json.dumps(_replace_people(line, known)))

    async def _wait_for_pending(self) -> None:
        """Wait until all lines noted so far are written."""
        async with self._lock:
            pass

    async def _append_or_log(self, line: Mapping[str, object]) -> None:
        try:
            await self._append(line)
        except (OSError, NotStored) as error:
            log.error(
                "could not write to the audit log", lost_event=line["event"], error=_cause_of(error)
            )


def _program_fact(asker: Person) -> Mapping[str, str]:
    """Return the id of the API token with which a program acts for the asker."""
    return {"api_token": asker.api_token} if asker.api_token else {}


def place_of(address: Address) -> str:
    """Return the place of an event as `platform:workspace:channel:thread`.

    A direct conversation becomes `platform:workspace:direct`, because the id of the channel would
    reveal the other person.
    """
    parts = [address.platform, address.workspace]
    parts += [address.channel, address.thread] if address.is_shared else ["direct"]
    return ":".join(filter(None, parts))


def _key_of(person: Person | None) -> str:
    return person.key if person else ""


def _is_same_person(key: str, person: str) -> bool:
    """Return True if `person` is this key, with or without its workspace."""
    parts = key.split(":")
    return person in (key, f"{parts[0]}:{parts[-1]}")


def _parse_line(line: str) -> Mapping[str, Any]:
    try:
        read: Mapping[str, Any] = json.loads(line)
    except ValueError:
        return {}  # incomplete, because the machine went down
    return read


def _replace_people(line: Mapping[str, object], known: Mapping[str, str]) -> Mapping[str, Any]:
    """Return the line with people replaced by their entry in `known`, and without empty values."""
    return {
        name: known.get(str(value), value) if name in PERSON_FACTS else value
        for name, value in line.items()
        if value not in ("", 0, [])
    }


def _cause_of(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
