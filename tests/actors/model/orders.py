"""Every order of the reference's steps that explains the results of several tasks.

Acts of several tasks at once have no order of their own: the readings afterwards must be those of some
order of the reference's steps. `Orders` keeps every order that still explains all results.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from actors import CircuitBreakerConfig
from tests.actors.model.reference import Reference
from tests.actors.model.schedules import PROBE

Act = Callable[[Reference], bool]
"""One step of the reference. Returns whether the step explains the caller's result."""


class Orders:
    """Every state of the reference that explains the results so far."""

    def __init__(self, config: CircuitBreakerConfig) -> None:
        self.models = [Reference(config)]

    def at(self, now: float) -> set[int]:
        """Let time pass; return the calls that have timed out. All models agree: nothing else happened."""
        over = []
        for model in self.models:
            model.wake(now)
            over.append(frozenset(model.time_out(now)))
            model.probe(now, PROBE.passes)
        assert len(set(over)) == 1
        return set(over[0])

    def explain(self, threads: list[list[Act]], now: float, reading: dict[str, Any] | None) -> None:
        """Keep the orders of `threads` (each in its own order) after which the reference has this reading."""
        reached = {model.key(): model for start in self.models for model in interleavings(start, threads)}
        assert reached, f"no order of what happened at {now} explains what callers saw"
        self.models = list(reached.values())
        if reading is not None:
            readings = [model.reading(now) for model in self.models]
            self.models = [
                model for model, read in zip(self.models, readings, strict=True) if read == reading
            ]
            assert self.models, (
                f"no order of what happened at {now} explains\n  {reading}, only\n  {readings}"
            )


def interleavings(start: Reference, threads: list[list[Act]]) -> Iterator[Reference]:
    if len(threads) <= 1:
        # One thread is left: there is one order, and no other order needs `start`.
        if all(act(start) for thread in threads for act in thread):
            yield start
        return
    for place, thread in enumerate(threads):
        model = start.copy()
        if thread[0](model):
            rest = [thread[1:]] if thread[1:] else []
            yield from interleavings(model, [*threads[:place], *rest, *threads[place + 1 :]])
