"""Checks the signature of ID tokens. Only this module uses joserfc, which it imports when the first
one arrives."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any

from adapters.web.oidc.provider import refusal
from core.base.json_text import parse_json

MAX_HEADER_BYTES = 16 * 1024
MAX_TRIED_KEYS = 20
_KEY_TYPES = {"R": "RSA", "P": "RSA", "E": "EC"}


UNKNOWN_KEY = "no key of the provider fits the ID token"
"""The detail of a refusal if the provider may have replaced its keys a moment ago."""


def read_claims(
    token: str, keys: Sequence[Mapping[str, Any]], algorithms: Collection[str]
) -> Mapping[str, Any]:
    """Raise SignInRefused. A key in the token's own header is never used: anybody could put one
    there. Runs in a thread, because it computes for a while.

    The detail UNKNOWN_KEY tells the caller that newer keys of the provider may help.
    """
    # Loaded at the first sign-in with a provider.
    from joserfc.errors import JoseError
    from joserfc.jwk import JWKRegistry
    from joserfc.jws import JWSRegistry, deserialize_compact, extract_compact

    registry = JWSRegistry(algorithms=sorted(algorithms), strict_check_header=False)
    registry.max_header_length = MAX_HEADER_BYTES
    faults = (JoseError, ValueError, TypeError, LookupError, AttributeError)
    try:
        header = extract_compact(token.encode(), registry=registry).headers()
        algorithm, id = header["alg"], header.get("kid")
        # No extension is understood here, and an empty list of them is not allowed (RFC 7515,
        # section 4.1.11).
        if algorithm not in algorithms or "crit" in header:
            raise refusal("token", "the algorithm of the ID token is not allowed")
    except faults as error:
        raise refusal("token", f"the ID token is invalid ({type(error).__name__})") from None
    # A key counts only for its own type and algorithm: else a public key could be used as the
    # secret of another algorithm.
    candidates = [
        key
        for key in keys
        if key.get("kty") == _KEY_TYPES[algorithm[0]]  # RS256, PS256: RSA; ES256: EC
        and key.get("use", "sig") == "sig"
        and key.get("alg", algorithm) == algorithm
        and (id is None or key.get("kid", id) == id)
    ]
    # Without a name in the token or at the keys, several may fit, and each is tried.
    for key in candidates[:MAX_TRIED_KEYS]:
        with suppress(*faults):  # also for a key of another curve
            signer = JWKRegistry.import_key(dict(key))
            claims = parse_json(
                deserialize_compact(token, signer, registry=registry).payload or b""
            )
            if isinstance(claims, dict):
                return claims
    raise refusal("token", UNKNOWN_KEY)
