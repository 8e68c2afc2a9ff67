"""The signing key, and a second one while keys are rotated. Pure.

A rotation: the next key is published in the key set at once. PUBLISHED_SECONDS later every verifier has
fetched it, and it signs. RETIRED_SECONDS later the last token of the old key has expired, and the old key
goes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from protocols.identity import ACCESS_SECONDS, LEEWAY_SECONDS
from runtime.auth import FETCH_SECONDS
from runtime.auth import REFRESH_SECONDS as VERIFIER_SECONDS
from services.auth.tokens import Signer, SigningKey

MAX_AGE_SECONDS = 20.0
"""An older reading of the stored keys isn't used for signing or publishing."""
PUBLISHED_SECONDS = MAX_AGE_SECONDS + VERIFIER_SECONDS + 2 * FETCH_SECONDS + 90.0
"""From a key's publication until it signs: each process of the auth service reads it, then each verifier
fetches it. The rest is for fetches that fail and for processes that are slow."""
RETIRED_SECONDS = ACCESS_SECONDS + LEEWAY_SECONDS + MAX_AGE_SECONDS + 40.0
"""From a key's first signature until the old key goes."""


@dataclass(frozen=True, slots=True)
class StoredKeys:
    """The stored keys.

    signs_in: seconds until `next` signs, at the moment of reading; negative if it does.
    """

    current: SigningKey
    next: SigningKey | None = None
    signs_in: float = math.inf

    @property
    def is_rotated(self) -> bool:
        """Whether the current key has to go."""
        return self.next is not None and self.signs_in <= -RETIRED_SECONDS


class KeyRing:
    """Stored keys at a moment. read_at: when they were read; times are seconds of any one clock."""

    def __init__(self, keys: StoredKeys, read_at: float) -> None:
        self.read_at = read_at
        self._current = Signer(keys.current)
        self._next = None if keys.next is None else Signer(keys.next)
        self._signs_at = read_at + keys.signs_in

    def signer(self, now: float) -> Signer:
        """The signer of a token that is issued now."""
        return self._current if self._next is None or now < self._signs_at else self._next

    def jwks(self) -> dict[str, Any]:
        """The key set with all keys that verify tokens, the current one first."""
        signers = [self._current] if self._next is None else [self._current, self._next]
        return {"keys": [key for signer in signers for key in signer.jwks()["keys"]]}
