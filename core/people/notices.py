"""Notices to people, and the outbox that stores them until they are sent: copies of cards for their
approvers, reminders, notices of expiry, and notices to one person.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from core.base.i18n import say
from core.domain.changes import ApprovalNotice, NoticeKind, NoticeStage
from core.domain.messages import Person, ReplyTo, decode_json, encode_json
from core.store.database import (
    SqlConnection,
    SqlRow,
    SqlStore,
    query,
    select_value,
    select_values,
    transaction,
)

LINK_RENEWED, ACCESS_REMOVED = "link-renewed", "access-removed"
"""Kinds of notices whose id is the SHA-256 of the sign-in token that ended."""
SENTENCES: Mapping[str, str] = {
    LINK_RENEWED: (
        "Ponte's owner replaced your sign-in link. The earlier link no longer works, and its "
        "sessions have ended. Your API tokens stay valid."
    ),
    ACCESS_REMOVED: "Ponte's owner removed your access to this page.",
    "api-token-added": (
        "Ponte's owner created an API token for you: {name}. A program that has it can chat as you."
    ),
    "api-token-revoked": (
        "Ponte's owner revoked one of your API tokens: {name}. Programs can no longer use it."
    ),
    "schedule-missed": (
        "The schedule `{schedule}` didn't run on {when}, and it's too late to run it now: Ponte "
        "wasn't running, or the platform didn't confirm who you are. What it does: {what}"
    ),
    "schedule-busy": (
        "The schedule `{schedule}` didn't run on {when}, because its previous run hadn't ended. "
        "What it does: {what}"
    ),
    "schedule-unknown": (
        "The schedule `{schedule}` didn't run on {when}, because the platform didn't report in "
        "time whether you're still a member. What it does: {what}"
    ),
    "schedule-failed": "The schedule `{schedule}` failed on {when}. What it does: {what}",
    "schedule-failures": (
        "The schedule `{schedule}` is paused because several of its runs failed, the last one on "
        "{when}. Check its answers, then resume it. What it does: {what}"
    ),
    "schedule-rights": (
        "The schedule `{schedule}` is paused. When it was due on {when}, its owner no longer "
        "had permission in that channel, or hadn't signed in with their company account for "
        "7 days. What it does: {what}"
    ),
    "schedule-allowance": (
        "The schedule `{schedule}` didn't run on {when}, because a usage limit was reached. It "
        "will run again at its next time. What it does: {what}"
    ),
}
"""The sentence of each kind of notice. A kind is stored, so it keeps its name."""
HIDDEN_TABLE = "a table you can't read here"
"""What a schedule does, for those who may not read its table: the value `what` is ""."""


@dataclass(frozen=True, slots=True)
class PersonNotice:
    """A notice to one person, for example that their sign-in link was replaced. `values` fill the
    sentence of its kind in `SENTENCES`; `created_at` is in seconds since the epoch."""

    id: str
    kind: str
    values: Mapping[str, str]
    created_at: float

    @classmethod
    def new(cls, id: str, kind: str, **values: str) -> PersonNotice:
        """Raise KeyError for an unknown kind or a missing value, instead of storing a notice that
        nobody can read."""
        say(SENTENCES[kind], **values)
        return cls(id, kind, values, time.time())

    @property
    def stored_text(self) -> str:
        """The sentence is made when the person gets the notice, in their language then."""
        return json.dumps({"kind": self.kind, "values": dict(self.values)})

    @classmethod
    def read(cls, id: str, stored_text: str, at: float) -> PersonNotice:
        fields = json.loads(stored_text)
        return cls(id, fields["kind"], fields["values"], at)

    def words(self, escape: Callable[[str], str] = str) -> str:
        """`escape` makes a value safe for the place that shows it. Raise KeyError for a kind that
        only a newer version knows."""
        hidden = {"what": say(HIDDEN_TABLE)}
        values = {k: escape(v or hidden.get(k, "")) for k, v in self.values.items()}
        return say(SENTENCES[self.kind], **values)


_DUE_CONDITIONS: dict[NoticeStage, str] = {
    "asked": "state IN ('open', 'applying') AND state = 'open' AND last_notice = ''",
    "reminded": "state IN ('open', 'applying') AND state = 'open' AND last_notice = 'asked'",
    "escalated": (
        "state IN ('open', 'applying') AND state = 'open' AND last_notice IN ('asked', 'reminded')"
    ),
    "last_hour": (
        "state IN ('open', 'applying') AND state = 'open'"
        " AND last_notice IN ('asked', 'reminded', 'escalated')"
    ),
    "expired": "state = 'expired' AND last_notice <> 'expired' AND last_notice <> 'never'",
}
"""`state IN (...)` repeats the condition of the partial index `changes_open`. SQLite uses a partial
index only if the query contains its condition (sqlite.org/partialindex.html)."""


_NOTICE_COLUMNS = ("change", "kind", "locale", "text", "post", "state", "drawn_version")
PERSON_NOTICE_SECONDS = 90 * 86_400.0
"""How long a notice to a person waits for them. The first one after that time deletes it."""


class Outbox(SqlStore):
    """Notices that Ponte sends without being asked (reminders, copies of cards). Each is stored in
    the table `outbox` before it is posted, so that a crash loses none."""

    async def list_due(self, stage: NoticeStage, before: float) -> Sequence[str]:
        """Return changes (ids) whose people must get this notice next, oldest first: those that
        were proposed, or for `last_hour` expire, before this time."""
        column = "expires_at" if stage == "last_hour" else "created_at"
        sql = (
            f"SELECT id FROM changes WHERE {_DUE_CONDITIONS[stage]} AND {column} < ?"  # noqa: S608 - ours
            " ORDER BY created_at"
        )
        return await self._select(sql, before)

    @transaction
    def record_notices(
        self,
        connection: SqlConnection,
        change: str,
        stage: NoticeStage,
        outgoing: Sequence[ApprovalNotice],
    ) -> None:
        """A person's copy of the card stays if it is stored already."""
        sql = "SELECT conversation FROM changes WHERE id = ?"
        if (conversation := select_value(connection, sql, change)) is None:  # deleted meanwhile
            return
        # The erasure of a conversation takes this lock too, so that none of its texts is stored
        # after it.
        connection.lock_key(conversation)
        due = f"UPDATE changes SET last_notice = ? WHERE id = ? AND {_DUE_CONDITIONS[stage]}"  # noqa: S608 - ours
        # The condition is that the change still needs the notice of this stage, so the UPDATE
        # matches once, and only the first caller stores the notices.
        if connection.execute(due, (stage, change)).rowcount:
            # People are asked again about a changed proposal. Their copies are redrawn.
            sql = "SELECT person FROM outbox WHERE change = ? AND kind = 'copy'"
            have_copies = select_values(connection, sql, change)
            for notice in outgoing:
                if notice.kind != "copy" or notice.person.key not in have_copies:
                    put_notice(connection, notice)

    async def list_unposted(self) -> Sequence[ApprovalNotice]:
        return await self._select_notices("state IN ('new', 'posting') ORDER BY created_at")

    async def list_copies(self, change: str) -> Sequence[ApprovalNotice]:
        return await self._select_notices(
            "change = :change AND kind = 'copy' AND state = 'posted' ORDER BY person", change=change
        )

    async def list_outdated(self, kind: NoticeKind = "copy") -> Sequence[ApprovalNotice]:
        """Posted cards that show an older version of their change must be redrawn; oldest first."""
        return await self._select_notices(
            "kind = :kind AND state = 'posted'"
            " AND drawn_version < (SELECT version FROM changes WHERE id = change) ORDER BY"
            " created_at",
            kind=kind,
        )

    @transaction
    def put(self, connection: SqlConnection, outgoing: ApprovalNotice) -> None:
        """Store the notice. If its change was forgotten meanwhile, store it without its text and
        names.

        A notice of the kind "person" is about no change: its `change` holds an id of its own. Any
        other notice whose change does not exist any more is dropped.
        """
        sql, id = "SELECT conversation FROM changes WHERE id = ?", outgoing.change
        if (conversation := select_value(connection, sql, id)) is None:
            if outgoing.kind == "person":
                put_notice(connection, outgoing)
            return
        # The erasure of a conversation takes this lock too. So the change is erased either before
        # this look or after this transaction, and then with this notice.
        connection.lock_key(conversation)
        reason = select_value(connection, "SELECT erasure_reason FROM changes WHERE id = ?", id)
        put_notice(connection, without_names(outgoing) if reason else outgoing)

    @query
    def list_person_notices(self, connection: SqlConnection, person: str) -> Sequence[PersonNotice]:
        """Return the notices that wait for this person (a key), oldest first."""
        rows = connection.execute(
            "SELECT change, text, created_at FROM outbox WHERE person = ? AND kind = 'person'"
            " AND state = 'new' ORDER BY created_at",
            (person,),
        )
        return [PersonNotice.read(row["change"], row["text"], row["created_at"]) for row in rows]

    async def remove_person_notice(self, person: str, id: str) -> bool:
        sql = "DELETE FROM outbox WHERE change = ? AND kind = 'person' AND person = ?"
        return bool(await self._execute(sql, id, person))

    async def _select_notices(self, where: str, **values: str) -> Sequence[ApprovalNotice]:
        statement = f"SELECT * FROM outbox WHERE {where}"  # noqa: S608 - one of the above
        rows = await self._database.read(lambda c: c.execute(statement, values).fetchall())
        return [_notice_of(row) for row in rows]


