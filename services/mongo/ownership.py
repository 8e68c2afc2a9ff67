"""The owners of records: which records an operation may touch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

OWNER = "owner"
"""The stored field with the user id of a record's creator. Repositories never return it."""


@dataclass(frozen=True, slots=True)
class OwnedBy:
    """Limits an operation to the records of one user.

    or_unowned: records without an owner too. They stem from releases that kept no owners.
    """

    user_id: str
    or_unowned: bool = False

    def condition(self) -> Mapping[str, Any]:
        """The condition of a query. It also matches a missing field if `or_unowned`."""
        return {OWNER: {"$in": [self.user_id, None]} if self.or_unowned else self.user_id}

    def admits(self, owner: str | None) -> bool:
        """Whether a record of `owner` is one of them."""
        return owner == self.user_id or (owner is None and self.or_unowned)


class Denied(Enum):
    """The result of an operation on a record that exists, but isn't one of those that it may touch."""

    DENIED = "denied"


DENIED = Denied.DENIED
