"""Replays recorded calls under a policy, by the machine of the library, and counts what it costs."""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from actors import State
from benchmarks.adaptive.policies import OnMachine

from .recording import Ended


@dataclass(frozen=True, slots=True)
class Costs:
    """What a policy costs, by block of time, in calls.

    lost: good calls that it rejects. sent: bad calls that it sends. opened: how often it leaves CLOSED, in
    total.
    """

    lost: tuple[int, ...]
    sent: tuple[int, ...]
    opened: int

    def __add__(self, other: Costs) -> Costs:
        lost = tuple(map(sum, zip(self.lost, other.lost, strict=True)))
        sent = tuple(map(sum, zip(self.sent, other.sent, strict=True)))
        return Costs(lost, sent, self.opened + other.opened)

    def of(self, block: int) -> int:
        """The calls of one block that were lost or sent in vain."""
        return self.lost[block] + self.sent[block]

    @property
    def total(self) -> int:
        """The calls that were lost or sent in vain."""
        return sum(self.lost) + sum(self.sent)


def replay(calls: Sequence[Ended], cuts: Sequence[float], make: Callable[[], OnMachine]) -> Costs:
    """Replay the calls, oldest first. cuts: the times between blocks.

    The policy goes on from block to block, so an adaptive one keeps what it has learned.
    """
    policy = make()
    admit, settle, pop, push = policy.admit, policy.settle, heapq.heappop, heapq.heappush
    lost, sent = [0] * (len(cuts) + 1), [0] * (len(cuts) + 1)
    running: list[tuple[float, int, Any, bool]] = []
    for number, (start, end, failed) in enumerate(calls):
        while running and running[0][0] <= start:
            moment, _, permit, ok = pop(running)
            settle(permit, ok, moment)
        permit = admit(start)
        if permit is None:
            if not failed:
                lost[bisect_right(cuts, start)] += 1
            continue
        if failed:
            sent[bisect_right(cuts, start)] += 1
        push(running, (end, number, permit, not failed))
    opened = sum(old is State.CLOSED for _, old, new, _ in policy.transitions if new is State.OPEN)
    return Costs(tuple(lost), tuple(sent), opened)
