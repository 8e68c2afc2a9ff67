"""One operator's command, and where it is kept while it is in force. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

HOLDS = frozenset({"force_open", "disable", "observe"})
"""The actions whose state lasts until another action ends it."""
LASTING = HOLDS | {"configure"}
"""The commands that may have an expiry."""
POLICIES = "policies"
"""The slot of the last reload, which lifts all changes of policies."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What an operator ordered.

    id: unique. do: trip, reset, force_open, disable, observe, configure or reload. breaker: empty for a
    reload. who: a user id or "ADMIN_TOKEN". lasts: seconds; None: until it is lifted. changes: the keys of a
    policy that `configure` sets. unix_time: when it was given, by the clock of the instance that took it; for
    people alone.
    """

    id: str
    do: str
    who: str
    reason: str
    request_id: str
    unix_time: float
    breaker: str = ""
    lasts: float | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)

    def slots(self) -> list[str]:
        """The places that it takes: a later command for one of them replaces it there."""
        match self.do:
            case "configure":
                return [policy_slot(self.breaker, key) for key in self.changes]
            case "reload":
                return [POLICIES]
            case _:
                return [hold_slot(self.breaker)]

    def to_json(self) -> str:
        """The command as JSON."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Command:
        """The command of `to_json`. Raises ValueError or TypeError."""
        return cls(**json.loads(text))


def hold_slot(breaker: str) -> str:
    """The slot of what an operator last did to a breaker: a hold, or a trip or reset, which lifts it."""
    return f"hold:{breaker}"


def policy_slot(breaker: str, key: str) -> str:
    """The slot of one changed key of a breaker's policy."""
    return f"policy:{breaker}:{key}"


def is_policy_slot(slot: str) -> bool:
    """Whether a reload lifts what is in this slot."""
    return slot.startswith("policy:")
