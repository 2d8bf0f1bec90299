"""Files in a terminal: `@sales.csv` in a message sends it, what comes back is saved in a folder."""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import PonteError, TooLarge
from core.http import HttpClient, HttpError
from core.text import clean, file_name

LARGEST = 20 * 1024 * 1024
"""Bytes of one file; `adapters/web/intake.py` takes no more."""
FOLDER = Path("ponte-files")
CODE = "text/x-python"
_WORD = re.compile(r"(?:^|(?<=\s))@(\"[^\"]+\"|[^\s\"]+)")
_HOST = "http://localhost"


class Unreadable(PonteError):
    code = "unreadable"
    sentence = "The file {name} cannot be read ({cause}), so I sent nothing."


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file of an answer: `path` is where it was saved ("" where it could not be), `code` its
    text where it is the code that ran."""

    name: str
    size: int
    path: str = ""
    code: str = ""


def attached(text: str) -> list[tuple[str, bytes]]:
    """Name and bytes of each file that `text` names; `@ana`, which is none, stays a word.

    Raises Unreadable, TooLarge.
    """
    found = []
    for word in _WORD.findall(text):
        path = Path(word.strip('"')).expanduser()
        if path.is_file():
            found.append((path.name, _read(path)))
    return found


class Downloads:
    """Saves what answers bring into `folder`, made when it is needed; replaces nothing."""

    def __init__(self, http: HttpClient, folder: Path = FOLDER) -> None:
        self._http = http
        self._folder = folder

    async def fetch(self, file: Mapping[str, Any], headers: Mapping[str, str]) -> Fetched:
        name, size = file_name(str(file["name"])), int(file["size"])
        try:
            data = await self._http.get_bytes(f"{_HOST}{file['url']}", headers=headers)
        except HttpError:
            return Fetched(name, size)
        if file["type"] == CODE:
            return Fetched(name, size, code=clean(data.decode(errors="replace")).rstrip())
        try:
            return Fetched(name, size, str(await asyncio.to_thread(self._save, name, data)))
        except OSError:
            return Fetched(name, size)

    def _save(self, name: str, data: bytes) -> Path:
        self._folder.mkdir(parents=True, exist_ok=True)
        stem, dot, extension = name.rpartition(".")
        for number in itertools.count():
            numbered = f"{stem}-{number}.{extension}" if dot else f"{name}-{number}"
            path = self._folder / (numbered if number else name)
            try:
                with path.open("xb") as out:
                    out.write(data)
            except FileExistsError:
                if path.read_bytes() == data:
                    return path
                continue
            return path
        raise FileExistsError(name)


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > LARGEST:
            raise TooLarge(size=f"{path.stat().st_size / 1e6:.0f} MB", limit="20 MB")
        return path.read_bytes()
    except OSError as error:
        raise Unreadable(name=path.name, cause=error.strerror or "unreadable") from None
