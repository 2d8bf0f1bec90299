"""What NocoDB makes of a value that is written: it reads numbers, days and moments, and refuses
what it cannot read. It does not look at what an Email holds."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from tests.fakes.nocodb.answers import NocoDBErrorResponse, unprocessable

NUMBERS = ("Number", "Decimal", "Currency", "Percent", "Rating", "Duration", "Year")
_STORED_OF_FILES = ("url", "path", "title", "mimetype", "size", "icon", "width", "height")
_DAY = re.compile(r"(\d{2})/(\d{2})/(\d{4})")


def convert_value(title: str, type: str, options: Sequence[str], value: Any) -> Any:
    """Return `value` as the row will hold it, or raise NocoDBErrorResponse."""
    if value is None:
        return False if type == "Checkbox" else None
    if type in NUMBERS:
        return _number(title, type, value)
    match type:
        case "SingleSelect":
            return _options(title, options, [value])[0]
        case "MultiSelect":
            words = value if isinstance(value, list) else str(value).split(",")
            return _options(title, options, words)
        case "Checkbox":
            return value in (True, 1, "1", "true")
        case "Date":
            return _moment(title, type, value).date().isoformat()
        case "DateTime":
            moment = _moment(title, type, value).astimezone(UTC)
            return moment.isoformat(sep=" ", timespec="seconds")
        case "Attachment":
            return convert_files(value)
        case _:
            return str(value)


def convert_files(value: Any) -> list[Any]:
    """Return the files of a cell. Of each, NocoDB stores only keys that it knows, whatever the
    values are: it signs any path, and passes on any address. Each file gets a new id."""
    if not isinstance(value, list):
        words = f"Invalid JSON for attachment field: {value}"
        raise NocoDBErrorResponse(400, "ERR_INVALID_ATTACHMENT_JSON", words)
    if not all(isinstance(file, dict) for file in value):
        words = "Something didn't work as expected. Please try again."
        raise NocoDBErrorResponse(500, "", words, key="msg")
    if any(not {"url", "path"} & file.keys() for file in value):
        words = "Attachment object must contain either url or path"
        raise NocoDBErrorResponse(422, "", words, key="msg")
    files = []
    for file in value:
        records = {key: file[key] for key in _STORED_OF_FILES if key in file}
        records["id"] = f"at{secrets.token_hex(7)}"
        files.append({**records, **sign(records)})
    return files


def sign(file: Mapping[str, Any]) -> dict[str, Any]:
    """Return what NocoDB adds to a stored file at each reading."""
    if "path" not in file:
        return {"signedUrl": file.get("url")}
    rest = str(file["path"]).removeprefix("download/")
    signature = {"signedPath": f"dltemp/{_token(rest)}/1795751400000/{rest}"}
    if str(file.get("mimetype")).startswith("image/"):
        small = f"dltemp/{_token(rest)}/1795751400000/thumbnails/{rest}/tiny.jpg"
        return {"thumbnails": {"tiny": {"signedPath": small}}, **signature}
    return signature


def _token(path: str) -> str:
    """Return a token that differs at each reading, and that only this path has."""
    return secrets.token_hex(4) + hashlib.sha256(path.encode()).hexdigest()[:8]


def find_path(address: str) -> str:
    """Return the path of the file that a signed path or a path leads to; "" for none."""
    first, _, rest = address.partition("/")
    if first == "download":
        return address
    token, _, path = rest.partition("/1795751400000/")
    return f"download/{path}" if token[8:] == _token(path)[8:] else ""


def _number(title: str, type: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise _unfit(title, type, value) from None
    return int(number) if number.is_integer() else number


def _options(title: str, options: Sequence[str], given: Sequence[Any]) -> list[str]:
    wrong = [str(each) for each in given if each not in options]
    if wrong:
        text = ", ".join(f'"{each}"' for each in wrong)
        words = f'Invalid option(s) {text} provided for column "{title}"'
        raise unprocessable("ERR_INVALID_VALUE_FOR_FIELD", words)
    return [str(each) for each in given]


def _moment(title: str, type: str, value: Any) -> datetime:
    text = str(value)
    if american := _DAY.fullmatch(text):
        text = f"{american[3]}-{american[1]}-{american[2]}"
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise _unfit(title, type, value) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _unfit(title: str, type: str, value: Any) -> NocoDBErrorResponse:
    words = f"Invalid value '{value}' for type '{type}' on column '{title}'"
    return unprocessable("ERR_INVALID_VALUE_FOR_FIELD", words)
