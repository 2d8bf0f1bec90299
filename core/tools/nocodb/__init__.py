"""NocoDB tables, over NocoDB's REST API (v3 for rows and schema, v2 for the rest) or a bridge."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence, Set
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, SecretStr, model_validator

from core.base.errors import PonteError
from core.base.i18n import plural, say
from core.base.text import clip_line, fold_case, to_one_line
from core.base.value_formats import format_value
from core.changes.approval import find_near_table
from core.changes.card_rows import build_rows, guess_input_type, name_rows
from core.changes.kinds import Kind, is_deed_title
from core.domain.changes import (
    MAX_AUTO_UPDATES,
    SAMPLE_APPLIER,
    WRITTEN_STATES,
    Change,
    ChangeStep,
    Draft,
    FormField,
)
from core.domain.ports import QuickCommands
from core.domain.records import NOTE_TEMPLATE, Health
from core.domain.rights import Viewer
from core.integrations import (
    CHECK_TIMEOUT_SECONDS,
    IntegrationDependencies,
    OperatorConfig,
    RuleNames,
    SettingsPart,
    SharedSettings,
    Switch,
    ToolBundle,
    ToolIntegration,
    add_scheme,
    parse_url,
    plain_value,
    setting,
)
from core.tools.nocodb.file_rows import describe_file_of

if TYPE_CHECKING:
    from core.tools.nocodb.api import NamedTable


def _origin_or_bridge(value: SecretStr) -> SecretStr:
    """Of an address copied from a browser's address bar (`/dashboard`, `#/nc/BASE/TABLE`), only the
    origin counts."""
    value = SecretStr(add_scheme(plain_value(value)))
    parts = parse_url(plain_value(value), "https", "http")
    path = parts.path.rstrip("/")
    if parts.fragment.startswith("/") or path == "/dashboard":
        return SecretStr(f"{parts.scheme}://{parts.netloc}")
    if path and not path.endswith("/execute"):
        raise ValueError(
            say("write an origin (https://host), or a bridge's URL ending in /execute")
        )
    return value


_BASE_IN_ADDRESS = re.compile(r"/(p[a-z0-9]{14,})(?=/|$)")
"""The id of a base in the fragment of NocoDB's own addresses: `/#/nc/BASE/TABLE`."""


class NocodbSettings(SettingsPart):
    """The settings of NocoDB, read from the environment."""

    nocodb_url: Annotated[SecretStr, AfterValidator(_origin_or_bridge)] | None = setting(
        None, "NocoDB's origin (https://host), the URL of a base's page, or of a bridge (…/execute)"
    )
    nocodb_token: SecretStr | None = setting(
        None, "NocoDB's API token, or the bridge's bearer token"
    )
    nocodb_base_id: str | None = setting(
        None, "ID or title of NocoDB's base; required if the token can read several bases"
    )
    ponte_sample: Switch | None = setting(
        None,
        "sample tables until NocoDB is set up: on (also for invited people), off "
        "(docs/guides/nocodb.md)",
    )

    @model_validator(mode="before")
    @classmethod
    def _use_base_of_address(cls, values: Any) -> Any:
        if not isinstance(values, Mapping) or values.get("nocodb_base_id"):
            return values
        address = values.get("nocodb_url")
        address = plain_value(address) if isinstance(address, str | SecretStr) else ""
        match = _BASE_IN_ADDRESS.search(address.partition("#")[2])
        return {**values, "nocodb_base_id": match[1]} if match else values

    @property
    def nocodb(self) -> Literal["off", "rest", "bridge"]:
        """NocoDB itself needs a token; a bridge may need none."""
        if urlsplit(plain_value(self.nocodb_url)).path.rstrip("/"):
            return "bridge"
        return "rest" if self.nocodb_url and self.nocodb_token else "off"


REST_TOOLS = frozenset({
    "nocodb_tables", "nocodb_query", "nocodb_summarize", "nocodb_get", "nocodb_history", "chart",
    "nocodb_create", "nocodb_update", "nocodb_delete", "nocodb_link", "nocodb_import",
})  # fmt: skip
_BRIDGE_TOOLS = frozenset({"nocodb_execute"})
_NOT_CHECKED = (
    "The bridge doesn't list its tables, so Ponte can't check the table names in {path}. Check "
    "them yourself: a rule with a misspelled name has no effect."
)


