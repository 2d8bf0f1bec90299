"""Nobody is joined with an account of the page, or with an account of another provider, by a name
or an e-mail address: only the key says who a person is."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import quote

from core.base.errors import NotFound, Refusal
from core.domain.messages import Person
from core.people.audit import audit_step
from core.people.rules import OIDC_PLATFORM
from core.store.database import SqlConnection, SqlRow, SqlStore, query, transaction
from core.store.remembered import read_text, write_text
from core.store.tables import TableDeclaration, real, text

SIGN_INS_TABLE = TableDeclaration(
    name="sign_ins",
    whose="person",
    section="sign_in",
    seen_at="first_at",
    contents="people who sign in to the page with Slack or their company's account: name, groups, "
    "with which provider, when first and last, and when the provider last confirmed them",
    kept="until they are forgotten",
    columns=(
        text("person"),
        text("provider"),
        text("name"),
        text("group_names", json=True),
        text("session_key", secret=True),
        real("first_at"),
        real("last_at"),
        real("confirmed_at"),
        real("removed_at", default=0),
    ),
    key=("person",),
    deleted_by=("person",),
)
CONFIRMED_SECONDS = 3600.0
"""How long the page is open to a person whom their provider does not confirm again."""
ABSENT_SECONDS = 7 * 86_400.0
"""How long programs and schedules of a person of an OIDC provider work, with the person's groups,
after the provider confirmed them: it can be asked only while they are at their browser."""


ISSUERS = "sign-in-issuers"


class AnotherIssuer(Refusal):
    """The provider's name leads to another server than before: number 42 there is somebody else.
    `label` is set where the sentence is shown."""

    code = "another_issuer"
    sentence = "Sign-in with {label} isn't set up correctly. Contact the person who runs Ponte."

    def __init__(self, provider: str) -> None:
        super().__init__(label=provider)
        self.detail = f"run `ponte people move-provider {provider}`, or use a new NAME"


@dataclass(frozen=True, slots=True)
class Identity:
    """A person whose identity a provider (Slack, or an OIDC server) has just confirmed.

    `provider` is the NAME of `[sign_in.NAME]`, or "slack". `person` has the name to show, which
    never identifies anybody. `groups` are those of the provider's token, by their names there.
    `issuer` is the address of an OIDC provider. The constructor raises ValueError if the key could
    be that of somebody else, for example because an id contains a colon.
    """

    provider: str
    person: Person
    groups: tuple[str, ...] = ()
    issuer: str = ""

    def __post_init__(self) -> None:
        person = self.person
        parts = [self.provider, person.workspace, person.id]
        if person.platform == OIDC_PLATFORM:
            parts = [OIDC_PLATFORM, self.provider, person.id.removeprefix(f"{self.provider}:")]
        if not all(parts) or person.key.split(":") != parts:
            raise ValueError(f"not a person of {self.provider}: {person.key}")


def escape_subject(subject: str) -> str:
    """Colons, commas, spaces and other characters are percent-encoded, so that no id can look like
    another key."""
    return quote(subject, safe="")


@dataclass(frozen=True, slots=True)
class SignedInPerson:
    """A person who has signed in with a provider, as stored.

    `session_key` is a text that each of their session cookies must contain: when it was made, and a
    random part. A new one ends all their sessions. Times are in seconds since the epoch: the first
    and the last sign-in, and when the provider last confirmed them. `removed_at` is 0 unless an
    operator removed them.
    """

    person: Person
    provider: str
    groups: tuple[str, ...]
    session_key: str
    first_at: float
    last_at: float
    confirmed_at: float
    removed_at: float = 0.0

    @property
    def sessions_since(self) -> float:
        # Keys of 0.2.0 do not begin with a time.
        return float(self.session_key.rpartition("-")[0] or self.first_at)

    @property
    def group_names(self) -> frozenset[str]:
        """Names of the person's groups in rules of ponte.toml, such as `oidc:acme:group:sales`."""
        return frozenset(f"{OIDC_PLATFORM}:{self.provider}:group:{group}" for group in self.groups)


def is_provider_key(key: str) -> bool:
    """Keys of people of a provider have three parts, those of accounts of the page two."""
    return key.count(":") == 2


