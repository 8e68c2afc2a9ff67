"""A discrete-event simulation of one trace under one policy, and what it cost."""

from __future__ import annotations

import functools
import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from .traces import BY_NAME, DURATION, Offered

WATCHED = 10
"""Calls by whose admission the times to detect and to recover are measured."""


STEPS = 50
"""In a second of a trace the share that fails is taken so often: asking for each call is slow."""


@functools.cache
def _shares(name: str) -> list[float]:
    chance = BY_NAME[name].chance
    return [chance((n + 0.5) / STEPS) for n in range(int(DURATION * STEPS) + 2000)]


class Policy(Protocol):
    """What decides about calls. `now` never goes back."""

    def admit(self, now: float) -> Any:
        """A permit, or None if the call is rejected."""

    def settle(self, permit: Any, ok: bool, now: float) -> None:
        """The end of a permitted call."""


@dataclass(slots=True)
class Cost:
    """What a policy cost in one trace. Counts of calls; times in seconds before scaling."""

    offered: int = 0
    good_lost: int = 0
    bad_sent: int = 0
    regret: float = 0.0
    good: int = 0
    detect: list[float] = field(default_factory=list)
    recover: list[float] = field(default_factory=list)

    @property
    def score(self) -> float:
        """Points; less is better. See docs/reference/adaptive.md."""
        calls = 100 * self.regret / max(1, self.offered)
        return calls + 10 * (sum(self.detect) + sum(self.recover)) / DURATION


class _Watch:
    """Measures the time from an incident's start to mostly rejecting, and from its end to admitting all."""

    def __init__(self, cost: Cost, scale: float) -> None:
        self._cost = cost
        self._scale = scale
        self._last: deque[bool] = deque([True] * WATCHED, maxlen=WATCHED)
        self._down: float | None = None
        self._up: float | None = None

    def call(self, now: float, admitted: bool, down: bool) -> None:
        last = self._last
        last.append(admitted)
        if down and self._down is None:
            self.finish(now)
            self._down = now
        elif not down and self._down is not None:
            self._end_down(now)
            self._up = now
        if self._down is not None and self._down >= 0 and sum(last) <= WATCHED // 2:
            self._cost.detect.append((now - self._down) / self._scale)
            self._down = -1.0
        if self._up is not None and all(last):
            self._cost.recover.append((now - self._up) / self._scale)
            self._up = None

    def _end_down(self, now: float) -> None:
        if self._down is not None and self._down >= 0:
            self._cost.detect.append((now - self._down) / self._scale)
        self._down = None

    def finish(self, now: float) -> None:
        """Close what is still measured."""
        if self._up is not None:
            self._cost.recover.append((now - self._up) / self._scale)
            self._up = None
        self._end_down(now)


class _Capacity:
    """What the dependency bears: a bucket of 0.25 s, five calls at least; what flows over fails."""

    def __init__(self, offered: Offered) -> None:
        assert offered.trace.capacity is not None
        self._bears = offered.trace.capacity
        self._rate = offered.rate
        self._scale = offered.scale
        self._level = 0.0
        self._then = 0.0

    def full(self, now: float, *, sent: bool) -> bool:
        """Whether a call at `now` is too much. A sent one takes its part, a failing one half of it."""
        bears = self._bears(now / self._scale) * self._rate
        self._level = max(0.0, self._level - bears * (now - self._then))
        self._then = now
        too_much = self._level + 1 > max(5.0, bears * 0.25)
        if sent:
            self._level += 0.5 if too_much else 1.0
        return too_much


def simulate(offered: Offered, make: Callable[[], Policy]) -> Cost:
    """Run one trace."""
    return _Run(offered, make).run()


class _Run:
    """One trace under one policy: calls come, and their ends before the next call."""

    def __init__(self, offered: Offered, make: Callable[[], Policy]) -> None:
        trace = offered.trace
        self._offered = offered
        self._cost = Cost()
        self._watch = _Watch(self._cost, offered.scale)
        self._policies = [make() for _ in range(trace.shards if trace.keyed else 1)]
        self._capacity = None if trace.capacity is None else _Capacity(offered)
        self._step = offered.scale / STEPS
        self._shares = _shares(trace.name)
        self._ends: list[tuple[float, int, Policy, Any, bool]] = []
        self._again: list[tuple[float, int, int]] = []
        self._sequence = 0

    def run(self) -> Cost:
        """The cost of the whole trace."""
        times, again, ends, pop = self._offered.times, self._again, self._ends, heapq.heappop
        index, total = 0, len(times)
        while index < total or again:
            if again and (index >= total or again[0][0] <= times[index]):
                now, call, attempt = pop(again)
            else:
                now, call, attempt = times[index], index, 0
                index += 1
            while ends and ends[0][0] <= now:
                moment, _, policy, permit, ok = pop(ends)
                policy.settle(permit, ok, moment)
            self._call(now, call, attempt)
        self._watch.finish(DURATION * self._offered.scale)
        return self._cost

    def _call(self, now: float, call: int, attempt: int) -> None:
        offered, cost, capacity = self._offered, self._cost, self._capacity
        trace = offered.trace
        share = seen = self._shares[int(now / self._step)]
        policy, watched = self._policies[0], True
        if trace.shards > 1:
            policy, share, seen, watched = self._of_shard(offered.keys[call], share)
        permit = policy.admit(now)
        fails = by_chance = offered.fails[call][attempt] < share
        if capacity is not None:
            too_much = capacity.full(now, sent=permit is not None)
            fails = fails or too_much
        down = seen >= 0.5 and not trace.healthy
        if watched:
            self._watch.call(now, permit is not None, down)
        cost.offered += 1
        cost.good += not fails
        if permit is None:
            cost.good_lost += not fails
            if not down:
                # A judge would have sent it: it is a loss, or a failure spared by chance.
                cost.regret += 1 if not fails else (-1 if capacity is None else 0)
            return
        cost.bad_sent += fails
        if down:
            cost.regret += 1 if fails else -1
        elif fails and not by_chance:
            # Too much load: a policy that sends less would have spared it.
            cost.regret += 1
        self._sequence += 1
        end = now + (trace.failing if fails else offered.takes[call])
        heapq.heappush(self._ends, (end, self._sequence, policy, permit, not fails))
        if fails and attempt < trace.retries:
            heapq.heappush(self._again, (end + 0.1, call, attempt + 1))

    def _of_shard(self, key: int, share: float) -> tuple[Policy, float, float, bool]:
        """The breaker of a shard's call, its share of failures, the breaker's, and whether it is watched."""
        trace, usual = self._offered.trace, self._shares[0]
        own = usual if key else share
        if trace.keyed:
            return self._policies[key], own, own, key == 0
        # One breaker for all shards sees the mixture.
        return self._policies[0], own, (share + (trace.shards - 1) * usual) / trace.shards, True