class NocodbIntegration(ToolIntegration[NocodbSettings]):
    """Builds the tools over NocoDB's tables and what applies approved changes, and checks them for
    `ponte doctor`."""

    name = "nocodb"
    settings = NocodbSettings
    sent_to: ClassVar = {"nocodb_url": ("nocodb_token",)}

    def summary(self, settings: NocodbSettings, shared: SharedSettings) -> Health:
        if settings.nocodb == "bridge":
            return Health("nocodb", "on", "through the bridge")
        if settings.nocodb == "rest":
            return Health("nocodb", "on", "through its REST API")
        if settings.nocodb_url:
            return Health("nocodb", "failing", "NOCODB_TOKEN is missing. NocoDB needs it.")
        # A token alone: somebody meant to connect NocoDB, so it is not merely off.
        return Health("nocodb", "failing" if settings.nocodb_token else "off", "set NOCODB_URL")

    def build(
        self, deps: IntegrationDependencies[NocodbSettings], quick: QuickCommands
    ) -> ToolBundle:
        """A bridge attaches no files, so it needs no `read_file`. `quick` is for other
        integrations."""
        # Loaded only if NocoDB is connected.
        from core.tools.nocodb.bridge import BridgeSource
        from core.tools.nocodb.source import NocoSource

        settings = deps.own
        url, token = plain_value(settings.nocodb_url), plain_value(settings.nocodb_token)
        options: dict[str, Any] = {"base_id": settings.nocodb_base_id or "", "config": deps.config}
        # `rows` applies the approved writes.
        if settings.nocodb == "rest":
            source = NocoSource(url, token, deps.http, read_file=deps.read_file, **options)
            return ToolBundle(source, [source.rows], titles=source.titles, tables=source)
        bridge = BridgeSource(url, token, deps.http, **options)
        return ToolBundle(bridge, [bridge.rows])

    def rule_names(self, settings: NocodbSettings, config: OperatorConfig) -> RuleNames:
        """Return the names of tools that rules in ponte.toml may use. If NocoDB is off, those of
        both drivers: its REST API and a bridge."""
        match settings.nocodb:
            case "rest":
                return {"tool": REST_TOOLS}
            case "bridge":
                return {"tool": _BRIDGE_TOOLS}
            case "off":
                return {"tool": REST_TOOLS | _BRIDGE_TOOLS}

    async def check(self, deps: IntegrationDependencies[NocodbSettings]) -> Sequence[Health]:
        """Raise PonteError if NocoDB or the bridge does not respond, or if a rule names a table
        that does not exist."""
        # Loaded only if NocoDB is connected.
        from core.tools.nocodb.api import NocoApi
        from core.tools.nocodb.api_errors import NocoError
        from core.tools.nocodb.bridge import list_table_names
        from core.tools.nocodb.bridge_api import BridgeApi
        from core.tools.nocodb.schema import Schemas, ids_and_titles
        from core.tools.nocodb.source import VERSION_WORDS, describe_gap, fetch_overview, find_gaps

        settings, rules_file = deps.own, deps.shared.ponte_config.name
        url, token = plain_value(settings.nocodb_url), plain_value(settings.nocodb_token)
        if settings.nocodb == "bridge":
            bridge = BridgeApi(url, token, deps.http, pauses=())  # a check does not try again
            tools = await bridge.list_tools(timeout=CHECK_TIMEOUT_SECONDS)
            # Not all bridges list their tools; their health check shows that they respond.
            if tools is None:
                await bridge.check_health(timeout=CHECK_TIMEOUT_SECONDS)
                status = say("the bridge responds, but doesn't list its tools")
            else:
                status = say("the bridge responds; tools: {count}", count=len(tools))
            rules, base = deps.config.table_rules, settings.nocodb_base_id or ""
            if rules.names_tables:
                tables = await list_table_names(bridge, base, timeout=CHECK_TIMEOUT_SECONDS)
                if tables is None:
                    status += "; " + say(_NOT_CHECKED, path=rules_file)
                else:
                    check_names(rules_file, rules.find_unknown(ids_and_titles(tables)), tables)
            return [Health("nocodb", "on", status)]
        api = NocoApi(url, token, deps.http, pauses=(), timeout=CHECK_TIMEOUT_SECONDS)
        overview = await fetch_overview(api, Schemas(api, settings.nocodb_base_id or ""))
        sight = overview.visible_part(deps.config.table_rules, Viewer())
        check_names(rules_file, sight.unknown_names, overview.all_tables)
        status = say("NocoDB responds; {sight}", sight=sight.describe())
        if sight.is_read_only:
            status += "; " + say("read-only")
        # The version is only shown, so a failure to read it is no failure of NocoDB.
        with suppress(NocoError):
            if version := await api.fetch_version():
                status += "; " + say(VERSION_WORDS, version=version)
        gaps = await find_gaps(api, overview)
        return [Health("nocodb", "on", status), *map(describe_gap, gaps)]

    async def list_choices(
        self, deps: IntegrationDependencies[NocodbSettings]
    ) -> Mapping[str, Sequence[str]]:
        """Each base that the token can read is named by its title; by its id if the title is not
        unique or cannot be shown. Return {} unless the settings lead to NocoDB's REST API."""
        # Loaded only if NocoDB is connected.
        from core.tools.nocodb.api import NocoApi

        settings = deps.own
        if settings.nocodb != "rest":
            return {}
        url, token = plain_value(settings.nocodb_url), plain_value(settings.nocodb_token)
        # Without `pauses`, a request that fails is not tried again.
        api = NocoApi(url, token, deps.http, pauses=(), timeout=CHECK_TIMEOUT_SECONDS)
        bases = await api.list_bases()
        titles = Counter(base.title for base in bases)
        titles += Counter(base.id for base in bases)  # a title may be the id of another base
        names = [
            base.title if titles[base.title] == 1 and base.title.isprintable() else base.id
            for base in bases
        ]
        return {"nocodb_base_id": names}


