"""Receives the requests of webhooks: checks each one, stores it as a message, and answers.

A delivery is a conversation of its own, so that no delivery reads what another one brought. Its
body is a quote from outside. Its author is the webhook itself (`HOOK_PLATFORM`), which has the
rights of the group that it acts as.
"""

from __future__ import annotations

import asyncio
import email
import email.policy
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

import structlog

from core.base.errors import PonteError, TooManyDeliveries, Undeliverable
from core.base.text import check_json, clean_text, parse_json
from core.domain.conversation_ports import Inbox
from core.domain.messages import Address, Message, MessageOrigin, Person, Quote, ReplyTo, turn_id
from core.domain.platform import Messenger
from core.observability import metrics
from core.people.audit import Audit
from core.webhooks.hook import EVENT_FIELD, HOOK_PLATFORM, Hook, describe_body, fill_template
from core.webhooks.signatures import delivery_id, digest, is_genuine

log = structlog.get_logger("webhooks")
HttpAnswer = tuple[int, Mapping[str, str], bytes]
STORE_SECONDS = 1.8
"""Seconds to store a delivery. Senders wait for few seconds; Ponte answers within two."""
RETRY_SECONDS = 30
"""Value of Retry-After if a delivery could not be stored."""
MAX_VALUES, MAX_DEPTH = 50_000, 50
"""The most values and levels of a JSON body. A larger one is read as text."""
MAX_HOOK_FORM_FIELDS = 1000
"""The most fields of a form. A larger one is read as text."""
PING_EVENT = "ping"
"""The event that GitHub sends once, when a webhook is created. It is answered and not posted."""
_UNKNOWN = Hook("", "secret", "", "", header="x-hook-secret")
"""Stands for a webhook that does not exist, so that its check takes as long."""
_ERRORS = {
    "unauthorized": (401, "no webhook has this name, or the request is not signed with its secret"),
    "no_delivery_id": (400, "the request has no delivery ID"),
    "too_many": (429, "the webhook gets too many requests"),
    "not_stored": (503, "the delivery could not be stored; send it again"),
}