class SqlSignIns(SqlStore):
    """Methods raise NotStored."""

    @transaction
    def record_sign_in(
        self, connection: SqlConnection, identity: Identity, now: float, *, is_new: bool = True
    ) -> SignedInPerson:
        """With `is_new`, the person signs in, which gets a line in the audit log; otherwise the
        provider only confirmed a session that exists. The row of a person who was removed does not
        change. Raise AnotherIssuer.

        A person who signed in before keeps their `session_key`, so that sessions in their other
        browsers stay valid.
        """
        person = identity.person
        issuers = json.loads(read_text(connection, ISSUERS) or "{}")
        if (issuer := issuers.get(_issuer_key(identity.provider))) is None:
            _store_issuer(connection, identity.provider, identity.issuer)
        elif issuer != identity.issuer:
            raise AnotherIssuer(identity.provider)
        # The provider of a stored person cannot change, because the key contains it.
        connection.execute(
            "INSERT INTO sign_ins (person, provider, name, group_names, session_key, first_at,"
            " last_at, confirmed_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (person) DO UPDATE SET name = excluded.name,"
            " group_names = excluded.group_names, confirmed_at = excluded.confirmed_at,"
            " last_at = CASE WHEN ? = 1 THEN excluded.last_at ELSE sign_ins.last_at END"
            " WHERE sign_ins.removed_at = 0",
            (
                person.key,
                identity.provider,
                person.name,
                json.dumps(identity.groups),
                _make_session_key(now),
                now,
                now,
                now,
                int(is_new),
            ),
        ).close()
        stored = _find(connection, person.key)
        if is_new and not stored.removed_at:
            audit_step("person-signed-in", person, person=person.key)(connection)
        return stored

    @transaction
    def move_provider(
        self, connection: SqlConnection, provider: str, issuer: str, by: Person
    ) -> None:
        """People of the provider have the same accounts there if they have the same ids."""
        _store_issuer(connection, provider, issuer)
        audit_step("provider-moved", by, provider=provider, issuer=issuer)(connection)

    @query
    def find_sign_in(self, connection: SqlConnection, person: str) -> SignedInPerson | None:
        with suppress(NotFound):
            return _find(connection, person)
        return None

    @query
    def list_sign_ins(self, connection: SqlConnection) -> Sequence[SignedInPerson]:
        rows = connection.execute("SELECT * FROM sign_ins ORDER BY person").fetchall()
        return list(map(_person_of, rows))

    async def confirm_sign_in(self, person: str, now: float) -> None:
        sql = "UPDATE sign_ins SET confirmed_at = ? WHERE person = ? AND confirmed_at < ?"
        await self._execute(sql, now, person, now)

    @transaction
    def end_all_sessions(self, connection: SqlConnection, person: Person, now: float) -> None:
        """Sessions are valid only with the `session_key` that the person had, and this sets a new
        one. A person whom an operator removed meanwhile stays removed."""
        sql = "UPDATE sign_ins SET session_key = ? WHERE person = ?"
        connection.execute(sql, (_make_session_key(now), person.key)).close()
        audit_step("person-sessions-ended", person, person=person.key)(connection)

    @transaction
    def remove_sign_in(
        self, connection: SqlConnection, person: str, now: float, by: Person
    ) -> SignedInPerson:
        """Record that a person may not sign in until `admit_sign_in`, delete the person's API
        tokens, and return the person. This ends their sessions, because each request checks
        `removed_at`. Raise NotFound."""
        stored = _find(connection, person)
        connection.execute(
            "UPDATE sign_ins SET removed_at = ? WHERE person = ?", (now, person)
        ).close()
        connection.execute("DELETE FROM api_tokens WHERE person = ?", (person,)).close()
        audit_step("person-removed", by, person=person)(connection)
        return stored

    @transaction
    def admit_sign_in(self, connection: SqlConnection, person: str, by: Person) -> None:
        """Let a person who was removed sign in again. Their earlier sessions stay ended. Raise
        NotFound."""
        if not (removed_at := _find(connection, person).removed_at):
            return
        key = _make_session_key(removed_at)
        sql = "UPDATE sign_ins SET session_key = ?, removed_at = 0 WHERE person = ?"
        connection.execute(sql, (key, person)).close()
        audit_step("person-added", by, person=person)(connection)


def _issuer_key(provider: str) -> str:
    # The brackets: forgetting a person deletes their entries of such rows, by the person's id.
    return f"[{provider}]"


def _store_issuer(connection: SqlConnection, provider: str, issuer: str) -> None:
    connection.lock_key(ISSUERS)  # other processes may store another provider's
    issuers = json.loads(read_text(connection, ISSUERS) or "{}")
    write_text(connection, ISSUERS, json.dumps({**issuers, _issuer_key(provider): issuer}))


def _make_session_key(now: float) -> str:
    return f"{now}-{secrets.token_hex(16)}"


def _find(connection: SqlConnection, person: str) -> SignedInPerson:
    row = connection.execute("SELECT * FROM sign_ins WHERE person = ?", (person,)).fetchone()
    if row is None:
        sentence = (
            "No one called {name} has signed in with Slack or a provider. To add someone with a "
            "sign-in link, run `ponte people add`."
        )
        raise NotFound(sentence, name=person)
    return _person_of(row)


def person_by_key(key: str, name: str = "") -> Person:
    """`web:ana` is an account of the page; `slack:T1:U1` and `oidc:acme:SUB` are of a provider, and
    `acme:SUB` is the id."""
    platform, _, id = key.partition(":")
    workspace = ""
    if platform != OIDC_PLATFORM:
        workspace, _, id = id.rpartition(":")
    return Person(platform, id, workspace, name)


def _person_of(row: SqlRow) -> SignedInPerson:
    return SignedInPerson(
        person_by_key(row["person"], row["name"]),
        row["provider"],
        tuple(json.loads(row["group_names"])),
        row["session_key"],
        row["first_at"],
        row["last_at"],
        row["confirmed_at"],
        row["removed_at"],
    )