def check_names(file: str, unknown: Sequence[str], tables: Sequence[NamedTable]) -> None:
    """Raise PonteError if there are `unknown` names: each with the table for which its restrictions
    hold (`find_near_table`), else with the most similar title."""
    names, titles = [], {table.id: table.title for table in tables}
    for name in unknown:
        guesses = difflib.get_close_matches(name, titles.values(), 1)
        if near := find_near_table(name, titles):
            names.append(say("{name} (its restrictions apply to {near})", name=name, near=near[1]))
        elif guesses:
            sentence = "{name} (no effect; did you mean {near}?)"
            names.append(say(sentence, name=name, near=guesses[0]))
        else:
            names.append(say("{name} (no effect)", name=name))
    if names:
        raise PonteError(
            "{path} has rules for tables that don't exist: {names}",
            path=file,
            names=", ".join(names),
        )


NOCODB_INTEGRATION = NocodbIntegration()


MAX_LISTED_ROWS = 20
_OUTCOMES = {
    "applying": "In progress.",
    "done": "Done.",
    "partial": "Partly done: {done} of {count} rows.",
    "failed": "Nothing was changed.",
    "undone": "Done, then undone by {undo}.",
}
_FAULTS = {
    "done": (
        "Saved, but couldn't be verified: {rows}. Check this row in the table.",
        "Saved, but couldn't be verified: {rows}. Check these rows in the table.",
    ),
    "changed": (
        "Skipped because it changed after the request: {rows}.",
        "Skipped because they changed after the request: {rows}.",
    ),
    "failed": ("Rejected: {rows}. {words}", "Rejected: {rows}. {words}"),
    "differs": (
        "Saved, but the table shows other values for {words}: {rows}.",
        "Saved, but the table shows other values for {words}: {rows}.",
    ),
    "unknown": (
        "Result unknown: {rows}. {words} First check this row, then ask again.",
        "Result unknown: {rows}. {words} First check these rows, then ask again.",
    ),
    "waiting": ("Not tried: {rows}.", "Not tried: {rows}."),
}
_ADMIN_DELETE = "{id} deletes rows, so an admin must approve it."


def name_update_tools(draft: Draft, titles: Set[str]) -> tuple[str, ...]:
    """Return the tools for an update of these fields: links have one of their own."""
    links = draft.view.link_fields
    tools = {"nocodb_link": titles & links, "nocodb_update": titles - links}
    return tuple(tool for tool, names in tools.items() if names)