def find_copy_recipients(connection: SqlConnection, change: str) -> frozenset[str]:
    """Return the keys of the people to whom a copy of the change's card was posted, or may have
    been."""
    sql = (
        "SELECT person FROM outbox WHERE change = ? AND kind = 'copy'"
        " AND state IN ('posting', 'posted', 'removed')"
    )
    return frozenset(select_values(connection, sql, change))


def put_person_notice(connection: SqlConnection, person: Person, notice: PersonNotice) -> None:
    # Nobody fetched these.
    connection.execute(
        "DELETE FROM outbox WHERE kind = 'person' AND created_at < ?",
        (notice.created_at - PERSON_NOTICE_SECONDS,),
    ).close()
    put_notice(connection, ApprovalNotice(notice.id, "person", person, text=notice.stored_text))


def forget_notices(connection: SqlConnection, change: str) -> None:
    """Posts that have begun still have to be redrawn, without texts and names."""
    connection.execute("DELETE FROM outbox WHERE change = ? AND state = 'new'", (change,))
    for row in connection.execute("SELECT * FROM outbox WHERE change = ?", (change,)).fetchall():
        put_notice(connection, without_names(_notice_of(row)))


def without_names(notice: ApprovalNotice) -> ApprovalNotice:
    person, reply = replace(notice.person, name=""), notice.reply_to
    to = replace(reply, asker=replace(reply.asker, name="")) if reply else None
    return replace(notice, person=person, reply_to=to, text="")


