"""The adaptive trip strategy: a sequential test against what is usual for this dependency. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..messages import Learned
from .any_of import LearningAmong
from .checks import number, positive_int, positive_number
from .learning.baseline import Baseline
from .learning.sequential import UNIT, break_even, success_weight, threshold
from .trip import Call, Learning, TripCounter, TripEvidence, TripStrategy

FIRST_CONFIDENCE = 4.35
FULL_CONFIDENCE = 14.0
"""Logarithms of the calls between two false alarms: of a new breaker, which so opens after seven failures in
a row, and of one that has seen a hundred calls."""
SHORTEST_WAIT = 0.1
"""Seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Adaptive(TripStrategy):
    """Opens when more calls fail than usual, and learns what is usual; its wait and its ramp are its own.

    failures: the least evidence that opens: failures, less what the successes between them weigh. Fewer
        notice an outage earlier, more tolerate unlucky rows of failures.
    blip: seconds of the usual traffic that may fail before it opens, if those are more than `failures`.
        Shorter notices earlier, longer tolerates longer blips at high rates.
    tolerance: the share of the usual successes that may be lost for long without opening. Below it a partial
        failure is tolerated, since rejecting all calls would lose more.
    probing: the share of the usual traffic that probes are, once the outage lasts. Larger notices a recovery
        earlier, and sends more calls to a dependency that is down.
    longest_wait: the most seconds between two probes.
    probes: the probes that must succeed in a row before it closes.
    memory: seconds that the average of the failures reaches back.
    """

    failures: int = 6
    blip: float = 0.4
    tolerance: float = 0.5
    probing: float = 0.05
    longest_wait: float = 60.0
    probes: int = 2
    memory: float = 600.0

    def __post_init__(self) -> None:
        positive_int("Adaptive.failures", self.failures)
        number("Adaptive.blip", self.blip, least=0)
        number("Adaptive.tolerance", self.tolerance, least=0.1, most=0.9)
        number("Adaptive.probing", self.probing, least=0, most=1, above=True)
        positive_number("Adaptive.longest_wait", self.longest_wait)
        positive_int("Adaptive.probes", self.probes)
        positive_number("Adaptive.memory", self.memory)

    def counter(self) -> TripCounter:
        """A counter that has learned nothing."""
        return self.learning().counter(0.0, recovered=False)

    def learning(self) -> AdaptiveLearning:
        """The memory of one breaker."""
        return AdaptiveLearning(self)


