"""Programs that send webhooks, with the headers that the real services send."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any

KEY = base64.b64encode(b"a key of a webhook in tests").decode()
STANDARD_SECRET = f"whsec_{KEY}"
PLAIN_SECRET = "a secret of a webhook in tests"
Headers = Mapping[str, str]


def encode_body(value: Any) -> bytes:
    return json.dumps(value).encode()


def from_github(body: bytes, delivery: str, event: str = "push") -> Headers:
    """As GitHub signs: the body alone. It sends the old SHA-1 too."""
    signature = hmac.new(PLAIN_SECRET.encode(), body, hashlib.sha256).hexdigest()
    old = hmac.new(PLAIN_SECRET.encode(), body, hashlib.sha1).hexdigest()
    return {
        "x-github-event": event,
        "x-github-delivery": delivery,
        "x-hub-signature": f"sha1={old}",
        "x-hub-signature-256": f"sha256={signature}",
        "content-type": "application/json",
    }


def from_stripe(body: bytes, at: float, *, replaced: bool = False) -> Headers:
    """As Stripe signs; while its secret is replaced, with the old and the new one."""
    payload = f"{int(at)}.".encode() + body
    signature = hmac.new(PLAIN_SECRET.encode(), payload, hashlib.sha256).hexdigest()
    other = f"v1={'0' * 64}," if replaced else ""
    return {"stripe-signature": f"t={int(at)},{other}v1={signature},v0={'1' * 64}"}


def from_standard(body: bytes, id: str, at: float) -> Headers:
    """As Standard Webhooks signs, with a signature of another key and one of another version."""
    payload = f"{id}.{int(at)}.".encode() + body
    result = hmac.new(base64.b64decode(KEY), payload, hashlib.sha256).digest()
    other = base64.b64encode(b"0" * 32).decode()
    text = base64.b64encode(result).decode()
    return {
        "webhook-id": id,
        "webhook-timestamp": str(int(at)),
        "webhook-signature": f"v1,{other} v1a,{other} v1,{text}",
    }


def from_nocodb() -> Headers:
    """As NocoDB sends: unsigned, with the header that its webhook was given."""
    return {"x-hook-secret": PLAIN_SECRET, "content-type": "application/json"}
