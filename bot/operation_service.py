"""Runs operations by name: checks arguments and right, writes the audit line, and describes the
result."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, create_model
from pydantic_core import to_jsonable_python

from adapters.web.errors import UnknownPath
from bot.config.ponte_toml import NEWER_FILE_SENTENCE
from bot.home import Start
from bot.operations import OPERATIONS, Operation, find_names
from bot.ponte import Ponte
from core.base.errors import BadInput, NotAllowed, SettingsError
from core.base.i18n import say
from core.base.json_text import to_json_line
from core.base.text import to_one_line
from core.domain.changes import POLICY_PERSON
from core.domain.messages import Person
from core.domain.records import ListTable
from core.people.audit import OPERATOR
from core.people.rules import OWNER_ID

if TYPE_CHECKING:
    from bot.operation_texts import ResultText, View

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class OperationService:
    """Runs operations for the shell and the page /admin (the port `Operator`). `on_admin_page`:
    only those that the page offers (`Operation.admin_page`)."""

    ponte: Ponte
    on_admin_page: bool = False

    async def run(self, name: str, arguments: Json, actor: Person = OPERATOR) -> Any:
        """Run an operation for `actor`, and return its result as JSON. One whose `right` is "own"
        is for the owner alone, others are for admins, too. Raises UnknownPath, BadInput,
        NotAllowed, PonteError."""
        operation = self._find_operation(name)
        if operation.right == "own" and actor.id not in (OPERATOR.id, OWNER_ID):
            raise NotAllowed("Only Ponte's owner can do this.")
        ponte = self.ponte
        # Imported here because it loads Starlette, which a command of the shell does not need.
        from adapters.web.http_io import validate

        # Arguments of a wrong name or type raise BadInput.
        model = validate(build_arguments_model(operation), arguments)
        checked = {name: getattr(model, name) for name in operation.parameters}
        # For the audit log.
        if "actor" in operation.function.__annotations__:
            checked["actor"] = actor
        subject: Start | Ponte = ponte
        if operation.needs == "settings":
            # Such an operation checks ponte.toml as it is on disk now, before it is loaded.
            try:
                file = ponte.reloader.read_file()
            except SettingsError as error:
                # Ponte itself goes on with the file that it has loaded: the errors are only the
                # result of the check.
                raise BadInput("{faults}", faults=error.words()) from None
            await ponte.reloader.look_up_names(file)
            known = replace(ponte.reloader.known, tables=ponte.live.tables)
            subject = replace(ponte.inputs, config=file, known=known)
        result = await operation.function(subject, **checked)
        return to_json(result)

    async def describe(
        self, name: str, arguments: Json, actor: Person = OPERATOR, *, as_json: bool = False
    ) -> Json:
        """Run an operation and return its result as the shell prints it: `lines`, `notes` (for
        standard error), `failed`, and `next`, where the following page begins."""
        # Without arguments, the shell shows the operation's overview.
        if not (as_json or any(arguments.values())):
            arguments = self._find_operation(name).overview or arguments
        result = await self.run(name, arguments, actor)
        # Loaded only when a result is shown.
        from bot.operation_texts import View, find_text

        text, ponte = find_text(self._find_operation(name)), self.ponte
        # People have names in place of their keys, which the fields `text.people` hold.
        keys = set(_find_values(result, text.people)) if text.people and not as_json else ()
        names = await ponte.engine.people.find_names(sorted(keys)) if keys else {}
        view = View(ponte.zone, names, arguments)
        # Thousands of rows take seconds.
        shown = await asyncio.to_thread(describe_result, text, result, view, as_json=as_json)
        live = ponte.live.current
        # The operation used the file on disk, which differs from the one that Ponte uses now.
        if self._find_operation(name).needs == "settings" and ponte.reloader.read_file() != live:
            shown["notes"].append(say(NEWER_FILE_SENTENCE, file=ponte.settings.ponte_config.name))
        return shown

    async def tabulate(self, name: str, rows: Sequence[Json], reader: Person) -> ListTable:
        """Return rows of the list `name` (in TEXT_LISTS) as the page /admin shows them: with names
        in place of keys of people and channels, and titles of changes in lines of the audit log."""
        # Loaded only when a list is shown.
        from bot.operation_texts import TEXT_LISTS, View
        from bot.reports import describe_changes

        columns = TEXT_LISTS[name]
        keys = sorted(set(_find_values(rows, columns.names)))
        found = await find_names(self.ponte, keys)
        names = {key: _describe_key(key, to_one_line(found.get(key, ""))) for key in keys}
        engine, ids = self.ponte.engine, set(_find_values(rows, ["change"]))
        changes = await describe_changes(engine.changes, engine.schedules, ids, reader)
        # The page has room for wide columns and long texts.
        view = View(self.ponte.zone, names, is_page=True, changes=changes)
        # A list can have thousands of rows.
        return await asyncio.to_thread(columns.table, rows, view)

    def list_forms(self) -> Sequence[Json]:
        """Describe the form of each operation that is both on the page /admin and a command of the
        shell: its help, and a field for each argument. `long`: a text of several lines, for which
        the shell takes a file."""
        return [
            {
                "name": each.name,
                "help": say(each.help),
                "fields": [
                    {
                        "name": name,
                        "help": say(parameter.help),
                        "long": parameter.is_file,
                        "options": [*parameter.options(self.ponte.live.current)],
                        "required": default is inspect.Parameter.empty,
                    }
                    # The metadata of an `Annotated` type has the argument's help.
                    for name, (kind, default) in each.parameters.items()
                    for parameter in getattr(kind, "__metadata__", ())
                ],
            }
            for each in OPERATIONS.values()
            if each.admin_page and each.in_shell
        ]

    def _find_operation(self, name: str) -> Operation:
        operation = OPERATIONS.get(name)
        if operation is None or (self.on_admin_page and not operation.admin_page):
            raise UnknownPath
        return operation


async def describe_offline(
    operation: Operation, start: Start, arguments: Json, *, as_json: bool
) -> Json:
    """Run an operation that needs only the settings, without a running Ponte, and return what
    `OperationService.describe` returns."""
    from bot.operation_texts import View, find_text

    result = to_json(await operation.function(start, **arguments))
    view = View(ZoneInfo(start.settings.ponte_timezone), {}, arguments, is_running=False)
    return describe_result(find_text(operation), result, view, as_json=as_json)


def to_json(result: Any) -> Any:
    return to_jsonable_python(result)


def describe_result(text: ResultText, result: Any, view: View, *, as_json: bool) -> Json:
    """Return a result as the shell prints it: the `lines` for standard output (with `as_json`, one
    JSON value a line), the `notes` for standard error, whether the exit code is 1 (`failed`), and
    where the following page of a long list begins (`next`, "" at the end)."""
    values = text.json_values(result) if as_json else ()
    return {
        "lines": list(map(to_json_line, values)) if as_json else list(text.lines(result, view)),
        "notes": list(text.notes(result, view)),
        "failed": text.has_failed(result),
        "next": result.get("next", "") if isinstance(result, Mapping) else "",
    }


def _describe_key(key: str, name: str) -> str:
    """Return what the page /admin calls a person or channel with this name ("" if unknown). Names
    are not unique on chat platforms, so people there have their key after it. Places are
    `PLATFORM:direct`, `PLATFORM:WORKSPACE:CHANNEL` and longer."""
    platform, _, id = key.partition(":")
    if ":" not in id and id != "direct":  # the key of a person
        # POLICY_PERSON decides on what ponte.toml approves by itself.
        own = {OPERATOR.key: say("Someone on the server"), POLICY_PERSON.key: "ponte.toml"}
        if platform == "web" and name in ("", id):  # unique there
            return id
        return f"{name} ({key})" if name and name != key else own.get(key, key)
    return name or (say("direct message") if key.endswith(":direct") else key)


@functools.cache
def build_arguments_model(operation: Operation) -> type[BaseModel]:
    """Return the model that checks an operation's arguments."""
    fields: dict[str, Any] = {
        name: (annotation, ... if default is inspect.Parameter.empty else default)
        for name, (annotation, default) in operation.parameters.items()
    }
    return create_model("Arguments", __config__=ConfigDict(extra="forbid"), **fields)


def _find_values(result: Any, fields: Any) -> Iterator[str]:
    """Yield the non-empty values of the fields with these names in a result, at any depth. They are
    keys or ids, for which a text has names."""
    if isinstance(result, Mapping):
        for name, value in result.items():
            if name in fields and value:
                yield str(value)
            yield from _find_values(value, fields)
    elif isinstance(result, list | tuple):
        for one in result:
            yield from _find_values(one, fields)