@dataclass(slots=True)
class HookIntake:
    """Answers the requests to `POST /hooks/NAME`.

    `find` returns the present configuration of a webhook; None if there is none of that name.
    `messengers` are the chat platforms by name.
    """

    find: Callable[[str], Hook | None]
    messengers: Mapping[str, Messenger]
    inbox: Inbox
    audit: Audit
    clock: Callable[[], float] = time.time
    _warned: dict[str, int] = field(default_factory=dict, init=False)
    """The minute in which a wrong signature was last logged, by webhook."""
    _direct: dict[tuple[str, str], ReplyTo] = field(default_factory=dict, init=False)
    """Places of direct messages that were opened already."""

    async def receive(self, name: str, headers: Mapping[str, str], body: bytes) -> HttpAnswer:
        """Return status, headers and body for one request. `headers` have names in lower case."""
        hook = self.find(name)
        genuine = is_genuine(hook or _UNKNOWN, headers, body, self.clock())
        if hook is None or not genuine:
            # The answer does not tell whether the webhook exists. Anybody can send such requests,
            # so they must not fill the log.
            minute = int(self.clock() // 60)
            if hook and self._warned.get(name) != minute:
                self._warned[name] = minute
                log.warning("webhook request has no valid signature", webhook=name)
            return _refuse("unauthorized")
        is_github = hook.kind == "github"
        event = headers.get("x-github-event", "") if is_github else ""
        if event == PING_EVENT:
            return _answer(200, {"status": "pong"})
        parsed = _parse_body(body, headers.get("content-type", ""))
        id = delivery_id(hook, headers, body, parsed)
        if not id:
            return _refuse("no_delivery_id")
        if event and isinstance(parsed, dict):
            parsed = {EVENT_FIELD: event, **parsed}
        repeats_after = hook.repeats_after if id == digest(body) else 0.0
        return await self._store(hook, f"hook:{name}:{id}", parsed, repeats_after)

    async def _store(self, hook: Hook, key: str, parsed: Any, repeats_after: float) -> HttpAnswer:
        """Store a genuine delivery, and answer once it is stored."""
        author = Person(HOOK_PLATFORM, hook.name, name=f"webhook {hook.name}", is_bot=True)
        try:
            async with asyncio.timeout(STORE_SECONDS):
                if repeats_after:
                    key = await self._key_of_repeat(key, repeats_after)
                to = await self._find_destination(hook, author, key)
                message = _build_message(hook, key, author, to, parsed, self.clock())
                receipt = await self.inbox.accept(message)
        except TooManyDeliveries:
            metrics.limits.labels("webhook").inc()
            return _refuse("too_many", math.ceil(60 - self.clock() % 60))
        except Exception as error:
            if not isinstance(error, (PonteError, TimeoutError, OSError)):
                log.exception("handling a webhook failed unexpectedly", webhook=hook.name)
            else:
                name = type(error).__name__
                log.warning("could not store a webhook delivery", webhook=hook.name, error=name)
            return _refuse("not_stored", RETRY_SECONDS)
        if receipt.is_new:
            self.audit.note("webhook-received", author, to.address, turn=message.turn)
        return _answer(
            202, {"status": "stored" if receipt.is_new else "repeated", "turn": message.turn}
        )

    async def _key_of_repeat(self, key: str, repeats_after: float) -> str:
        """Return the event key of a body that counts as repeated for `repeats_after` seconds.

        The keys of equal bodies have the number of the period in which the first of them came. One
        that came late in the last period counts in this one too.
        """
        now = self.clock()
        last, this = (f"{key}:{int(now // repeats_after) - before}" for before in (1, 0))
        times = await self.inbox.find_times((last, this))
        is_repeat = this not in times and now - times.get(last, 0.0) < repeats_after
        return last if is_repeat else this

    async def _find_destination(self, hook: Hook, author: Person, key: str) -> ReplyTo:
        """Return where the answer goes. Raise Undeliverable if the platform is off, and the
        errors of `Messenger.direct`."""
        messenger = self.messengers.get(hook.platform)
        if messenger is None:
            raise Undeliverable(reason=f"{hook.platform} is off")
        turn = turn_id(key)
        if not hook.person:
            place = Address(hook.platform, hook.channel, hook.workspace, is_shared=True)
        else:
            known = self._direct.get((hook.platform, hook.person))
            if known is None:
                known, _ = await messenger.direct(Person(hook.platform, hook.person))
                self._direct[hook.platform, hook.person] = known
            place = known.address
        # A conversation for each delivery: `person` keeps apart those of one channel.
        address = Address(
            place.platform, place.channel, place.workspace,
            person=f"{HOOK_PLATFORM}-{turn}", is_shared=place.is_shared,
        )  # fmt: skip
        to = messenger.into(address, author)
        return ReplyTo(to.address, to.asker, to.source, turn)


def _build_message(
    hook: Hook, key: str, author: Person, to: ReplyTo, parsed: Any, now: float
) -> Message:
    """Return the message of a delivery: the post itself, or the instruction with the body as a
    quote."""
    text, quoted = _fill(hook, parsed)
    context = () if hook.template else (Quote(author.name, quoted),)
    origin = MessageOrigin(
        "webhook", hook.name, may_be_command=False, is_authored=False, is_by_person=False,
        is_attended=False, per_minute=hook.per_minute, data={"is_post": bool(hook.template)},
    )  # fmt: skip
    return Message(key, text, author, to.address, to, context=context, sent_at=now, origin=origin)


def preview_delivery(hook: Hook, body: bytes) -> tuple[Person, Address, str, str]:
    """Return the author and the place of a delivery with this body, and what it leads to: the text
    of the post and "", or the instruction for the model and the body that it reads."""
    author = Person(HOOK_PLATFORM, hook.name, is_bot=True)
    place = Address(hook.platform, hook.channel, hook.workspace, is_shared=not hook.person)
    return author, place, *_fill(hook, _parse_body(body, ""))


def _fill(hook: Hook, parsed: Any) -> tuple[str, str]:
    if hook.template:
        return clean_text(fill_template(hook.template, parsed)), ""
    return hook.instruction, describe_body(parsed)


def _parse_body(body: bytes, content_type: str) -> Any:
    """Return the JSON value of the body, or the fields of a form; else its text.

    The content type counts only if the body is no JSON: some programs send JSON as a form.
    """
    parsed = _parse_value(body)
    if not isinstance(parsed, str):
        return parsed
    fields: dict[str, list[Any]] = {}
    with suppress(ValueError, LookupError):  # too many fields, or an unknown character set
        for name, text in _form_fields(body, content_type):
            value = _parse_value(text.encode()) if text.lstrip()[:1] in ("{", "[") else text
            fields.setdefault(name, []).append(value)
    # A field that comes more than once is a list.
    said = {name: values if values[1:] else values[0] for name, values in fields.items()}
    return said["payload"] if [*fields] == ["payload"] else said or parsed


def _form_fields(body: bytes, content_type: str) -> Iterator[tuple[str, str]]:
    """Yield the fields of a form; nothing for any other body. A file is read as its name."""
    form = email.message_from_bytes(
        b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body, policy=email.policy.HTTP
    )
    if form.get_content_type() == "application/x-www-form-urlencoded":
        yield from parse_qsl(
            body.decode("latin-1"), keep_blank_values=True, max_num_fields=MAX_HOOK_FORM_FIELDS,
            encoding=form.get_content_charset("utf-8"),
        )  # fmt: skip
    elif form.get_content_type() == "multipart/form-data" and form.is_multipart():
        for part in form.iter_parts():
            content = bytes(part.get_payload(decode=True) or b"")
            if isinstance(name := part.get_param("name", header="content-disposition"), str):
                charset = part.get_content_charset("utf-8")
                yield name, part.get_filename() or content.decode(charset, "replace")


def _parse_value(body: bytes) -> Any:
    """Return the JSON value of a text, or the text if it is no JSON or too complex."""
    text = body.decode("utf-8", "replace")
    if check_json(body, MAX_VALUES, MAX_DEPTH):
        return text
    try:
        return parse_json(body)
    except ValueError:
        return text


def _refuse(code: str, wait: int = 0) -> HttpAnswer:
    """Return an answer with an error."""
    status, words = _ERRORS[code]
    more = {"retry-after": str(wait)} if wait else {}
    return _answer(status, {"error": {"code": code, "message": words}}, more)


def _answer(
    status: int, value: Mapping[str, Any], more: Mapping[str, str] | None = None
) -> HttpAnswer:
    headers = {"content-type": "application/json", "cache-control": "no-store", **(more or {})}
    return status, headers, json.dumps(value).encode()
