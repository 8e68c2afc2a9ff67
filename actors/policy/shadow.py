"""A policy that is tried in shadow: what it has otherwise than the policy in force."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import Enum
from typing import Any

from .backoff import Backoff
from .trip import TripStrategy


class Same(Enum):
    """The type of SAME."""

    SAME = "same"

    def __repr__(self) -> str:
        return "SAME"


SAME = Same.SAME
"""A field of a ShadowPolicy that has the value of the policy in force."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowPolicy:
    """A policy that is observed beside the one in force: `CircuitBreakerConfig(shadow=ShadowPolicy(trip=…))`.

    Each field is that of CircuitBreakerConfig, and decides when the shadow opens, waits and closes. A field
    that isn't set has the value of the policy in force; `max_failures` takes the place of its `trip`.
    What counts as a failure, the time limits and the bulkhead are always those in force: the shadow gets
    the outcomes of the real calls. It has no probe of its own: callers' calls are its probes.

    Raises ValueError if no field is set. The ranges are checked by the policy that it is put into.
    """

    max_failures: int | Same = SAME
    reset_timeout: float | Same = SAME
    trip: TripStrategy | Same | None = SAME
    half_open_max_calls: int | Same = SAME
    successes_to_close: int | Same = SAME
    half_open_timeout: float | Same | None = SAME
    half_open_failure_rate: float | Same | None = SAME
    ramp: float | Same | None = SAME
    in_flight_slow: bool | Same = SAME
    backoff: Backoff | Same = SAME

    def __post_init__(self) -> None:
        if not self.changes():
            raise ValueError("shadow must set a key of the policy, got none")

    def changes(self) -> dict[str, Any]:
        """The fields that are set, by name."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not SAME}
