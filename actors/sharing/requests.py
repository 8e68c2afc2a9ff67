"""What instances ask of a breaker's shared record, and what it replies. Durations are milliseconds."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from .evidence import Judgement, Rule


class Report(NamedTuple):
    """An instance reports its evidence and asks for the shared state.

    wait: the first wait of its policy, should this report open the breaker. known_*: the shared state that
    the instance knows, so that a store that has lost its data gets an OPEN back: generation, whether it is
    open, its remaining wait and its step of the backoff.
    """

    instance: str
    verdict: Judgement
    share: int
    failures: int
    calls: int
    wait: int
    rule: Rule
    known_generation: int = 0
    known_open: bool = False
    known_wait: int = 0
    known_attempt: int = 0


class AcquireLease(NamedTuple):
    """An instance asks for the lease, or to keep it. has_callers: a call waits for the probe."""

    instance: str
    lease: int
    has_callers: bool


class ProbeResult(NamedTuple):
    """The holder of a lease reports its probe. generation: of the lease. wait: the next, if it failed."""

    instance: str
    generation: int
    passed: bool
    wait: int


class ReleaseLease(NamedTuple):
    """The holder of a lease gives it back unused."""

    instance: str
    generation: int


class Leave(NamedTuple):
    """An instance ends: its evidence counts no longer, so that a restarted fleet has no good ghosts."""

    instance: str


class Override(NamedTuple):
    """An operator opens the breaker for `wait`, or closes it, for all instances."""

    instance: str
    opens: bool
    wait: int


Request: TypeAlias = Report | AcquireLease | ProbeResult | ReleaseLease | Leave | Override


class Reply(NamedTuple):
    """The shared state after a request.

    accepted: the request had an effect of its own: a lease was granted, a result was taken. generation: 0 as
    long as the breaker has never been opened for all. wait: until it may be probed. lease: the rest of the
    asking instance's own lease; 0 if it has none. held: any instance has a lease. wanted: another instance
    has callers and wants the lease. standing: some instance has bad evidence, so successes are news.
    confirm: until the evidence will have stood long enough, if it still stands then; 0: it isn't enough.
    opened_by: the number of bad instances that opened the breaker; 0: an operator. Durations are ms.
    """

    accepted: bool
    generation: int
    is_open: bool
    wait: int
    attempt: int
    lease: int
    held: bool
    wanted: bool
    standing: bool
    confirm: int
    opened_by: int
