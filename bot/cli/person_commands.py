"""The commands `ponte person …`: they ask the process that holds the home, and print its answer.

Each function that a command calls returns the exit code.
"""

from __future__ import annotations

import base64
import datetime
import json
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bot import __version__
from bot.cli.client import LocalClient
from bot.cli.commands import ask_holder
from core.base.errors import PonteError
from core.base.i18n import plural
from core.base.private_files import create_file, make_folder, open_folder
from core.base.text import safe_file_name
from core.integrations.settings import describe_read_error

Json = Mapping[str, Any]


class NoFolder(PonteError):
    """The folder of an export cannot be written."""

    sentence = "Cannot write to the folder {folder} ({cause})."


class AlreadyThere(PonteError):
    """An export would overwrite a file."""

    sentence = (
        "{path} already exists, and an export does not overwrite files. Choose another folder."
    )


def person_export(key: str, folder: Path | None) -> int:
    """Write the export to stdout, or with a `folder` into `person.json` there, with their files."""

    async def ask(one: LocalClient) -> None:
        known = await one.run_operation("person counts", key=key)
        if folder is None:
            async for piece in _export_pieces(one, known):
                sys.stdout.write(piece)
            return
        with _explain_folder_error(folder), open_folder(folder) as top:
            with _refuse_existing(folder / "person.json"):
                out = create_file("person.json", top)
            with out:
                async for piece in _export_pieces(one, known):
                    out.write(piece.encode())
            count = await _write_files(one, str(known["person"]), folder, top)
        _print(
            plural(
                "Saved {folder}/person.json and {count} file.",
                "Saved {folder}/person.json and {count} files.",
                count, folder=folder,
            )
        )  # fmt: skip

    ask_holder(ask)
    return 0


async def _export_pieces(one: LocalClient, known: Json) -> AsyncIterator[str]:
    """Yield the export's JSON in pieces, as it may be larger than memory."""
    person = str(known["person"])
    head = {
        "person": person,
        "names": known["names"],
        "exported": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "version": __version__,
        "conversations_with_others": known["shared"],
        "remembered": known["remembered"],
    }
    yield json.dumps(head, ensure_ascii=False, indent=1)[:-2]
    for section in known["sections"]:
        yield f",\n {json.dumps(section)}: "
        async for piece in _json_array(_fetch_rows(one, person, str(section))):
            yield piece
    yield ',\n "audit": '
    async for piece in _json_array(_fetch_audit_lines(one, person)):
        yield piece
    yield "\n}\n"


async def _json_array(rows: AsyncIterator[Json]) -> AsyncIterator[str]:
    before = "["
    async for row in rows:
        yield f"{before}\n  {json.dumps(row, ensure_ascii=False)}"
        before = ","
    yield "[]" if before == "[" else "\n ]"


async def _fetch_rows(one: LocalClient, person: str, section: str) -> AsyncIterator[Json]:
    begin = 0
    while rows := await one.run_operation(
        "person rows", person=person, section=section, begin=begin
    ):
        for row in rows:
            yield row
        begin += len(rows)


async def _fetch_audit_lines(one: LocalClient, person: str) -> AsyncIterator[Json]:
    after, more = "", True
    while more:
        page = await one.run_operation("audit", after=after, person=person)
        for line in page["lines"]:
            yield line
        after = str(page.get("next", ""))
        more = bool(after)


async def _write_files(one: LocalClient, person: str, folder: Path, top: int) -> int:
    """Write the person's files into a new folder `files`. Return how many there are."""
    count = 0
    with _refuse_existing(folder / "files"), make_folder("files", top) as inner:
        async for row in _fetch_rows(one, person, "files"):
            id, name = str(row["id"]), safe_file_name(str(row["name"]))
            try:
                out = create_file(f"{id[:8]}-{name}", inner)
            except FileExistsError:  # another one begins with the same eight digits
                out = create_file(f"{id}-{name}", inner)
            with out:
                begin = 0
                while piece := await one.run_operation(
                    "person file", person=person, file=id, begin=begin
                ):
                    data = base64.b64decode(piece)
                    out.write(data)
                    begin += len(data)
            count += 1
    return count


@contextmanager
def _refuse_existing(path: Path) -> Iterator[None]:
    try:
        yield
    except FileExistsError:
        raise AlreadyThere(path=path) from None


@contextmanager
def _explain_folder_error(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise NoFolder(folder=folder, cause=describe_read_error(error)) from None


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")