def put_notice(connection: SqlConnection, notice: ApprovalNotice) -> None:
    """Store a notice, in place of an earlier one of its kind about the change to that person. The
    row then keeps its `created_at`, by which notices are sent in order."""
    connection.execute(
        "INSERT INTO outbox (change, kind, person, recipient, reply_to, locale, text, post, state,"
        " drawn_version, created_at) VALUES (:change, :kind, :person, :recipient, :reply_to,"
        " :locale, :text, :post, :state, :drawn_version, :created_at)"
        " ON CONFLICT (change, kind, person) DO UPDATE SET"
        " recipient = excluded.recipient, reply_to = excluded.reply_to, locale = excluded.locale,"
        " text = excluded.text, post = excluded.post, state = excluded.state,"
        " drawn_version = excluded.drawn_version",
        {
            **{name: getattr(notice, name) for name in _NOTICE_COLUMNS},
            "person": notice.person.key,
            "recipient": encode_json(notice.person),
            "reply_to": encode_json(notice.reply_to) if notice.reply_to else "",
            "created_at": time.time(),
        },
    )


def _notice_of(row: SqlRow) -> ApprovalNotice:
    values: dict[str, Any] = {name: row[name] for name in _NOTICE_COLUMNS}
    reply_to = decode_json(ReplyTo, row["reply_to"]) if row["reply_to"] else None
    return ApprovalNotice(person=decode_json(Person, row["recipient"]), reply_to=reply_to, **values)
