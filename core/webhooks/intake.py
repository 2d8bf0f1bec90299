"""Receives the requests of webhooks: checks who sent each one, stores it as a message, and answers.

| kind | signature | time | id of a delivery |
| --- | --- | --- | --- |
| github | X-Hub-Signature-256: HMAC of the body | none | X-GitHub-Delivery, not signed |
| stripe | Stripe-Signature: HMAC of time and body | t, 5 minutes | `id` of the body |
| standard | webhook-signature: HMAC of id, time, body | webhook-timestamp, 5 minutes | webhook-id |
| secret | none: a header holds the secret | none | a field of the body, else its digest |

All HMACs are SHA-256. All comparisons take constant time. Sources:
docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries,
docs.stripe.com/webhooks/signature, github.com/standard-webhooks/standard-webhooks (spec).

A delivery is a conversation of its own, so that no delivery reads what another one brought. Its
body is a quote from outside. Its author is the webhook itself (`HOOK_PLATFORM`), which has the
rights of the group that it acts as.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import email
import email.policy
import hashlib
import hmac
import json
import math
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from email.message import EmailMessage
from typing import Any, Literal
from urllib.parse import parse_qsl

import structlog

from core.base.errors import PonteError, TooManyDeliveries, Undeliverable
from core.base.json_text import check_json, parse_json
from core.base.tasks import OncePerMinute
from core.base.text import clean_text, to_one_line
from core.chat.destinations import Destinations
from core.domain.messages import (
    Address,
    Message,
    MessageOrigin,
    Person,
    Quote,
    find_encoding,
    turn_id,
)
from core.domain.ports import Inbox
from core.observability import metrics
from core.people.audit import audit_step
from core.webhooks.hook import (
    EVENT_FIELD,
    HOOK_PLATFORM,
    Hook,
    HookKind,
    describe_body,
    fill_template,
    find_field,
    has_fields,
    is_wanted,
    lacks_fields,
)

TOLERANCE_SECONDS = 300.0
"""How far a signed time may be from now. Stripe's libraries and those of Standard Webhooks use the
same value."""
MIN_SECRET_CHARACTERS = 16
MAX_SIGNATURES = 10
"""Signatures of one request that are compared. While a secret is replaced, there are two."""
_SECRET_PREFIX = "whsec_"  # noqa: S105
_PLAIN_ID = re.compile(r"[A-Za-z0-9_.:-]{1,100}")
Check = Callable[[Hook, Mapping[str, str], bytes, float], bool]


def is_genuine(hook: Hook, headers: Mapping[str, str], body: bytes, now: float) -> bool:
    """`headers` have names in lower case; `now` is in seconds since the epoch."""
    # The check runs without a secret too, so that the time does not tell that there is none.
    genuine = _CHECKS[hook.kind](hook, headers, body, now)
    return genuine and bool(hook.secret)


def delivery_id(hook: Hook, headers: Mapping[str, str], body: bytes, parsed: Any) -> str:
    """Return "" if the sender gave no id. A repeated delivery has the same id, by which Ponte
    answers it once. Ids of unusual form (long, or with spaces or slashes) are replaced by their
    digest, because the id becomes a part of the message's key."""
    match hook.kind:
        case "github":
            id = headers.get("x-github-delivery", "")
        case "standard":
            id = headers.get("webhook-id", "")
        case "stripe":
            id = _as_id(find_field(parsed, "id"))
        case "secret":
            id = _as_id(find_field(parsed, hook.id_field)) or digest(body)
    return id if not id or _PLAIN_ID.fullmatch(id) else digest(id.encode())


def secret_fault(kind: HookKind, secret: str) -> Literal["", "encoding", "short"]:
    if kind == "standard" and not _standard_key(secret):
        return "encoding"
    return "short" if len(secret) < MIN_SECRET_CHARACTERS else ""


def _check_github(hook: Hook, headers: Mapping[str, str], body: bytes, now: float) -> bool:
    signature = headers.get("x-hub-signature-256", "")
    return _is_equal(signature, f"sha256={_hex_hmac(hook.secret.encode(), body)}")


