"""The model's probes: which calls may probe, and how probes decide a recovery."""

from __future__ import annotations

from actors import Outcome, Source, State
from tests.actors.model.reference_state import Admission, Exclusion, ReferenceState


class ReferenceProbes(ReferenceState):
    """The rules of HALF_OPEN."""

    def probe(self, now: float, passes: bool) -> None:
        """The breaker's own probes that are due by now; each is over at once, and passes or not."""
        if self.config.probe is None:
            return
        if self.state is State.OPEN and self.next_probe is not None and now >= self.next_probe:
            if passes:
                self._half_open(now)
            else:
                self._probe_next(now)
        while self.state is State.HALF_OPEN:
            self.counts[Outcome.SUCCESS if passes else Outcome.FAILURE] += 1
            self._count_probe(not passes, 0.0, now, None, None)

    def _may_probe(self, now: float, source: Source) -> bool:
        probing = [each for each in self._running() if not each.passed]
        kept = self.kept_route.keeps_out(source.route, now) or self.kept_client.keeps_out(source.client, now)
        places = self.config.half_open_max_calls
        if self.config.half_open_failure_rate is not None:
            places -= self.successes + self.probe_failures
        return len(probing) < places and self.config.probe is None and not kept

    def _wake_probes(self, now: float) -> None:
        generation = self.generation
        overdue = {n: each for n, each in self.passes.items() if each.generation == generation}
        for number, each in sorted(overdue.items(), key=lambda one: one[1].probe_ends):
            if now >= each.probe_ends and self.generation == generation:
                # Its result is late from here on.
                self.passes[number] = each._replace(generation=0)
                self._count_failed_probe(now, None, each.source)

    def _end_probe(
        self, leave: Admission, failed: bool, took: float, now: float, server_wait: float | None
    ) -> None:
        if not leave.passed:
            self._count_probe(failed, took, now, server_wait, leave.source)
        elif failed and not leave.failed_slow:
            self.successes = max(0, self.successes - 1)
            self._count_failed_probe(now, server_wait, leave.source)

    def _keep_from_client(self, leave: Admission, now: float) -> None:
        client = None if leave.source is None else leave.source.client
        if client is not None and not leave.passed:
            self.kept_client = Exclusion(client, now + 1)

    def _count_probe(
        self, failed: bool, took: float, now: float, server_wait: float | None, source: Source | None
    ) -> None:
        threshold = self.config.strategy.slow_threshold
        if failed or (threshold is not None and took >= threshold):
            self._count_failed_probe(now, server_wait, source)
            return
        self.successes += 1
        if self.config.half_open_failure_rate is not None:
            self._judge(now, server_wait)
        elif self.successes >= self.config.successes_to_close:
            self._recover(now)

    def _count_failed_probe(self, now: float, server_wait: float | None, source: Source | None) -> None:
        self.failed_source = source
        self.probe_failures += 1
        if self.config.half_open_failure_rate is None:
            self._reopen(now, server_wait, source)
        else:
            self._judge(now, server_wait)

    def _judge(self, now: float, server_wait: float | None) -> None:
        """Judge by the share of all probes: bad as soon as that is certain, good when all have ended."""
        rate, probes = self.config.half_open_failure_rate, self.config.half_open_max_calls
        if rate is None:
            return
        if self.probe_failures >= rate * max(probes, self.successes + self.probe_failures):
            self._reopen(now, server_wait, self.failed_source)
        elif self.successes + self.probe_failures >= probes:
            self._recover(now)
