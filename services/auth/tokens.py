"""Signing keys, access tokens and refresh tokens.

An access token is a JWT, verified with the public key. A refresh token is `family.secret`, both random. The
database stores only a hash of the secret, so a reader of the database can't use the sessions in it.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from dataclasses import dataclass, field
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from protocols.identity import ACCESS_SECONDS, ALGORITHM, ISSUER
from services.auth.records import User

_REFRESH = re.compile(r"[0-9a-f]{32}\.[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True)
class SigningKey:
    """An Ed25519 key and its id. secret: the 32 bytes of the private key."""

    kid: str
    secret: bytes = field(repr=False)

    @classmethod
    def new(cls) -> SigningKey:
        """A new random key."""
        return cls(secrets.token_hex(8), Ed25519PrivateKey.generate().private_bytes_raw())


@dataclass(frozen=True, slots=True)
class RefreshSecret:
    """The parsed form of one refresh token. A family is all refresh tokens of one login.

    family: 32 hex digits. digest: SHA-256 of the secret, in hex.
    """

    family: str
    digest: str

    @classmethod
    def parse(cls, token: str) -> RefreshSecret | None:
        """The parsed `token`; None if it does not have the form of a refresh token."""
        if not _REFRESH.fullmatch(token):
            return None
        family, _, secret = token.partition(".")
        return cls(family, hashlib.sha256(secret.encode()).hexdigest())


def new_refresh_token(family: str | None = None) -> str:
    """A new refresh token of `family`; None: of a new family."""
    return f"{family or secrets.token_hex(16)}.{secrets.token_urlsafe(32)}"


class Signer:
    """Issues access tokens with one key."""

    def __init__(self, key: SigningKey) -> None:
        self._kid = key.kid
        self._private = Ed25519PrivateKey.from_private_bytes(key.secret)

    def issue(self, user: User, now: float) -> str:
        """An access token for `user`, valid for 15 minutes from `now` (Unix seconds)."""
        claims = {
            "iss": ISSUER,
            "sub": user.id,
            "email": user.email,
            "role": user.role,
            "iat": int(now),
            "exp": int(now) + ACCESS_SECONDS,
            "jti": secrets.token_hex(8),
        }
        return jwt.encode(claims, self._private, algorithm=ALGORITHM, headers={"kid": self._kid})

    def jwks(self) -> dict[str, Any]:
        """The key set that verifies this signer's tokens (RFC 7517, RFC 8037)."""
        public = self._private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        text = base64.urlsafe_b64encode(public).rstrip(b"=").decode()
        key = {
            "kty": "OKP",
            "crv": "Ed25519",
            "x": text,
            "kid": self._kid,
            "use": "sig",
            "alg": ALGORITHM,
        }
        return {"keys": [key]}