class RowsKind(Kind):
    """The base of the kinds of change that write rows of a table. `titles`: the titles of the card
    for one row, and for several."""

    titles: tuple[str, str]
    can_be_undone = True

    def rule_names(self, draft: Draft) -> tuple[str, ...]:
        return tuple(filter(None, (draft.title, draft.view.table_id)))

    def rights_to_propose(self, draft: Draft) -> Sequence[tuple[str, ...]]:
        """Tables whose rows are linked need these rights, too."""
        tables = (self.rule_names(draft), *draft.view.linked_tables)
        rights = [(right, *names) for names in tables for right in ("propose", "read")]
        applier = draft.target.get("applier", draft.applier)
        return [*rights, ("source", applier)] if applier == SAMPLE_APPLIER else rights

    def tool_names(self, draft: Draft) -> tuple[str, ...]:
        if draft.applier not in ("nocodb", SAMPLE_APPLIER):
            return ()
        if draft.kind != "update":
            return (f"nocodb_{draft.kind}",)
        return name_update_tools(draft, {name for row in draft.rows for name in row.after or ()})

    def build_title(self, change: Change) -> str:
        count, table = len(change.rows), clip_line(change.draft.title)
        if change.draft.applier == SAMPLE_APPLIER:
            table = say("{table} (sample)", table=table)
        return say(self.titles[count != 1], count=count, table=table)

    def describe_outcome(self, change: Change, *, shows_names: bool) -> list[str]:
        """Return first what happened to the change as a whole, then one sentence for each kind of
        failure, with its rows. Without `shows_names`, rows go by their ids."""
        # The steps by row: a row with links or files has several steps.
        groups = change.rows
        whole = sum(all(step.state in WRITTEN_STATES for step in steps) for steps in groups)
        outcome = say(_OUTCOMES[change.state], done=whole, count=len(groups), undo=change.undone_by)
        if change.state == "applying":
            return [outcome]
        sentences = [outcome]
        # The states of rows that need a sentence of their own, with its forms for one row and more.
        for state, forms in _FAULTS.items():
            steps = [step for step in change.steps if step.state == state]
            if state == "done":  # rows that were read back as written have no explanation
                steps = [step for step in steps if step.explanation]
            if not steps:
                continue
            # Row names are content of the table, which not everybody in the place may see.
            names = name_rows(change, steps) if shows_names else []
            ids = _join_names(_list_ids(steps))
            # "Rejected: 3." would read as a count.
            rows = _join_names(names) or (f"ID {ids}" if ids else "")
            # Rows that could not be created have neither a name nor an id. The English forms are
            # equal, but a translation may need two.
            count = len(steps)
            rows = rows or plural("{count} of the new rows", "{count} of the new rows", count)
            # Rows of one request share their explanation. Of several, the sentence has the first.
            explanation = next((step.explanation for step in steps if step.explanation), "")
            # Without an explanation, two spaces are left in the sentence.
            is_one = sum(any(step in steps for step in group) for group in groups) == 1
            sentence = forms[0 if is_one else 1]
            told = say(sentence, rows=rows, words=to_one_line(explanation, 300))
            sentences.append(told.replace("  ", " ").strip())
        return sentences

    def build_note(self, change: Change, outcome: str) -> str:
        """Return the outcome for the model, with the number of rows. It learns the ids of new rows
        here; it knows those of other rows."""
        draft, ids = change.draft, _join_names(_list_ids(change.written_steps))
        what = f"{draft.kind} {len(change.rows)} row(s) in {clip_line(draft.title)!r}"
        lines = [f"Proposal {change.id} ({what}): {outcome}"]
        lines += [f"Row ids: {ids}."] if ids and self is CREATE_ROWS else []
        return NOTE_TEMPLATE.format(words=" ".join(lines))


class _EditableRows(RowsKind):
    """The base of the kinds of change whose proposed values a person can change in a form."""

    def describe(self, change: Change) -> str:
        return describe_file_of(change)

    def form_fields(self, change: Change) -> Sequence[FormField]:
        """Return () for a change whose values cannot be changed in a form: an undo, an update of
        links, and rows with files."""
        draft = change.draft
        # By the title of each field that the draft writes: its kind of input, and its options.
        inputs: Mapping[str, Any] = draft.target.get("inputs", {})
        is_update, rows, fields = draft.kind == "update", change.rows, list[FormField]()
        names = [str(row["name"]) for row in build_rows(change)]
        links = any(inputs.get(name, [""])[0] == "link" for name in inputs)
        # An undo writes earlier values and no others. An update that changes links may take them
        # from other rows, which the form would not show.
        if change.proposal.undone_change or (is_update and links):
            return ()
        for number, (row_name, steps) in enumerate(zip(names, rows, strict=True), 1):
            # All proposed values of the row, which several steps write if it has links or files.
            cells = {n: v for step in steps for n, v in (step.write.after or {}).items()}
            for title, value in cells.items():
                kind: Any
                kind, options = inputs.get(title, ["", ()])
                # Without a kind, it holds files, which nobody can type.
                if not kind:
                    return ()
                # Several rows can have the same name, or none. The key has the same number.
                named = f"{number}. {row_name}".strip()
                key, row = (title, "") if len(rows) == 1 else (f"{number}.{title}", named)
                format = draft.view.formats.get(title)
                if format is None:  # a bridge does not describe its fields: `kind` is a default
                    kind = guess_input_type(value)
                kind = "text" if kind == "link" else kind  # people type titles of linked rows
                text = _type_value(value, format or "")
                fields.append(FormField(key, title, kind, text, tuple(options), row, format or ""))
        return fields


