"""The recorded calls of one breaker, and what is assumed of those that were rejected."""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import median
from typing import NamedTuple

from .log_reader import RecordedCall

SEEN = 5
"""The calls on each side of a gap by which the dependency's state there is judged."""
SEED = 1
SPREAD = (5**0.5 - 1) / 2
"""Steps of the golden ratio, modulo 1, are spread evenly however many they are.

If all gaps changed at one half, a policy with half of the recorded wait would find each change at once.
"""
USUAL_DURATION = 0.05
"""Seconds, if no call of the kind has a duration."""


class Ended(NamedTuple):
    """A call as it is replayed. Times are seconds from the log's start. failed: as assumed, if rejected."""

    start: float
    end: float
    failed: bool


@dataclass(frozen=True, slots=True)
class Recording:
    """The calls of one breaker, oldest first. origin: the time from which replays count."""

    name: str
    calls: Sequence[RecordedCall]
    origin: float

    def outcomes(self, shift: float = 0.0) -> list[Ended]:
        """Each call with an outcome.

        A gap is a row of rejected calls. What the dependency would have answered there is unknown. It is
        assumed to be as in the five calls before the gap, and from some time in the gap on as in the five
        after it; neither reaches beyond another gap. These times are spread evenly over the gaps. A call
        fails by a die that is the same for every policy and shift.

        shift: -0.5 to 0.5, of a gap's length: makes the mean of these times earlier or later.
        """
        dice = random.Random(f"{self.name} {SEED}")
        good, bad = self._duration(failed=False), self._duration(failed=True)
        found = []
        for call, share in zip(self.calls, self._shares(shift), strict=True):
            # Drawn for every call, so that it is the same whatever was rejected.
            die = dice.random()
            failed = die < share if call.failed is None else call.failed
            duration = call.duration if call.duration is not None else (bad if failed else good)
            start = call.start - self.origin
            found.append(Ended(start, start + duration, failed))
        return found

    def _duration(self, *, failed: bool) -> float:
        known = [call.duration for call in self.calls if call.failed is failed and call.duration is not None]
        return median(known) if known else USUAL_DURATION

    def _shares(self, shift: float) -> Iterator[float]:
        """For each call, the assumed share that fails; of a call that wasn't rejected, any number."""
        runs = [(seen, list(calls)) for seen, calls in groupby(self.calls, _was_sent)]
        change = 0.5
        for n, (seen, calls) in enumerate(runs):
            if seen:
                yield from (0.0 for _ in calls)
                continue
            before = _share(runs[n - 1][1][-SEEN:]) if n else None
            after = _share(runs[n + 1][1][:SEEN]) if n + 1 < len(runs) else None
            yield from _gap(calls, before, after, _shifted(change, shift))
            if before != after:
                change = (change + SPREAD) % 1


def _was_sent(call: RecordedCall) -> bool:
    return call.failed is not None


def _share(calls: Sequence[RecordedCall]) -> float:
    return sum(call.failed is True for call in calls) / len(calls)


def _shifted(change: float, shift: float) -> float:
    """A time of a gap, moved to its end or its start; the mean of evenly spread ones moves by `shift`."""
    return 1 - (1 - change) * (1 - 2 * shift) if shift > 0 else change * (1 + 2 * shift)


def _gap(
    calls: Sequence[RecordedCall], before: float | None, after: float | None, change: float
) -> Iterable[float]:
    """The share that fails for each call of a gap. change: the part of it that is as before it."""
    if before is None or after is None:
        only = before if before is not None else after
        return [1.0 if only is None else only] * len(calls)
    starts = [call.start for call in calls]
    moment = starts[0] + change * (starts[-1] - starts[0])
    first = 0 if change <= 0 else bisect_right(starts, moment)
    return [before] * first + [after] * (len(calls) - first)