def _check_stripe(hook: Hook, headers: Mapping[str, str], body: bytes, now: float) -> bool:
    """A request older than TOLERANCE_SECONDS is refused, because somebody may have recorded it and
    send it again."""
    pairs = [part.strip().partition("=") for part in headers.get("stripe-signature", "").split(",")]
    time = next((value for name, _, value in pairs if name == "t"), "")
    # There are several signatures while the secret is replaced.
    signatures = [value for name, _, value in pairs if name == "v1"][:MAX_SIGNATURES]
    expected = _hex_hmac(hook.secret.encode(), time.encode() + b"." + body)
    # All are compared, so that the time does not tell which one is right.
    genuine = [_is_equal(signature, expected) for signature in signatures]
    return any(genuine) and _is_recent(time, now)


def _check_standard(hook: Hook, headers: Mapping[str, str], body: bytes, now: float) -> bool:
    """By the rules of Standard Webhooks (standardwebhooks.com), which several services use. A
    request older than TOLERANCE_SECONDS is refused, because somebody may have recorded it and send
    it again."""
    id, time = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    pairs = [part.partition(",") for part in headers.get("webhook-signature", "").split(" ")]
    # While a secret is replaced, there is one signature for each of the two secrets.
    signatures = [value for version, _, value in pairs if version == "v1"][:MAX_SIGNATURES]
    key = _standard_key(hook.secret)
    # Without a key, any other one, so that the check takes as long; it fails below.
    hmac_bytes = hmac.digest(key or b"-", f"{id}.{time}.".encode() + body, "sha256")
    expected = base64.b64encode(hmac_bytes).decode()
    genuine = [_is_equal(signature, expected) for signature in signatures]
    return any(genuine) and bool(id and key) and _is_recent(time, now)


def _check_secret(hook: Hook, headers: Mapping[str, str], body: bytes, now: float) -> bool:
    """Return True if a header of the request holds the webhook's secret, for services that do not
    sign their requests. Only the checks of other kinds use `body` and `now`."""
    value = headers.get(hook.header.lower(), "")
    # Some senders can set only Authorization, with a scheme: "Bearer SECRET", "Basic …".
    scheme, _, credentials = value.partition(" ")
    secrets = [value, credentials.strip()]
    if scheme.lower() == "basic":
        with suppress(ValueError):  # no base64, or no UTF-8
            user, _, password = base64.b64decode(credentials).decode().partition(":")
            secrets += [user, password]
    # Digests have one length, so the comparison does not reveal that of the secret.
    expected = digest(hook.secret.encode())
    # All are compared, so that the time does not tell which one is right.
    genuine = [_is_equal(digest(_encode(secret)), expected) for secret in secrets]
    return any(genuine)


_CHECKS: Mapping[HookKind, Check] = {
    "github": _check_github, "stripe": _check_stripe, "standard": _check_standard,
    "secret": _check_secret,
}  # fmt: skip


