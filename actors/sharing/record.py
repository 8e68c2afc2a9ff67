"""The shared state of one breaker, and its transition function. Pure.

The store runs the same function as a script (`transition.lua`): a request and the store's time go in, a reply
comes out, and the record changes in one step. Times are the store's milliseconds; requests and replies carry
durations only, because the clocks of instances differ.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace

from .evidence import InstanceEvidence, Judgement, add_up, is_enough
from .requests import AcquireLease, Leave, Override, ProbeResult, ReleaseLease, Reply, Report, Request

TURN = 1500
"""Milliseconds in which others come first after an instance's probe has failed: a poll, and its way."""
ALIVE = 2500
"""Milliseconds after its last report in which an instance counts as running: two polls, and their way."""
UNKNOWN = InstanceEvidence(Judgement.NONE, 0)


@dataclass(slots=True)
class SharedRecord:
    """What the store keeps of one breaker.

    generation: the fencing token: it grows with each opening, lease and result, so that what was decided for
    an earlier one is refused. until: when the breaker may be probed. owner, lease_end: of the last lease.
    failed_by: whose probe failed last. confirming_since: when the evidence became enough; 0: it isn't.
    watch_until: until when bad evidence may count. scan_at: when old reports are next deleted.
    """

    generation: int = 0
    is_open: bool = False
    until: int = 0
    attempt: int = 0
    owner: str = ""
    lease_end: int = 0
    wanted: bool = False
    failed_by: str = ""
    confirming_since: int = 0
    watch_until: int = 0
    scan_at: int = 0
    opened_by: int = 0
    evidence: dict[str, InstanceEvidence] = field(default_factory=dict)

    def apply(self, request: Request, now: int) -> Reply:
        """Carry out one request at `now`."""
        match request:
            case Report():
                return self._report(request, now)
            case AcquireLease():
                return self._reply(now, request.instance, accepted=self._acquire(request, now))
            case ProbeResult():
                return self._reply(now, request.instance, accepted=self._judge_probe(request, now))
            case ReleaseLease():
                return self._reply(now, request.instance, accepted=self._release(request, now))
            case Leave():
                self.evidence.pop(request.instance, None)
                return self._reply(now, request.instance, accepted=True)
            case Override():  # pragma: no branch - there is no other
                self._override(request, now)
                return self._reply(now, request.instance, accepted=True)

    def _reply(
        self, now: int, instance: str, *, accepted: bool, standing: bool = False, confirm: int = 0
    ) -> Reply:
        held = self.is_open and now < self.lease_end
        own = held and self.owner == instance
        return Reply(
            accepted,
            self.generation,
            self.is_open,
            max(0, self.until - now) if self.is_open else 0,
            self.attempt,
            self.lease_end - now if own else 0,
            held,
            self.wanted and held,
            standing,
            confirm,
            self.opened_by,
        )

    # Evidence.

    def _report(self, report: Report, now: int) -> Reply:
        if not self.generation and report.known_open:
            # The store has lost its data: the breaker is as open as this instance knows it.
            self._advance(now, report.known_generation)
            self.is_open, self.until = True, now + report.known_wait
            self.attempt = report.known_attempt
        self._keep(report, now)
        if self.is_open:
            if self.scan_at <= now:
                self._drop_old(report.rule.window, now)
            return self._reply(now, report.instance, accepted=False)
        if report.verdict is Judgement.BAD:
            self.watch_until = now + report.rule.window
        if self.watch_until <= now and self.scan_at > now:
            return self._reply(now, report.instance, accepted=False)
        return self._judge_evidence(report, now)

    def _keep(self, report: Report, now: int) -> None:
        """Keep the report. While the breaker is open, and without a verdict, it is only a sign of life."""
        known = self.evidence.get(report.instance, UNKNOWN)
        if self.is_open:
            known = UNKNOWN
        elif report.verdict is not Judgement.NONE:
            known = InstanceEvidence(report.verdict, now, report.share, report.failures, report.calls)
        self.evidence[report.instance] = replace(known, polled_at=now)

    def _judge_evidence(self, report: Report, now: int) -> Reply:
        rule = report.rule
        self._drop_old(rule.window, now)
        tally = add_up(self.evidence.values())
        if not tally.bad:
            self.watch_until = 0
        if not is_enough(tally, rule):
            self.confirming_since = 0
            return self._reply(now, report.instance, accepted=False, standing=tally.bad > 0)
        self.confirming_since = self.confirming_since or now
        rest = self.confirming_since + rule.confirm - now
        if rest > 0:
            return self._reply(now, report.instance, accepted=False, standing=True, confirm=rest)
        self._open(now, report.wait, report.known_generation, tally.bad)
        return self._reply(now, report.instance, accepted=True)

    def _drop_old(self, window: int, now: int) -> None:
        """Drop verdicts that are older than the window, and instances that have been silent for it."""
        self.scan_at = now + window
        self.evidence = {
            name: one if now - one.judged_at <= window else replace(UNKNOWN, polled_at=one.polled_at)
            for name, one in self.evidence.items()
            if now - one.polled_at <= window
        }

    # Transitions.

    def _advance(self, now: int, known: int = 0) -> None:
        """Begin the next generation. The first is the time: above all that a loss of data has lost."""
        self.generation = self.generation + 1 if self.generation else max(now, known + 1)

    def _open(self, now: int, wait: int, known: int, opened_by: int) -> None:
        self._advance(now, known)
        self._clear()
        self.is_open, self.until, self.opened_by = True, now + wait, opened_by

    def _close(self, now: int) -> None:
        self._advance(now)
        self._clear()

    def _clear(self) -> None:
        fresh = SharedRecord(self.generation)
        for one in fields(self):
            setattr(self, one.name, getattr(fresh, one.name))

    # The lease.

    def _acquire(self, request: AcquireLease, now: int) -> bool:
        """Grant the lease, or renew it. A refusal changes nothing but that the holder sees it is wanted."""
        if not self.is_open or now < self.until:
            return False
        if now < self.lease_end:
            if self.owner == request.instance:
                return self._renew(request, now)
            self.wanted = self.wanted or request.has_callers
            return False
        if self.owner:
            # It ended without a result: no better than a failed probe.
            self.failed_by, self.owner = self.owner, ""
        free_since = max(self.until, self.lease_end)
        if now < free_since + TURN and not self._has_turn(request, now):
            return False
        self._advance(now)
        self.owner, self.lease_end, self.wanted = request.instance, now + request.lease, False
        return True

    def _renew(self, request: AcquireLease, now: int) -> bool:
        if self.wanted:
            return False
        self.lease_end = now + request.lease
        return True

    def _has_turn(self, request: AcquireLease, now: int) -> bool:
        """Whether no other instance comes first: one with callers, or one whose probe hasn't failed."""
        if self.wanted:
            return request.has_callers
        if self.failed_by != request.instance:
            return True
        others = (one for name, one in self.evidence.items() if name != request.instance)
        return not any(now - other.polled_at <= ALIVE for other in others)

    def _is_valid(self, instance: str, generation: int, now: int) -> bool:
        return (
            self.is_open and self.owner == instance and self.generation == generation and now < self.lease_end
        )

    def _judge_probe(self, result: ProbeResult, now: int) -> bool:
        if not self._is_valid(result.instance, result.generation, now):
            return False
        if result.passed:
            self._close(now)
            return True
        self._advance(now)
        self.until, self.attempt = now + result.wait, self.attempt + 1
        self.owner, self.lease_end, self.wanted = "", 0, False
        self.failed_by = result.instance
        return True

    def _release(self, release: ReleaseLease, now: int) -> bool:
        if not self._is_valid(release.instance, release.generation, now):
            return False
        self._advance(now)
        self.owner, self.lease_end = "", 0
        if self.wanted:
            self.until = now  # from now on it is the turn of an instance with callers
        return True

    def _override(self, override: Override, now: int) -> None:
        if override.opens:
            self._open(now, override.wait, 0, 0)
        elif self.generation:
            self._close(now)
        else:
            self._clear()
