"""One breaker of one instance and its shared state: what to report, and what to do about a reply. Pure.

Times are seconds on the instance's own clock. No message depends on the clock of another instance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from ..commands import AdoptClosed, AdoptOpen, Command, GiveBack, GrantProbe, LocalEvidence
from ..machine.half_open import GIVEN_BACK, UNUSED_LEASE
from ..messages import NEVER, State, Transition
from ..policy.checks import positive_int, positive_number
from ..policy.trip import TripEvidence
from .evidence import WHOLE, Judgement, Rule
from .requests import AcquireLease, Leave, ProbeResult, ReleaseLease, Reply, Report, Request

POLL = 1.0
"""Seconds between two reports of one breaker while nothing happens."""
BEAT = 0.1
"""The least seconds between two reports of changes."""
CONFIRM = 0.25
"""Seconds for which enough evidence must stand before it opens the breaker for all."""
MARGIN = 0.01
"""Seconds to be late rather than early, when the store's clock decides."""
TRIPPED = 0.999
"""Progress that trips, but for the rounding of a rate."""
LEASE_SHARE = 0.9
"""The part of a lease that its holder uses, counted from before it asked: clocks differ in speed, and it
learns of its lease later than the store grants it."""
KEEP = 0.5
"""Seconds for which a holder waits for a call of its own before it asks to keep its lease, or gives it up."""
CLOSED_ELSEWHERE = "recovery successful in another instance"


@dataclass(frozen=True, slots=True, kw_only=True)
class SharingPolicy:
    """How instances share their breakers.

    quorum: the instances that must see the dependency fail, and be more than those that see it work.
    lease: seconds for which one instance alone may probe. window: seconds for which an instance's last
    report counts.

    Raises ValueError naming field, value and range.
    """

    quorum: int = 2
    lease: float = 10.0
    window: float = 30.0

    def __post_init__(self) -> None:
        positive_int("quorum", self.quorum)
        positive_number("lease", self.lease)
        positive_number("window", self.window)


class Seen(NamedTuple):
    """The breaker's counts and generation at one reading."""

    successes: int
    failures: int
    rejections: int
    generation: int