def _standard_key(secret: str) -> bytes:
    try:
        return base64.b64decode(secret.removeprefix(_SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        return b""


def _is_recent(time: str, now: float) -> bool:
    return time.isdecimal() and abs(now - int(time[:15])) <= TOLERANCE_SECONDS


def _is_equal(signature: str, expected: str) -> bool:
    # Bytes of a header that are no UTF-8 are surrogates.
    return hmac.compare_digest(_encode(signature), _encode(expected))


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _as_id(value: Any) -> str:
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""


def _hex_hmac(key: bytes, content: bytes) -> str:
    return hmac.digest(key, content, "sha256").hex()


def digest(content: bytes) -> str:
    """The digest of a body is the id of a delivery that has no other."""
    return hashlib.sha256(content).hexdigest()


log = structlog.get_logger("webhooks")
HttpAnswer = tuple[int, Mapping[str, str], bytes]
STORE_SECONDS = 1.8
"""Seconds to store a delivery. Senders wait for few seconds; Ponte answers within two."""
RETRY_SECONDS = 30
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
    "compressed": (415, "the body is compressed; send it without Content-Encoding"),
    "no_delivery_id": (400, "the request has no delivery ID"),
    "no_fields": (400, "the body is neither JSON nor a form, so it fills no field of the template"),
    "too_many": (429, "the webhook gets too many requests"),
    "not_stored": (503, "the delivery could not be stored; send it again"),
}


@dataclass(slots=True)
class HookIntake:
    """Answers the requests to `POST /hooks/NAME`: checks the sender, stores the delivery as a
    message whose turn runs later, and returns the HTTP response. `find` returns the present
    configuration of a webhook; None if there is none of that name."""

    find: Callable[[str], Hook | None]
    destinations: Destinations
    inbox: Inbox
    clock: Callable[[], float] = time.time
    _warnings: OncePerMinute = field(default_factory=OncePerMinute, init=False)

    async def receive(self, name: str, headers: Mapping[str, str], body: bytes) -> HttpAnswer:
        """`headers` have names in lower case. Nothing of the body is read before the sender has
        proven to know the secret. A delivery that the configuration's `only` leaves out is answered
        with 200, because senders repeat a request after any other status."""
        hook = self.find(name)
        # With `_UNKNOWN`, a name that no webhook has takes as long as a wrong signature.
        genuine = is_genuine(hook or _UNKNOWN, headers, body, self.clock())
        if hook is None or not genuine:
            # The answer does not tell whether the webhook exists. The log warns of each webhook
            # once a minute, however many such requests come.
            if hook and self._warnings.admits(name, self.clock()):
                log.warning("webhook request has no valid signature", webhook=name)
            return _build_refusal("unauthorized")
        if headers.get("content-encoding", "identity").lower() != "identity":
            return _build_refusal("compressed")
        is_github = hook.kind == "github"
        event = headers.get("x-github-event", "") if is_github else ""
        if event == PING_EVENT:
            return _build_answer(200, {"status": "pong"})
        parsed = _parse_body(body, headers.get("content-type", ""))
        id = delivery_id(hook, headers, body, parsed)
        if not id:
            return _build_refusal("no_delivery_id")
        # The template has fields, such as `{order.id}`, which this body cannot fill.
        if has_fields(hook) and not isinstance(parsed, (dict, list)):
            log.warning("webhook body has no fields", webhook=name)
            return _build_refusal("no_fields")
        # GitHub names the kind of event in a header; templates and `only` find it as a field.
        if event and isinstance(parsed, dict):
            parsed = {EVENT_FIELD: event, **parsed}
        if not is_wanted(hook, parsed):
            return _build_answer(200, {"status": "ignored"})
        # Without an id of its own, a body has its digest as the id. An equal body that comes
        # `repeats_after` seconds later is another delivery (0.0: never).
        repeats_after = hook.repeats_after if id == digest(body) else 0.0
        return await self._store(hook, f"hook:{name}:{id}", parsed, repeats_after)

    async def _store(self, hook: Hook, key: str, parsed: Any, repeats_after: float) -> HttpAnswer:
        """Store a genuine delivery as a message with this key, and answer once it is stored: the
        sender repeats a delivery that got no answer, or one with an error. `repeats_after`: seconds
        after which an equal body is another delivery, 0.0 for never."""
        author = Person(HOOK_PLATFORM, hook.name, name=f"webhook {hook.name}", is_bot=True)
        try:
            async with asyncio.timeout(STORE_SECONDS):
                if repeats_after:
                    # The keys of equal bodies have the number of the period in which the first of
                    # them came. One that came late in the last period counts in this one too.
                    now = self.clock()
                    last, this = (
                        f"{key}:{int(now // repeats_after) - before}" for before in (1, 0)
                    )
                    times = await self.inbox.find_times((last, this))
                    is_repeat = this not in times and now - times.get(last, 0.0) < repeats_after
                    key = last if is_repeat else this
                place = hook.post_to
                to = await self.destinations.find(place, author, turn_id(key), HOOK_PLATFORM)
                # The message is the post itself, or the instruction with the body as a quote.
                text, quoted = _build_texts(hook, parsed)
                # A post without text, or a body with no field of the template. It is stored all the
                # same, so that the operator sees the delivery in the audit log and among the turns;
                # its turn is skipped and posts nothing.
                is_empty = _posts_nothing(hook, parsed, text)
                message = Message(
                    key,
                    text,
                    author,
                    to.address,
                    to,
                    sent_at=self.clock(),
                    origin=MessageOrigin(
                        "webhook",
                        hook.name,
                        may_be_command=False,
                        is_authored=False,
                        is_by_person=False,
                        is_attended=False,
                        per_minute=hook.per_minute,
                        data={"is_post": bool(hook.template), "is_empty": is_empty},
                    ),
                    context=() if hook.template else (Quote(author.name, quoted),),
                )
                line = audit_step("webhook-received", author, to.address, turn=message.turn)
                receipt = await self.inbox.accept(message, line)
        except TooManyDeliveries:
            metrics.limits.labels("webhook").inc()
            # Deliveries are counted by minutes of the clock.
            return _build_refusal("too_many", math.ceil(60 - self.clock() % 60))
        except Exception as error:
            why = error.values.get("reason", "") if isinstance(error, Undeliverable) else ""
            if not isinstance(error, (PonteError, TimeoutError, OSError)):
                log.exception("handling a webhook failed unexpectedly", webhook=hook.name)
            else:
                name = why or type(error).__name__
                log.warning("could not store a webhook delivery", webhook=hook.name, error=name)
            return _build_refusal("not_stored", RETRY_SECONDS, str(why))
        if is_empty:
            log.warning("webhook body has no field of the template", webhook=hook.name)
            problem = "the body has none of the fields of the template, so nothing is posted"
            answer = {"status": "no_fields", "turn": message.turn, "message": problem}
            return _build_answer(202, answer)
        return _build_answer(
            202, {"status": "stored" if receipt.is_new else "repeated", "turn": message.turn}
        )


def preview_delivery(hook: Hook, body: bytes) -> tuple[Person, Address, str, str, str]:
    """Return what a delivery with this body would lead to, without storing it, as five values: its
    author, its place, two texts, and why it would not be answered. The texts are the post and "",
    or the instruction for the model and the body that it reads. The reason is "ignored" (the
    conditions `only`), "no_fields" (the post would lack its fields or be empty), or "" for none.

    The kind of GitHub's event is not in the body, so conditions on it are left out. Without a body,
    the post is the template with empty fields.
    """
    author = Person(HOOK_PLATFORM, hook.name, is_bot=True)
    # PLATFORM:WORKSPACE:CHANNEL, or PLATFORM:PERSON for a direct message.
    platform, *ids = hook.post_to.split(":")
    workspace, channel = ids if len(ids) == 2 else ("", "")
    place = Address(platform, channel, workspace, is_shared=bool(channel))
    parsed = _parse_body(body, "")
    only = {path: values for path, values in hook.only.items() if path != EVENT_FIELD}
    texts, why = _build_texts(hook, parsed), ""
    if not is_wanted(replace(hook, only=only), parsed):
        why = "ignored"
    elif body and _posts_nothing(hook, parsed, texts[0]):
        why = "no_fields"
    return author, place, *texts, why


def _posts_nothing(hook: Hook, parsed: Any, text: str) -> bool:
    return bool(hook.template) and (lacks_fields(hook, parsed) or not clean_text(text).strip())


def _build_texts(hook: Hook, parsed: Any) -> tuple[str, str]:
    if hook.template:
        return clean_text(fill_template(hook.template, parsed)), ""
    return hook.instruction, describe_body(parsed)


def _parse_body(body: bytes, content_type: str) -> Any:
    """Return the JSON value of the body, or the fields of a form; else its text. The content type
    counts only if the body is no JSON: some programs send JSON as a form."""
    # Only the header is parsed here (`b""`), for the character set.
    charset = _parse_content_type(content_type, b"").get_content_charset()
    # `_parse_value` returns a text that is no JSON as it is.
    parsed = _parse_value(_decode(body, charset))
    if not isinstance(parsed, str):
        return parsed
    fields: dict[str, list[Any]] = {}
    with suppress(ValueError, LookupError):  # too many fields, or an unknown character set
        for name, text in _form_fields(body, content_type):
            # Only objects and lists count as JSON: `12` in a field is a text.
            value = _parse_value(text) if text.lstrip()[:1] in ("{", "[") else text
            fields.setdefault(name, []).append(value)
    # A field that comes more than once is a list.
    form = {name: values if values[1:] else values[0] for name, values in fields.items()}
    # GitHub and Slack send their JSON in the field `payload` of a form.
    return form["payload"] if [*fields] == ["payload"] else form or parsed


def _form_fields(body: bytes, content_type: str) -> Iterator[tuple[str, str]]:
    """Of a file, the text is its name. Nothing for a body that is no form."""
    form = _parse_content_type(content_type, body)
    charset = form.get_content_charset()
    if form.get_content_type() == "application/x-www-form-urlencoded":
        pairs = parse_qsl(
            # `parse_qsl` takes one character set, and a sender may name a wrong one. With Latin-1,
            # each byte becomes one character, so that `_decode` gets the bytes below.
            body.decode("latin-1"),
            keep_blank_values=True,
            max_num_fields=MAX_HOOK_FORM_FIELDS,
            encoding="latin-1",
        )
        for pair in pairs:
            name, text = (
                _decode(field_bytes.encode("latin-1", "replace"), charset) for field_bytes in pair
            )
            yield name, text
    elif form.get_content_type() == "multipart/form-data" and form.is_multipart():
        for part in form.iter_parts():
            content = bytes(part.get_payload(decode=True) or b"")  # None: it has parts itself
            # None: a part of the form without a name, which is left out.
            if isinstance(title := part.get_param("name", header="content-disposition"), str):
                yield title, part.get_filename() or _decode(content, part.get_content_charset())


def _parse_content_type(content_type: str, body: bytes) -> EmailMessage:
    head = b"Content-Type: " + content_type.encode() + b"\r\n\r\n"
    return email.message_from_bytes(head + body, policy=email.policy.HTTP)


def _decode(content: bytes, charset: str | None) -> str:
    """Some senders name a wrong character set, or none: one that does not fit is replaced by that
    of `find_encoding`."""
    with suppress(UnicodeError, LookupError):
        # Only character sets that agree with ASCII: UTF-16 is found by the bytes, and Python takes
        # minutes to decode a long text as punycode.
        if charset and b"x-b".decode(charset) == "x-b":
            return content.decode(charset).removeprefix("\ufeff")
    # The space ends the last character, which `find_encoding` takes for an incomplete one.
    encoding = find_encoding(content + b" ") or "utf-8"
    return content.decode(encoding, "replace").removeprefix("\ufeff")


def _parse_value(text: str) -> Any:
    body = text.encode("utf-8", "replace")
    if check_json(body, MAX_VALUES, MAX_DEPTH):
        return text  # too complex
    try:
        # NocoDB and others fill values into a text: their line breaks are not escaped.
        return parse_json(body, strict=False)
    except ValueError:
        return text


def _build_refusal(code: str, wait: int = 0, why: str = "") -> HttpAnswer:
    status, message = _ERRORS[code]
    message += f" ({to_one_line(why, 200)})" if why else ""
    headers = {"retry-after": str(wait)} if wait else {}
    return _build_answer(status, {"error": {"code": code, "message": message}}, headers)


def _build_answer(
    status: int, value: Mapping[str, Any], extra_headers: Mapping[str, str] | None = None
) -> HttpAnswer:
    headers = {
        "content-type": "application/json",
        "cache-control": "no-store",
        **(extra_headers or {}),
    }
    return status, headers, json.dumps(value).encode()
