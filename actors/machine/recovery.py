"""What is left of a machine after its actor has crashed."""

from __future__ import annotations

from typing import NamedTuple

from ..messages import State


class RecoveryState(NamedTuple):
    """The state with which the successor of a crashed machine carries on. Windows start empty.

    until: the end of the wait; None unless OPEN. attempt: the step of the backoff.
    failures, slow: the counts at the last opening. consecutive_failures: the failures in a row.
    """

    state: State
    generation: int
    until: float | None
    attempt: int
    failures: int
    slow: int
    consecutive_failures: int
    opened_at: float | None
