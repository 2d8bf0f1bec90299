"""Reads what a client sends, no more of it than we take, and makes a Message of it."""

from __future__ import annotations

import asyncio
import json
import re
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Message as Event

from adapters.web.errors import BadRequest, WrongMediaType
from adapters.web.site import Site
from core.errors import TooLarge
from core.messages import Address, Attachment, Message, ReplyTo, turn_id
from core.text import clean, file_name

TEXT = 2_000_000
"""Bytes of one message's text must be fewer."""
FILE = 20 * 1024 * 1024
"""Bytes in one uploaded file."""
FILES = 10
"""Files with one message."""
JSON_BODY = 6 * TEXT + 65_536
"""Bytes: JSON may write one character as six (\\u00e9)."""
FORM_BODY = 5 * FILE + TEXT
_TYPE = re.compile(r"[a-z0-9.+-]{1,60}/[a-z0-9.+-]{1,60}")
_LOCALE = re.compile(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8}){0,3}")

M = TypeVar("M", bound=BaseModel)


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Asked(Body):
    """What `POST /chat` takes; `time_zone` is an IANA name."""

    message: str = ""
    conversation: str = Field("main", pattern=r"^[A-Za-z0-9_-]{1,64}$")
    event_key: str | None = Field(None, pattern=r"^[!-~]{1,200}$")
    time_zone: str = Field("", pattern=r"^[A-Za-z0-9_+/-]{0,64}$")


class AskedAsJson(Asked):
    message: str


@dataclass(frozen=True, slots=True)
class Upload:
    name: str
    type: str
    data: bytes


async def read_json(request: Request, form: type[M], limit: int = JSON_BODY) -> M:
    """Raises WrongMediaType, TooLarge, BadRequest."""
    if _media_type(request) != "application/json":
        raise WrongMediaType
    body = await _capped(request, limit).body()
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        raise BadRequest(why="it is not JSON") from None
    return _checked(form, data)


@asynccontextmanager
async def asked(request: Request) -> AsyncIterator[tuple[Asked, list[Upload]]]:
    """A message as JSON, or with its files as multipart/form-data."""
    if _media_type(request) != "multipart/form-data":
        yield await read_json(request, AskedAsJson), []
        return
    capped = _capped(request, FORM_BODY)
    try:
        form = await capped.form(max_files=FILES, max_fields=8, max_part_size=2 * TEXT)
    except HTTPException as error:
        if "exceeded" in error.detail:
            raise TooLarge(size=_size(2 * TEXT), limit=_size(TEXT)) from None
        raise BadRequest(why="its form cannot be read") from None
    try:
        fields: dict[str, str] = {}
        uploads: list[Upload] = []
        for name, value in form.multi_items():
            if isinstance(value, str):
                fields[name] = value
            elif name == "file":
                uploads.append(await _upload(value))
            else:
                raise BadRequest(why=f"a file must be sent as 'file', not {clean(name)[:40]!r}")
        yield _checked(Asked, fields), uploads
    finally:
        await form.close()


async def message_text(text: str) -> str:
    """Cleaned, in a thread where it is long. Raises TooLarge."""
    size = len(text.encode(errors="replace"))
    if size >= TEXT:
        raise TooLarge(size=_size(size), limit=_size(TEXT))
    return clean(text) if size < 50_000 else await asyncio.to_thread(clean, text)


def message(
    site: Site,
    text: str,
    conversation: str,
    event_key: str | None = None,
    *,
    headers: Mapping[str, str] | None = None,
    time_zone: str = "",
    clicked: bool = False,
) -> Message:
    """From this door's person; `event_key` is the client's own, one is made where there is none."""
    key = f"{site.door.platform}:{event_key or uuid.uuid4().hex}"
    address = Address(site.door.platform, conversation)
    return Message(
        event_key=key,
        text=text,
        author=site.door.person,
        address=address,
        reply_to=ReplyTo(address, site.door.person, source=key, turn=turn_id(key)),
        locale=asked_locale(headers or {}),
        time_zone=time_zone,
        sent_at=time.time(),
        clicked=clicked,
    )


async def keep(site: Site, uploads: list[Upload], said: Message) -> tuple[Attachment, ...]:
    """Put the bytes where they stay, before the message is accepted. Raises NotStored."""
    kept = [
        await site.files.put(
            said.event_key, one.name, one.type, one.data, said.author, said.address.conversation
        )
        for one in uploads
    ]
    return tuple(Attachment(file.name, file.type, file.size, file.id) for file in kept)


def asked_locale(headers: Mapping[str, str]) -> str:
    """The first language that a browser asks for, empty where it does not."""
    first = headers.get("accept-language", "").split(",")[0].split(";")[0].strip()
    return first if _LOCALE.fullmatch(first) else ""


def _checked(form: type[M], data: Any) -> M:
    try:
        return form.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))[:60]
        why = f"{clean(where)}: {first['msg']}" if where else first["msg"]
        raise BadRequest(why=why) from None


async def _upload(sent: UploadFile) -> Upload:
    size = sent.size or 0
    if size > FILE:
        raise TooLarge(size=_size(size), limit=_size(FILE))
    kind = (sent.content_type or "").split(";")[0].strip().lower()
    kind = kind if _TYPE.fullmatch(kind) else "application/octet-stream"
    return Upload(file_name(sent.filename or "file"), kind, await sent.read())


def _capped(request: Request, limit: int) -> Request:
    """The same request, which raises TooLarge instead of reading on."""
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared[:18]) > limit:
        raise TooLarge(size=_size(int(declared[:18])), limit=_size(limit))
    taken = 0

    async def receive() -> Event:
        nonlocal taken
        event = await request.receive()
        taken += len(event.get("body", b""))
        if taken > limit:
            raise TooLarge(size=_size(taken), limit=_size(limit))
        return event

    return Request(request.scope, receive)


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").split(";")[0].strip().lower()


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count} bytes"
