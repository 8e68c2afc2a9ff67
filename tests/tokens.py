"""Access tokens for tests, signed as the auth service signs them."""

from __future__ import annotations

import json
import time

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import OKPAlgorithm

from protocols.identity import ACCESS_SECONDS, ALGORITHM, ISSUER
from runtime.auth import TokenVerifier


class Issuer:
    """Signs tokens with a new key. keys: verifies them. document: its key set."""

    def __init__(self) -> None:
        self._key = Ed25519PrivateKey.generate()
        public = json.loads(OKPAlgorithm.to_jwk(self._key.public_key()))
        self.document = {"keys": [{**public, "kid": "test", "alg": ALGORITHM, "use": "sig"}]}
        self.keys = TokenVerifier()
        self.keys.replace(self.document)

    def token(self, role: str = "user", lifetime: float = ACCESS_SECONDS, user_id: str = "0" * 24) -> str:
        """An access token that expires `lifetime` seconds from now."""
        claims = {
            "sub": user_id,
            "email": "someone@example.com",
            "role": role,
            "iss": ISSUER,
            "iat": int(time.time()),
            "exp": int(time.time() + lifetime),
        }
        return jwt.encode(claims, self._key, algorithm=ALGORITHM, headers={"kid": "test"})

    def headers(self, role: str = "user", user_id: str = "0" * 24) -> dict[str, str]:
        """The Authorization header with a valid token."""
        return {"Authorization": f"Bearer {self.token(role, user_id=user_id)}"}