class AdaptiveLearning(Learning):
    """What a breaker with an Adaptive strategy has learned."""

    __slots__ = (
        "_evidence",
        "baseline",
        "incident_from",
        "incident_traffic",
        "is_young",
        "strategy",
        "success_weight",
        "successes_to_close",
        "threshold",
    )

    def __init__(self, strategy: Adaptive) -> None:
        self.strategy = strategy
        self.successes_to_close = strategy.probes
        self.baseline = Baseline(strategy.memory)
        self._evidence: _Evidence | None = None
        # The start of the incident, kept until all calls are admitted again, and the traffic at its start.
        self.incident_from: float | None = None
        self.incident_traffic = 1.0
        self.judge_anew()

    def judge_anew(self) -> None:
        """Set threshold and weight by the averages."""
        strategy, baseline = self.strategy, self.baseline
        usual = baseline.present
        self.success_weight = success_weight(usual, strategy.tolerance)
        confidence = min(FULL_CONFIDENCE, FIRST_CONFIDENCE + 4 * math.log1p(baseline.seen / 10))
        statistical = threshold(usual, strategy.tolerance, confidence)
        self.is_young = confidence < FULL_CONFIDENCE or baseline.traffic is None
        blip = strategy.blip * baseline.least_traffic
        self.threshold = math.ceil(UNIT * max(strategy.failures, blip, statistical))

    # The interface.

    def counter(self, now: float, *, recovered: bool) -> TripCounter:
        """The counter of a stay in CLOSED. After a recovery it starts with half of the threshold."""
        self.judge_anew()
        self._evidence = _Evidence(self, self.threshold // 2 if recovered else 0)
        if not recovered:
            self.unlimited(now)
        return self._evidence

    def opened(self, now: float) -> None:
        """Note the start of the incident; what isn't learned yet belongs to it."""
        evidence, self._evidence = self._evidence, None
        if self.incident_from is None:
            self.incident_from = now
            if evidence is not None and evidence.since is not None:
                self.incident_from = evidence.since
                lasted = max(now - evidence.since, 1e-3)
                self.incident_traffic = max(1, evidence.calls - 1) / lasted
        if self.baseline.traffic is not None:
            self.incident_traffic = self.baseline.traffic
        self.baseline.interrupt()

    def wait(self, now: float) -> float:
        """The wait that costs least, if probes and calls lost by a late probe cost alike."""
        strategy, traffic = self.strategy, self.incident_traffic
        age = 0.0 if self.incident_from is None else now - self.incident_from
        best = math.sqrt(2.0 * age / traffic)
        bound = 1.0 / (strategy.probing * traffic)
        return max(SHORTEST_WAIT, min(best, bound, strategy.longest_wait))

    @property
    def tolerated(self) -> float:
        """Half-way between the usual share of failures and the one that opens."""
        return (self.baseline.usual + self.break_even) / 2

    @property
    def break_even(self) -> float:
        """The share of failures at which the evidence neither rises nor falls on average."""
        return break_even(self.baseline.usual, self.strategy.tolerance)

    def unlimited(self, now: float) -> None:
        """The incident is over."""
        self.incident_from = None
        self.baseline.resume(now)

    def inherit_from(self, older: Learning) -> None:
        """Take over the averages and the incident."""
        if isinstance(older, LearningAmong):
            older = older.inner
        if isinstance(older, AdaptiveLearning):  # pragma: no branch - there is no other
            self.baseline = older.baseline
            self.incident_from, self.incident_traffic = older.incident_from, older.incident_traffic
            self.judge_anew()

    def learned(self) -> Learned:
        """What it has learned."""
        evidence = self._evidence
        return Learned(
            usual=self.baseline.usual if self.baseline.seen else None,
            traffic=self.baseline.traffic,
            evidence=0.0 if evidence is None else evidence.sum / UNIT,
            threshold=self.threshold / UNIT,
        )


class _Evidence(TripCounter):
    """The evidence of one stay in CLOSED, and the calls since it last was 0, which aren't learned yet."""

    __slots__ = ("_learning", "_quiet", "bad", "calls", "since", "sum")

    def __init__(self, learning: AdaptiveLearning, start: int) -> None:
        self._learning = learning
        self._quiet = True
        self.sum = start
        self.calls = self.bad = 0
        self.since: float | None = None

    def record(self, call: Call, now: float, count: int = 1) -> None:
        learning = self._learning
        # A young breaker judges anew by each failure, an older one each second: successes alone never trip.
        if learning.baseline.count(count, now) or (learning.is_young and call.failed):
            learning.judge_anew()
        self._quiet = False
        if call.failed:
            if self.since is None:
                self.since = now
            self.sum += count * UNIT
            self.bad += count
            self.calls += count
            return
        self.calls += count
        self.sum -= count * learning.success_weight
        if self.sum <= 0:
            self.sum = 0
            learning.baseline.learn(self.calls, self.bad)
            self.calls = self.bad = 0
            self.since = None

    def tripped(self, now: float) -> bool:
        learning = self._learning
        if self.since is None or self.sum < learning.threshold:
            return False
        # Until the traffic is known, a blip is measured by its time: quick failures end before the first
        # successes.
        return learning.baseline.traffic is not None or now - self.since >= learning.strategy.blip

    @property
    def reason(self) -> str:  # type: ignore[override]
        usual = self._learning.baseline
        if not self.calls:
            return "more calls failed than usual"
        share = f"{percent(self.bad / self.calls)} of the last {self.calls} calls failed"
        return f"{share}; usual is {percent(usual.usual)}" if usual.seen else share

    @property
    def failure_count(self) -> int:
        return self.bad

    def evidence(self) -> TripEvidence:
        # In units of evidence: what instances pool is its part of the threshold.
        return TripEvidence(self.sum if self.bad else 0, max(1, round(self._learning.threshold)))

    def advance(self, now: float) -> None:
        self._quiet = self._learning.baseline.is_quiet(now)

    def can_batch_successes(self) -> bool:
        # The first call after a quiet slice must be counted by a message: until then no timer runs.
        return not self._quiet

    def next_roll(self, now: float) -> float | None:
        return None if self._quiet else self._learning.baseline.next_slice(now)


def percent(share: float) -> str:
    """A share as people read it: `38 %`, below one percent `0.4 %`."""
    return f"{share * 100:.0f} %" if share >= 0.0095 or share == 0 else f"{share * 100:.2g} %"
