"""Access tokens that aren't ours, though some are signed with our key."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from deploy.demo.ephemeral_stack import EphemeralStack
from deploy.programs import mongodb
from protocols.identity import ACCESS_SECONDS, ALGORITHM, ISSUER, LEEWAY_SECONDS


def forged_tokens(stack: EphemeralStack) -> dict[str, str]:
    """Tokens of an alleged admin that must not be accepted, by what is wrong with them."""
    with mongodb.connect(mongodb.own_uri(stack.config)) as client:
        stored = client.auth.signing_keys.find_one({"_id": "current"})
    assert stored is not None
    key, kid = Ed25519PrivateKey.from_private_bytes(bytes(stored["secret"])), stored["kid"]
    good = _signed(key, kid)
    return {**_signed_by_us(key, kid), **_signed_by_others(key, kid), **_damaged(good)}


def good_token(stack: EphemeralStack) -> str:
    """A token made in the same way as the forged ones, with which nothing is wrong."""
    with mongodb.connect(mongodb.own_uri(stack.config)) as client:
        stored = client.auth.signing_keys.find_one({"_id": "current"})
    assert stored is not None
    return _signed(Ed25519PrivateKey.from_private_bytes(bytes(stored["secret"])), stored["kid"])


def _claims(**changed: Any) -> dict[str, Any]:
    now = int(time.time())
    claims = {
        "iss": ISSUER,
        "sub": "f" * 24,
        "email": "forger@evil.test",
        "role": "admin",
        "iat": now,
        "exp": now + ACCESS_SECONDS,
        "jti": "0" * 16,
        **changed,
    }
    return {name: value for name, value in claims.items() if value is not None}


def _signed(key: Any, kid: Any, algorithm: str = ALGORITHM, **changed: Any) -> str:
    return jwt.encode(_claims(**changed), key, algorithm=algorithm, headers={"kid": kid})


def _signed_by_us(key: Ed25519PrivateKey, kid: str) -> dict[str, str]:
    """Signed with the right key, with claims that the auth service never makes."""
    now = int(time.time())
    return {
        "expired": _signed(key, kid, exp=now - 1),
        "valid for a year": _signed(key, kid, exp=now + 365 * 86400),
        "valid for too long": _signed(key, kid, exp=now + ACCESS_SECONDS + LEEWAY_SECONDS + 5),
        "without an expiry": _signed(key, kid, exp=None),
        "an expiry that is no time": _raw_claims(key, kid, b'{"exp": NaN}'),
        "an infinite expiry": _raw_claims(key, kid, b'{"exp": 1e999}'),
        "another issuer": _signed(key, kid, iss="evil"),
        "without an issuer": _signed(key, kid, iss=None),
        "another audience": _signed(key, kid, aud="someone-else"),
        "not yet valid": _signed(key, kid, nbf=now + 600),
        "claims that are a list": _raw_claims(key, kid, b"[]"),
        "nested claims": _raw_claims(key, kid, b'{"sub":' + b"[" * 900 + b"]" * 900 + b"}"),
    }


def _signed_by_others(key: Ed25519PrivateKey, kid: str) -> dict[str, str]:
    other = Ed25519PrivateKey.generate()
    public = key.public_key()
    raw = public.public_bytes(Encoding.Raw, PublicFormat.Raw)
    unsigned = f"{_part({'alg': 'none', 'kid': kid, 'typ': 'JWT'})}.{_part(_claims())}."
    return {
        "no signature": unsigned,
        "no signature, in capitals": f"{_part({'alg': 'NONE', 'kid': kid})}.{_part(_claims())}.",
        "another key": _signed(other, kid),
        "another key and its id": _signed(other, "0" * 16),
        "our key under another id": _signed(key, "0" * 16),
        "an id that is a path": _signed(other, "../../../../dev/null"),
        "HS256 with the public key": _signed(raw, kid, "HS256"),
        "HS256 with the public key as text": _signed(base64.urlsafe_b64encode(raw), kid, "HS256"),
        "HS256 with no secret": _hmac_with_nothing(kid),
        "its own key in the header": jwt.encode(
            _claims(),
            other,
            algorithm=ALGORITHM,
            headers={"kid": kid, "jwk": {"kty": "OKP", "crv": "Ed25519", "x": "AA"}, "jku": "http://x/"},
        ),
    }


def _damaged(good: str) -> dict[str, str]:
    header, claims, signature = good.split(".")
    return {
        "cut": good[:-10],
        "without its signature": f"{header}.{claims}",
        "with an empty signature": f"{header}.{claims}.",
        "other claims": f"{header}.{_part(_claims(sub='0' * 24))}.{signature}",
        "two of them": f"{good},{good}",
        "more parts": f"{good}.{signature}",
        "huge": f"{header}.{'A' * 20_000}.{signature}",
        "a nested header": f"{_encoded(b'[' * 2500)}.{claims}.{signature}",
        "a kid that is an object": f"{_part({'alg': ALGORITHM, 'kid': {'$ne': None}})}.{claims}.{signature}",
        "no JSON": f"{_encoded(bytes(range(200, 250)))}.{claims}.{signature}",
        "dots": "..",
        "not a token": "admin",
        "Latin letters": "\xe9.\xe9.\xe9",
    }


def _raw_claims(key: Ed25519PrivateKey, kid: str, claims: bytes) -> str:
    """A signed token with any claims."""
    body = f"{_part({'alg': ALGORITHM, 'kid': kid, 'typ': 'JWT'})}.{_encoded(claims)}"
    return f"{body}.{_encoded(key.sign(body.encode()))}"


def _hmac_with_nothing(kid: str) -> str:
    body = f"{_part({'alg': 'HS256', 'kid': kid})}.{_part(_claims())}"
    return f"{body}.{_encoded(hmac.digest(b'', body.encode(), hashlib.sha256))}"


def _part(value: Any) -> str:
    return _encoded(json.dumps(value).encode())


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
