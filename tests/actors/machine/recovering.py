"""Half-open machines that judge a recovery by several probes."""

from __future__ import annotations

from actors import Machine, State
from tests.actors.machine.machines import CANCELLED, FAILURE, IGNORED, SUCCESS, H, admitted, machine


def recovering(probes: int = 4, rate: float = 0.5, **policy: object) -> Machine:
    """A machine that is half-open at time 0."""
    return machine(H, half_open_max_calls=probes, half_open_failure_rate=rate, **policy)


def play(it: Machine, outcomes: str, now: float = 0) -> list[State]:
    """One probe after another: + succeeds, - fails, i is ignored, c is cancelled. The state after each."""
    kinds = {"+": SUCCESS, "-": FAILURE, "i": IGNORED, "c": CANCELLED}
    states = []
    for one in outcomes:
        it.settle(admitted(it, now), kinds[one], now)
        states.append(it.state)
    return states
