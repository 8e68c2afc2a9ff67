"""The keys by which accounts are found: an address in the form in which it is unique. Pure.

RULE is stored with every key of today's form. A key without it was made by an earlier release, or collides:
its account is found by the earlier form alone.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Any

from services.http.email_address import canonical_address

RULE = 2
"""The number of the rule that makes the keys. Keys of the first rule have no number."""

_LABEL = r"[^\W_](?:[\w-]{0,61}[^\W_])?"
_EARLIER = re.compile(rf"[^\s@<>()\[\],;:\\\"]{{1,64}}@(?:{_LABEL}\.)*{_LABEL}")


def earlier_address(text: str) -> str:
    """`text`. Raises ValueError unless it is an address by the earlier rule or by today's."""
    if not _EARLIER.fullmatch(text):
        try:
            canonical_address(text)
        except ValueError:
            raise ValueError("must be an e-mail address") from None
    return text


def canonical_key(email: str) -> str | None:
    """The key by today's rule; None for an address that only the earlier rule accepts."""
    try:
        return canonical_address(email)
    except ValueError:
        return None


def earlier_key(email: str) -> str:
    """The key by the earlier rule: case and full-width forms are the same, the forms of a domain differ."""
    return unicodedata.normalize("NFKC", email).casefold()


def address_key(email: str) -> str:
    """The key of a new account. Also identifies an account in counters."""
    return canonical_key(email) or earlier_key(email)


def stored_key(email: str) -> dict[str, Any]:
    """The fields of a new account's document that find it."""
    key = canonical_key(email)
    return {"email_key": earlier_key(email)} if key is None else {"email_key": key, "email_rule": RULE}


def key_conditions(email: str) -> list[dict[str, Any]]:
    """The conditions of a query, the one to prefer first: the earlier form is exactly what was stored."""
    found: list[dict[str, Any]] = [{"email_key": earlier_key(email), "email_rule": None}]
    key = canonical_key(email)
    return found if key is None else [*found, {"email_key": key, "email_rule": RULE}]
