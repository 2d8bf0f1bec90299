"""The database tables of proposals and changes, and what each stores for how long."""

from __future__ import annotations

from core.store.tables import Column, Index, TableDeclaration, count, integer, real, text

CHANGES_TABLE = TableDeclaration(
    name="changes", whose="person", section="changes", seen_at="created_at",
    contents="what somebody asked to change, who decided, why it was denied",
    kept="as `inbox`; the reason of a denial 7 days",
    columns=(
        text("id"), integer("seq"), text("call_id"), text("person"), text("asker", json=True),
        text("conversation"), text("address", json=True), text("thread"), integer("generation"),
        text("locale"), text("applier"), text("kind"), text("target", json=True), text("title"),
        text("note"), text("undone_change", default=""), text("undone_by", default=""),
        text("state"), real("created_at"), real("expires_at"), count("decision_seq"),
        text("decider", default=""),
        text("decided_by", default="", json=True), Column("decided_at", "REAL", 0),
        Column("ended_at", "REAL", 0), count("erasure_reason"), count("version"),
        count("drawn_version"), count("has_named_approvers"), text("tool", default=""),
        text("origin", json=True),  # a `MessageOrigin` without its `data`
        Column("revision", "INTEGER", 1),
        # The last notification that Ponte sent about the change: 'asked', 'reminded' or
        # 'expired', in this order. 'never': Ponte sends none about this change.
        text("last_notice", default=""),
        text("denial_reason", default=""),
        text("revision_seqs", default=""), text("repeated_by", default=""),
    ),
    key=("id",), unique=("seq", "call_id"),
    indexes=(
        Index("changes_conversation", "conversation, created_at"),
        Index("changes_created", "created_at"),
        Index("changes_open", "state, expires_at", "state IN ('open', 'applying')"),
        Index("changes_undrawn", "id", "drawn_version < version"),
        Index("changes_person", "person"), Index("changes_decider", "decider"),
        Index("changes_unnotified", "id",
              "state = 'expired' AND last_notice <> 'expired' AND last_notice <> 'never'"),
    ),
    deleted_by=("person",),
)  # fmt: skip
STEPS_TABLE = TableDeclaration(
    name="steps", whose="change", section="changed_rows",
    contents="the rows before and after",
    kept="their contents 7 days, for undo, else as `inbox`",
    columns=(
        text("change"), integer("number"), text("person"), text("row"),
        text("before", null=True, json=True), text("after", null=True, json=True),
        text("applier_data", default=""), text("state"), text("current", null=True, json=True),
        text("explanation", default=""), real("updated_at"),
    ),
    key=("change", "number"), indexes=(Index("steps_person", "person"),),
    deleted_by=("change",), purged_with="changes",
)  # fmt: skip
NOTES_TABLE = TableDeclaration(
    name="notes", whose="person", section="notes",
    contents="notes to the model about a change", kept="until the model got them",
    columns=(
        integer("id"), text("thread"), text("change"), text("person"), text("text"),
        real("created_at"),
    ),
    key=("id",), generates_key=True,
    indexes=(Index("notes_thread", "thread, id"), Index("notes_person", "person")),
    deleted_by=("person", "change", "thread"),
)  # fmt: skip
CONSENTS_TABLE = TableDeclaration(
    name="consents", whose="person", section="approvals", seen_at="approved_at",
    contents="who approved as one of several", kept="as `changes`",
    columns=(
        text("change"), text("person"), text("approver", json=True), text("address", json=True),
        real("approved_at"),
    ),
    key=("change", "person"), indexes=(Index("consents_person", "person"),),
    deleted_by=("person", "change"), purged_with="changes",
)  # fmt: skip
OUTBOX_TABLE = TableDeclaration(
    name="outbox", whose="person", section="cards_sent", seen_at="created_at",
    contents="copies of cards for approvers; notices to a person, as of a new sign-in link",
    kept="as `changes`; a notice until its reader closes it, or the first one after 90 days",
    columns=(
        text("change"), text("kind"), text("person"), text("recipient", json=True),
        text("reply_to", default="", json=True), text("locale", default=""),
        text("text", default=""), text("post", default=""),
        text("state"),  # new, posting, posted, removed or refused
        count("drawn_version"), real("created_at"),
    ),
    key=("change", "kind", "person"),
    indexes=(
        Index("outbox_open", "change", "state IN ('new', 'posting')"),
        Index("outbox_person", "person"),
    ),
    deleted_by=("person", "change"), purged_with="changes",
)  # fmt: skip