def _type_value(value: Any, format: str) -> str:
    """Several options or links are separated by commas."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return format_value(value, format)
    if isinstance(value, list):
        titles = (cell.get("title", cell) if isinstance(cell, Mapping) else cell for cell in value)
        return ", ".join(map(str, titles))
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


class CreateRows(_EditableRows):
    """The kind of change that creates rows."""

    titles = ("Create a row in {table}", "Create {count} rows in {table}")
    is_repeatable = False

    def name_deed(self, change: Change) -> str:
        return plural("Add {count} row", "Add {count} rows", len(change.rows))

    def may_be_automatic(self, draft: Draft) -> bool:
        """A rule may let one new row without files be applied without a person."""
        has_files = any(not kind for kind, _ in draft.target.get("inputs", {}).values())
        return len(draft.rows) <= 1 and not has_files


class UpdateRows(_EditableRows):
    """The kind of change that writes into existing rows."""

    titles = ("Change a row in {table}", "Change {count} rows in {table}")

    def name_deed(self, change: Change) -> str:
        """Name the option where all rows get one value in one select or checkbox of the schema, and
        nothing else."""
        written = [step.write.after or {} for step in change.steps]
        (field, value), *others = written[0].items() or [("", None)]
        kind, options = change.draft.target.get("inputs", {}).get(field, ("", ()))
        is_choice = field in change.draft.view.choice_fields and not change.proposal.undone_change
        count = len(change.rows)
        if others or any(values != written[0] for values in written[1:]) or not is_choice:
            pass
        elif kind == "select" and value in options and is_deed_title(str(value)):
            return plural(
                "Mark {count} as {option}", "Mark {count} as {option}", count, option=value
            )
        elif kind == "checkbox" and isinstance(value, bool) and is_deed_title(field):
            if value:
                return plural(
                    "Check {field} in {count} row",
                    "Check {field} in {count} rows",
                    count,
                    field=field,
                )
            return plural(
                "Uncheck {field} in {count} row",
                "Uncheck {field} in {count} rows",
                count,
                field=field,
            )
        return plural("Approve {count} row", "Approve {count} rows", count)

    def changes_only(self, draft: Draft, fields: Collection[str]) -> bool:
        """A rule may let such a change be applied without a person: selects, checkboxes and dates
        hold no free text."""
        folded = {fold_case(name) for name in fields}
        allowed = {name for name in draft.view.choice_fields if fold_case(name) in folded}
        names = {name for row in draft.rows for name in row.after or {}}
        return draft.row_count <= MAX_AUTO_UPDATES and bool(names) and names <= allowed


class DeleteRows(RowsKind):
    """The kind of change that deletes rows."""

    titles = ("Delete a row in {table}", "Delete {count} rows in {table}")

    def name_deed(self, change: Change) -> str:
        return plural("Delete {count} row", "Delete {count} rows", len(change.rows))

    def needs_admin(self, draft: Draft) -> str:
        return _ADMIN_DELETE


CREATE_ROWS = CreateRows()
ROW_KINDS: Mapping[str, Kind] = {
    "create": CREATE_ROWS,
    "update": UpdateRows(),
    "delete": DeleteRows(),
}


def _list_ids(steps: Sequence[ChangeStep]) -> list[str]:
    return list(dict.fromkeys(to_one_line(s.write.id, 40) for s in steps if s.write.id))


def _join_names(names: Sequence[str]) -> str:
    suffix = f" … (+{len(names) - MAX_LISTED_ROWS})" if len(names) > MAX_LISTED_ROWS else ""
    return ", ".join(names[:MAX_LISTED_ROWS]) + suffix
