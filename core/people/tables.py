"""The tables of people: accounts, tokens, the directory, and the audit log."""

from __future__ import annotations

from core.store.tables import Index, TableDeclaration, integer, real, text

PEOPLE_TABLE = TableDeclaration(
    name="people", whose="person", section="page_account", seen_at="added_at",
    contents="page: name, SHA-256 of the token, when they were added, the last day that they "
             "came",
    kept="until `ponte people remove`",
    columns=(
        text("person"), text("token", secret=True), real("added_at"),
        text("last_visit", default=""),
    ),
    key=("person",), deleted_by=("person",),
)  # fmt: skip
API_TOKENS_TABLE = TableDeclaration(
    name="api_tokens", whose="person", section="api_tokens", seen_at="added_at",
    contents="page: name and SHA-256 of each token for programs, when it was made, when it "
             "expires, the last day that it was used",
    kept="until it is revoked, or `ponte people remove`",
    columns=(
        text("id"), text("person"), text("token", secret=True, unique=True), text("name"),
        real("added_at"), real("expires_at"), text("last_use", default=""),
    ),
    key=("id",), indexes=(Index("api_tokens_person", "person"),), deleted_by=("person",),
)  # fmt: skip
ENDED_SESSIONS_TABLE = TableDeclaration(
    name="ended_sessions", whose="nobody",
    not_exported="hashes of sessions that were signed out of, which lead to nobody",
    contents="page: the SHA-256 of each session that somebody signed out of, and when it would "
             "have ended",
    kept="until then, at most 30 days",
    columns=(text("session"), real("expires_at")), key=("session",),
)  # fmt: skip
DIRECTORY_TABLE = TableDeclaration(
    name="directory", whose="person", section="platform_profile",
    contents="what Slack and Discord report about a person: id, name, language, time zone, "
             "whether they are a guest or a bot, their workspaces, user groups, or roles. For "
             "Slack: of every member of the workspace, also of those who never wrote to Ponte",
    kept="until 30 days after the platform confirmed it last, or until they leave the Slack "
         "workspace",
    columns=(
        text("platform"), text("scope"), text("id"), text("person"), text("name"),
        text("locale"), text("time_zone"), integer("is_guest"), integer("is_bot"),
        text("belongs_to"),
        real("confirmed_at"),
    ),
    key=("platform", "scope", "id"),
    indexes=(
        Index("directory_id", "platform, id"), Index("directory_person", "person"),
        Index("directory_confirmed", "confirmed_at"),
    ),
    deleted_by=("person",),
    copied=False,  # each platform lists its people again
)  # fmt: skip
ERASED_PEOPLE_TABLE = TableDeclaration(
    name="erased_people", whose="nobody",
    not_exported="keyed hashes of people who were forgotten, which name nobody",
    contents="a keyed hash of the id of each Slack person who was forgotten, so that the list "
             "of members does not bring them back",
    kept="for ever",
    columns=(text("pseudonym"),), key=("pseudonym",),
)  # fmt: skip
AUDIT_KEYS_TABLE = TableDeclaration(
    name="audit_keys", whose="person",
    not_exported="the section `audit` has the lines that it leads to",
    erased="deleted last: until then the person can be found again",
    contents="whose lines of the audit log are whose", kept="until the person is forgotten",
    columns=(text("pseudonym"), text("person")),
    key=("pseudonym",), indexes=(Index("audit_keys_person", "person"),),
)  # fmt: skip
AUDIT_TABLE = TableDeclaration(
    name="audit", whose="person", shared=True,
    not_exported="the section `audit` has the lines",
    erased="its lines name nobody once their `audit_keys` are deleted",
    contents="Postgres: as `audit.log` below",
    kept="`PONTE_AUDIT_DAYS`; 0, the default, is for ever",
    columns=(integer("id"), text("line")), key=("id",), generates_key=True,
)  # fmt: skip
