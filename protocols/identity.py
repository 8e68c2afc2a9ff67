"""The identity in a verified access token, and the constants of tokens."""

from __future__ import annotations

from dataclasses import dataclass

from protocols.topology import AUTH_SERVICE

ISSUER = AUTH_SERVICE
ALGORITHM = "EdDSA"
USER = "user"
ADMIN = "admin"
"""The roles. Any other role in a token has the rights of USER."""
ACCESS_SECONDS = 15 * 60
REFRESH_SECONDS = 7 * 24 * 3600
LEEWAY_SECONDS = 60
"""How far the clocks of two hosts may differ: a token that expires later than ours ever do isn't ours."""


@dataclass(frozen=True, slots=True)
class Identity:
    """The sender of a request. user_id: 24 hex digits. expires_at: Unix seconds."""

    user_id: str
    email: str
    role: str
    expires_at: float