class BreakerLink:
    """Connects one breaker's actor with its shared record.

    generation, is_open: of the shared state as last known. held_elsewhere: another instance probes.
    due: when the next report is due.
    """

    def __init__(self, instance: str, policy: SharingPolicy, now: float) -> None:
        self._instance = instance
        self._policy = policy
        self.generation = 0
        self.is_open = False
        self.held_elsewhere = False
        self.due = now
        # While open: the end of the shared wait, and the step of the backoff.
        self._until = -NEVER
        self._attempt = 0
        # The generation of this instance's lease, 0: it has none; and of the breaker's end of that probe.
        self._lease = 0
        self._first_end = 0
        self._granted_at = -NEVER
        self._pending: ProbeResult | ReleaseLease | None = None
        # What of that the last requests had: the probe may end while they are on their way.
        self._sent: ProbeResult | ReleaseLease | None = None
        self._sent_at = now - POLL
        # When a report is due even if it says nothing new.
        self._asks_at = NEVER
        self._standing = False
        # The breaker's counts and generation at the last report.
        self._seen = Seen(0, 0, 0, 0)
        self._before = self._seen
        self._has_callers = False
        self._called_at = -NEVER
        self._verdict = Judgement.NONE

    @property
    def has_lease(self) -> bool:
        """Whether this instance may probe for all."""
        return self._lease > 0

    # What the breaker does.

    def note_change(self, now: float) -> None:
        """The breaker's failures have changed: report it, the first change at once."""
        self.due = min(self.due, max(now, self._sent_at + BEAT))

    def note_news(self, now: float) -> None:
        """The shared state may have changed: ask for it at once."""
        self._sent_at = min(self._sent_at, now - POLL)
        self.due = min(self.due, now)

    def follow(self, event: Transition, now: float) -> None:
        """The breaker has made a transition. The end of a probe for all is reported at once."""
        if not self._lease or event.observed or event.generation < self._first_end:
            return
        lease, self._lease = self._lease, 0
        if event.reason in (UNUSED_LEASE, GIVEN_BACK) or event.new not in (State.CLOSED, State.OPEN):
            self._pending = ReleaseLease(self._instance, lease)
        else:
            wait = _milliseconds(event.retry_after or 0.0)
            self._pending = ProbeResult(self._instance, lease, event.new is State.CLOSED, wait)
        self.note_news(now)

    # What the store is asked.

    def is_news(self, local: LocalEvidence, now: float) -> bool:
        """Whether a report says more than the last one did. If not, the next look is put off."""
        verdict = self._judge(local)
        if (
            self._pending is not None
            or now >= min(self._sent_at + POLL, self._asks_at)
            or verdict is Judgement.BAD
            or (verdict is Judgement.GOOD and self._verdict is not Judgement.GOOD)
        ):
            return True
        self.due = min(self._sent_at + POLL, self._asks_at, now + BEAT if self._standing else NEVER)
        return False

    def requests(self, local: LocalEvidence, now: float) -> list[Request]:
        """The requests that are due now, in order; the last one is a report."""
        verdict = self._judge(local)
        if local.rejections > self._seen.rejections:
            self._called_at = now
        # For a poll's time: news makes reports follow each other more quickly than calls.
        self._has_callers = local.wants_probe or now - self._called_at <= POLL
        self._before = self._seen
        self._seen = Seen(local.successes, local.failures, local.rejections, local.generation)
        if verdict is not Judgement.NONE:
            self._verdict = verdict
        self._sent = self._pending
        self._sent_at, self._asks_at, self.due = now, NEVER, now + POLL
        report = self._report(local, verdict, now)
        return [report] if self._pending is None else [self._pending, report]

    def _report(self, local: LocalEvidence, verdict: Judgement, now: float) -> Report:
        found = local.evidence or TripEvidence(0)
        rule = Rule(
            self._policy.quorum,
            _milliseconds(self._policy.window),
            _milliseconds(CONFIRM),
            round(WHOLE * found.rate),
            found.minimum_calls,
        )
        counts = (0, 0, 0)
        if verdict is not Judgement.NONE:
            share = round(WHOLE * found.failures / found.needed) if found.needed else 0
            counts = (share, found.failures, found.calls) if found.rate else (share, 0, 0)
        known = (0, 0)
        if self.is_open:
            known = _milliseconds(max(0.0, self._until - now)), self._attempt
        wait = _milliseconds(local.first_wait)
        return Report(self._instance, verdict, *counts, wait, rule, self.generation, self.is_open, *known)

    def _judge(self, local: LocalEvidence) -> Judgement:
        """The verdict by what has happened since the last report. Only new outcomes are evidence."""
        found = local.evidence
        if local.state is State.OPEN:
            # Opened by its own policy since: an operator's opening is no evidence.
            has_tripped = found is not None and found.progress >= TRIPPED
            is_new = local.generation != self._seen.generation and not local.waits_for_lease
            return Judgement.BAD if has_tripped and is_new else Judgement.NONE
        succeeded = local.successes > self._seen.successes
        failed = local.failures > self._seen.failures
        if found is None or not (succeeded or failed):
            return Judgement.NONE
        if found.rate:
            is_bad = found.calls > 0 and found.failures >= found.rate * found.calls
        else:
            is_bad = found.failures > 0 and (found.is_row or not succeeded)
        return Judgement.BAD if is_bad else Judgement.GOOD

    def acquires(self, local: LocalEvidence, now: float) -> AcquireLease | None:
        """The request for the lease, or to keep an unused one; None: this instance wants none."""
        if not self.is_open or now < self._until:
            return None
        if self._lease:
            asks = local.has_lease and not local.is_probing and now >= self._granted_at + KEEP
        else:
            # An idle holder gives its lease to an instance with callers.
            asks = local.waits_for_lease and (self._has_callers or not self.held_elsewhere)
        if not asks:
            return None
        return AcquireLease(self._instance, _milliseconds(self._policy.lease), self._has_callers)

    def failed(self, now: float) -> None:
        """The requests weren't delivered, and are repeated. The store refuses what it has done already."""
        self._seen = self._before
        self.due = now

    def give_up(self, local: LocalEvidence | None) -> int:
        """Drop what is too old to be reported, while the store is gone. Return how much that is."""
        dropped = int(self._pending is not None)
        self._pending, self._lease = None, 0
        if local is not None:
            dropped += self._judge(local) is Judgement.BAD
            self._seen = Seen(local.successes, local.failures, local.rejections, local.generation)
        return dropped

    def farewell(self) -> list[Request]:
        """The requests at the end of this process: its lease is given back, and its evidence is gone."""
        leave = Leave(self._instance)
        return [ReleaseLease(self._instance, self._lease), leave] if self._lease else [leave]

    # What the store answers.

    def learn(self, reply: Reply, local: LocalEvidence, now: float) -> list[Command]:
        """The messages for the breaker's actor after the reply to a report."""
        if self._pending is not self._sent:
            # The reply is about the time before the probe's end. That is told first.
            self.note_news(now)
            return []
        self._pending = self._sent = None
        if 0 < reply.generation < self.generation:
            return []  # an answer of a store that has been replaced by an older one
        was_open, self.is_open = self.is_open, reply.is_open
        self.generation = reply.generation or self.generation
        self.held_elsewhere = reply.held and not reply.lease
        self._until = now + reply.wait / 1000 + MARGIN if reply.wait else now
        self._attempt = reply.attempt
        self._schedule(reply, now)
        if not reply.is_open:
            self._lease = 0
            closes = was_open or local.waits_for_lease or local.has_lease
            return [AdoptClosed(CLOSED_ELSEWHERE)] if closes else []
        if reply.lease and reply.generation == self._lease:
            return []
        self._lease = 0
        return [AdoptOpen(reply.wait / 1000, _reason(reply), reply.attempt)]

    def _schedule(self, reply: Reply, now: float) -> None:
        self._standing = reply.standing
        self.due = self._sent_at + (BEAT if reply.standing else POLL)
        if reply.confirm or (reply.is_open and reply.wait):
            self._asks_at = now + (reply.confirm or reply.wait) / 1000 + MARGIN
        self.due = min(self.due, self._asks_at)

    def learn_lease(self, reply: Reply, local: LocalEvidence, now: float, asked: float) -> list[Command]:
        """The messages for the breaker's actor after the reply to `acquires`. asked: when that was sent."""
        if self._pending is not None:
            return []  # the probe has ended meanwhile
        if not reply.is_open:
            # The next report shows what has happened: closed, or lost.
            self.note_news(now)
            return []
        if not reply.accepted:
            self.held_elsewhere = reply.held and not reply.lease
            # The actor decides, because a probe may have begun meanwhile; `follow` sees what it did.
            return [GiveBack()] if self._lease and reply.wanted else []
        within = asked + LEASE_SHARE * self._policy.lease - now
        if within <= 0:
            # Too late: a lease that was to be kept has ended here, a new one is given back.
            if not self._lease:
                self._pending = ReleaseLease(self._instance, reply.generation)
                self.note_news(now)
            return []
        if not self._lease:
            self._first_end = local.generation + 2  # after the change to HALF_OPEN
        self.generation = self._lease = reply.generation
        self._granted_at = now
        return [GrantProbe(within, reply.attempt)]


def _reason(reply: Reply) -> str:
    if reply.opened_by:
        return f"failures of {reply.opened_by} instances"
    return "opened in another instance"


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
