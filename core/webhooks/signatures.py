"""Checks who sent the request of a webhook, and finds the id of its delivery.

| kind | signature | time | id of a delivery |
| --- | --- | --- | --- |
| github | X-Hub-Signature-256: HMAC of the body | none | X-GitHub-Delivery, not signed |
| stripe | Stripe-Signature: HMAC of time and body | t, 5 minutes | `id` of the body |
| standard | webhook-signature: HMAC of id, time, body | webhook-timestamp, 5 minutes | webhook-id |
| secret | none: a header holds the secret | none | a field of the body, else its digest |

All HMACs are SHA-256. All comparisons take constant time. Sources:
docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries,
docs.stripe.com/webhooks/signature, github.com/standard-webhooks/standard-webhooks (spec).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from typing import Any, Literal

from core.webhooks.hook import Hook, HookKind, find_field

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
    """Return whether the request comes from somebody who knows the webhook's secret. `headers` have
    names in lower case; `now` is in seconds since the epoch."""
    # An unset secret is replaced by one that nobody knows, so that the check takes as long.
    genuine = _CHECKS[hook.kind](hook, headers, body, now)
    return genuine and bool(hook.secret)


def delivery_id(hook: Hook, headers: Mapping[str, str], body: bytes, parsed: Any) -> str:
    """Return the id of a genuine delivery; "" if the sender gave none. A repeated delivery has the
    same id. Ids of unusual form are replaced by their digest."""
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
    """Return what is wrong with a secret of that kind: it is not base64, or too short."""
    if kind == "standard" and not _standard_key(secret):
        return "encoding"
    return "short" if len(secret) < MIN_SECRET_CHARACTERS else ""


def _check_github(hook: Hook, headers: Mapping[str, str], body: bytes, now: float) -> bool:
    given = headers.get("x-hub-signature-256", "")
    return _is_equal(given, f"sha256={_hex_hmac(hook.secret.encode(), body)}")


def _check_stripe(hook: Hook, headers: Mapping[str, str], body: bytes, now: float) -> bool:
    pairs = [part.strip().partition("=") for part in headers.get("stripe-signature", "").split(",")]
    time = next((value for name, _, value in pairs if name == "t"), "")
    given = [value for name, _, value in pairs if name == "v1"][:MAX_SIGNATURES]
    known = _hex_hmac(hook.secret.encode(), time.encode() + b"." + body)
    genuine = [_is_equal(one, known) for one in given]
    return any(genuine) and _is_recent(time, now)


def _check_standard(hook: Hook, headers: Mapping[str, str], body: bytes, now: float) -> bool:
    id, time = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    pairs = [part.partition(",") for part in headers.get("webhook-signature", "").split(" ")]
    given = [value for version, _, value in pairs if version == "v1"][:MAX_SIGNATURES]
    key = _standard_key(hook.secret)
    made = hmac.digest(key or b"-", f"{id}.{time}.".encode() + body, "sha256")
    known = base64.b64encode(made).decode()
    genuine = [_is_equal(one, known) for one in given]
    return any(genuine) and bool(id and key) and _is_recent(time, now)


def _check_secret(hook: Hook, headers: Mapping[str, str], body: bytes, now: float) -> bool:
    given = headers.get(hook.header.lower(), "")
    # Digests have one length, so the comparison does not reveal that of the secret.
    return _is_equal(digest(given.encode()), digest(hook.secret.encode()))


_CHECKS: Mapping[HookKind, Check] = {
    "github": _check_github, "stripe": _check_stripe, "standard": _check_standard,
    "secret": _check_secret,
}  # fmt: skip


def _standard_key(secret: str) -> bytes:
    """Return the bytes of a base64 secret, b"" if it is not base64."""
    try:
        return base64.b64decode(secret.removeprefix(_SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        return b""


def _is_recent(time: str, now: float) -> bool:
    return time.isdecimal() and abs(now - int(time[:15])) <= TOLERANCE_SECONDS


def _is_equal(given: str, known: str) -> bool:
    return hmac.compare_digest(given.encode(), known.encode())


def _as_id(value: Any) -> str:
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""


def _hex_hmac(key: bytes, content: bytes) -> str:
    return hmac.digest(key, content, "sha256").hex()


def digest(content: bytes) -> str:
    """Return the SHA-256 digest, in hexadecimal digits. That of a body is the id of a delivery that
    has no other."""
    return hashlib.sha256(content).hexdigest()
