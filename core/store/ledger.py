"""The embedded ledger: proposals, changes and their steps, one transaction a method."""

from __future__ import annotations

from collections.abc import Sequence

from core.errors import Superseded
from core.messages import Person
from core.proposal import Change, ChangeState, Proposal, Step
from core.store import changes
from core.store.database import Connection, Database


class SqliteLedger:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def propose(self, proposal: Proposal) -> Change:
        def write(connection: Connection) -> Change:
            known = changes.of_call(connection, proposal.seq, proposal.call_id)
            if known is None:
                changes.check_generation(connection, proposal)
                return changes.insert(connection, Change(proposal))
            return known

        return await self._database.write(write)

    async def get(self, id: str) -> Change:
        return await self._database.read(lambda c: changes.get(c, id))

    async def claim(self, id: str, seq: int, decider: Person, now: float) -> Change:
        def write(connection: Connection) -> Change:
            change = changes.get(connection, id)
            if change.state == "open" and change.proposal.expires <= now:
                changes.move(connection, id, "expired", ended=now)
            elif change.state == "open":
                changes.move(connection, id, "applying", claim=seq, **_decided(decider, now))
            return changes.get(connection, id)

        return await self._database.write(write)

    async def close(
        self, id: str, state: ChangeState, decider: Person | None, note: str, now: float
    ) -> Change:
        def write(connection: Connection) -> Change:
            change = changes.get(connection, id)
            if change.state == "open":
                by = _decided(decider, now) if decider else {}
                changes.move(connection, id, state, ended=now, **by)
                changes.add_note(connection, change, note)
            return changes.get(connection, id)

        return await self._database.write(write)

    async def release(self, id: str, seq: int) -> None:
        def write(connection: Connection) -> None:
            _claimed(connection, id, seq)
            changes.move(connection, id, "open", claim=0, **changes.decision(None), decided=0.0)

        await self._database.write(write)

    async def undo(self, proposal: Proposal, decider: Person, now: float) -> Change:
        def write(connection: Connection) -> Change:
            original = changes.get(connection, proposal.undoes)
            if original.undone_by:
                return changes.get(connection, original.undone_by)
            begun = changes.insert(
                connection,
                Change(proposal, "applying", decider=decider, decided=now, claim=proposal.seq),
            )
            changes.move(connection, original.id, original.state, undone_by=begun.id)
            return begun

        return await self._database.write(write)

    async def record(self, id: str, seq: int, steps: Sequence[Step]) -> None:
        def write(connection: Connection) -> None:
            changes.put_steps(connection, _claimed(connection, id, seq), steps)

        await self._database.write(write)

    async def finish(self, id: str, seq: int, state: ChangeState, note: str, now: float) -> Change:
        def write(connection: Connection) -> Change:
            change = changes.get(connection, id)
            if change.state == "applying" and change.claim == seq:
                changes.move(connection, id, state, ended=now)
                changes.add_note(connection, change, note)
                if change.proposal.undoes:
                    changes.undone(connection, change, state)
                if change.forgotten:
                    changes.blank(connection, id)
            return changes.get(connection, id)

        return await self._database.write(write)

    async def of_conversation(self, conversation: str, limit: int) -> Sequence[Change]:
        return await self._database.read(lambda c: changes.of_conversation(c, conversation, limit))

    async def undrawn(self) -> Sequence[Change]:
        return await self._database.read(changes.undrawn)

    async def drawn(self, change: Change) -> None:
        await self._database.write(
            lambda c: c.execute(
                "UPDATE changes SET drawn = max(drawn, ?) WHERE id = ?", (change.version, change.id)
            ).close()
        )

    async def overdue(self, now: float) -> Sequence[Change]:
        return await self._database.read(lambda c: changes.overdue(c, now))

    async def abandoned(self) -> Sequence[Change]:
        return await self._database.read(changes.abandoned)

    async def lapse(self, before: float) -> int:
        return await self._database.write(lambda c: changes.lapse(c, before))

    async def purge(self, before: float) -> int:
        return await self._database.write(lambda c: changes.purge(c, before))


def _claimed(connection: Connection, id: str, seq: int) -> Change:
    """Raises Superseded where another event has it, or none."""
    change = changes.get(connection, id)
    if change.state != "applying" or change.claim != seq:
        raise Superseded
    return change


def _decided(decider: Person, now: float) -> dict[str, str | int | float]:
    return {**changes.decision(decider), "decided": now}
