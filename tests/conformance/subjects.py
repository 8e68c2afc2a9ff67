"""The suite's subjects for this project: the pure machine, and handle with actor on a MockClock."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actors import (
    AnyOf,
    Backoff,
    BulkheadFullError,
    CallTimeout,
    CircuitBreaker,
    CircuitBreakerConfig,
    CircuitOpenError,
    ConsecutiveFailures,
    FailureCount,
    FailureRate,
    Guard,
    LastCalls,
    LastSeconds,
    Machine,
    Outcome,
    Panel,
    Permit,
    Rejection,
    SlowCallRate,
    Snapshot,
    Source,
    State,
    TripStrategy,
    open_panel,
)
from tests.conformance.suite import CannotExpressError, Refusal

OUTCOMES = {
    "success": Outcome.SUCCESS,
    "failure": Outcome.FAILURE,
    "ignored": Outcome.IGNORED,
    "cancelled": Outcome.CANCELLED,
}
ENDS = {"success": "succeeded", "failure": "failed", "ignored": "failed", "cancelled": "cancelled"}
AS_THEY_ARE = (
    "reset_timeout",
    "half_open_max_calls",
    "successes_to_close",
    "ramp",
    "in_flight_slow",
    "call_timeout",
    "max_concurrent",
    "max_queue",
    "queue_timeout",
    "cancel_in_flight",
    "probe_interval",
    "half_open_failure_rate",
)
POLICY = {
    *AS_THEY_ARE,
    *("trip", "half_open_timeout", "backoff", "server_wait", "failure_result", "own_probe", "idle_timeout"),
}


class Failed(Exception):
    """The guarded call's own exception. server_wait: seconds its server asked to wait."""

    def __init__(self, server_wait: float | None = None) -> None:
        super().__init__(server_wait)
        self.server_wait = server_wait


class Ignored(Exception):
    """An exception that the policy ignores."""


class AnsweredNo(Exception):
    """An exception that the policy calls an answer."""


class BadResult:
    """A returned value that the policy calls a failure."""


def config_of(policy: Mapping[str, Any], probe: Any = None) -> CircuitBreakerConfig:
    """The policy of a case as this project writes it."""
    if unknown := sorted(policy.keys() - POLICY):
        raise CannotExpressError(f"no {', '.join(unknown)}")
    settings: dict[str, Any] = {key: policy[key] for key in AS_THEY_ARE if key in policy}
    if policy.get("server_wait"):
        settings["retry_after"] = lambda error: getattr(error, "server_wait", None)
    if policy.get("failure_result"):
        settings["failure_result"] = lambda value: isinstance(value, BadResult)
    if policy.get("own_probe"):
        settings["probe"] = probe
    return CircuitBreakerConfig(
        name="subject",
        trip=strategy_of(policy["trip"]),
        half_open_timeout=policy.get("half_open_timeout"),
        backoff=Backoff(**policy.get("backoff", {})),
        ignore=Ignored,
        answers=AnsweredNo,
        **settings,
    )


def strategy_of(trip: Mapping[str, Any]) -> TripStrategy:
    """The trip strategy of a case as this project writes it."""
    if trip["kind"] == "any":
        return AnyOf(*(strategy_of(each) for each in trip["of"]))
    if trip["kind"] == "consecutive":
        return ConsecutiveFailures(trip["n"])
    window = LastCalls(trip["calls"]) if "calls" in trip else LastSeconds(trip["seconds"])
    if trip["kind"] == "failure_count":
        return FailureCount(trip["n"], window)
    if trip["kind"] == "failure_rate":
        return FailureRate(trip["rate"], window, trip["minimum"])
    return SlowCallRate(trip["rate"], trip["threshold"], window, trip["minimum"])


def _reading(snapshot: Snapshot, what: str) -> Any:
    if what == "state":
        return snapshot.state.name.lower()
    if what == "failures":
        return snapshot.failure_count
    if what == "slow":
        return snapshot.slow_count
    if what in ("retry_after", "late", "would_reject", "in_flight"):
        return getattr(snapshot, what)
    return snapshot.counts[what]


class MachineSubject:
    """The rules without a task. `start` is the clock's reading when the case begins."""

    def __init__(self, policy: Mapping[str, Any], start: float = 0.0) -> None:
        for key in ("call_timeout", "max_concurrent", "cancel_in_flight", "probe_interval", "idle_timeout"):
            if key in policy:
                raise CannotExpressError(f"the machine runs no calls and no tasks, so it has no {key}")
        self._machine = Machine(config_of(policy, probe=_never), now=start)
        self._policy = policy
        self._start = self._now = start
        self._permits: dict[str, tuple[Permit, float]] = {}
        self._probe: Permit | None = None
        self._seen: dict[str, str] = {}
        self._refusals: dict[str, Refusal] = {}

    async def advance(self, to: float) -> None:
        self._now = self._start + to
        self._machine.wake(self._now)
        self._start_probe()

    async def begin(self, call: str) -> None:
        await self.begin_from(call, None, None)

    async def begin_from(self, call: str, client: str | None, route: str | None) -> None:
        answer = self._machine.admit(self._now, source=Source(client, route))
        if isinstance(answer, Rejection):
            self._seen[call] = "rejected"
            self._refusals[call] = Refusal(answer.reason.value, answer.retry_after)
        else:
            self._seen[call] = "running"
            self._permits[call] = answer, self._now

    async def answer(self, call: str) -> None:
        permit, began = self._permits[call]
        self._machine.answered(permit, self._now, self._now - began)

    async def end(self, call: str, outcome: str, server_wait: float | None) -> None:
        if outcome in ("bad_result", "answer_error"):
            raise CannotExpressError("the machine is told outcomes, not results or exceptions")
        permit, began = self._permits.pop(call)
        asked = server_wait if self._policy.get("server_wait") else None
        self._machine.settle(permit, OUTCOMES[outcome], self._now, self._now - began, retry_after=asked)
        self._seen[call] = ENDS[outcome]
        self._start_probe()

    async def end_probe(self, outcome: str) -> None:
        assert self._probe is not None, "no probe is running"
        permit, self._probe = self._probe, None
        self._machine.settle(permit, OUTCOMES[outcome], self._now)

    def seen(self, call: str) -> str:
        return self._seen[call]

    def refusal(self, call: str) -> Refusal:
        return self._refusals[call]

    async def run_command(self, command: str) -> None:
        if command == "trip":
            self._machine.trip(self._now)
        elif command == "reset":
            self._machine.reset(self._now)
        elif command == "remove":
            raise CannotExpressError("the machine is one breaker, on no panel")
        else:
            held = {"force_open": State.FORCED_OPEN, "disable": State.DISABLED, "observe": State.OBSERVING}
            self._machine.hold(held[command], self._now, "told")

    async def configure(self, policy: Mapping[str, Any]) -> None:
        self._policy = policy
        self._machine.configure(config_of(policy, probe=_never), self._now)

    async def read(self, what: str) -> Any:
        return _reading(self._machine.snapshot(self._now), what)

    def _start_probe(self) -> None:
        if self._machine.state is State.HALF_OPEN and self._machine.config.probe is not None:
            answer = self._machine.admit(self._now, is_active_probe=True)
            if isinstance(answer, Permit):
                self._probe = answer


async def _never() -> None:
    """A probe that the machine never runs; its actor would."""


class _Held:
    """A call that runs until it is told how to end."""

    def __init__(self) -> None:
        self.seen = "waiting"
        self.refusal = Refusal(None, None)
        self.scope = trio.CancelScope()
        self.source: Source | None = None
        self.guard: Guard | None = None
        self._told = trio.Event()
        self._inner: Callable[[], Awaitable[None]] | None = None
        self._how: tuple[str, float | None] = ("success", None)

    def end(self, outcome: str, server_wait: float | None = None) -> None:
        self._how = outcome, server_wait
        if outcome == "cancelled":
            self.scope.cancel()
        else:
            self._told.set()

    def make(self, inner: Callable[[], Awaitable[None]]) -> None:
        """Make a call in its course, and await it."""
        self._inner = inner
        self._told.set()

    async def work(self) -> object:
        self.seen = "running"
        await self._told.wait()
        while self._inner is not None:
            inner, self._inner, self._told = self._inner, None, trio.Event()
            await inner()
            await self._told.wait()
        outcome, server_wait = self._how
        if outcome == "failure":
            raise Failed(server_wait)
        if outcome == "ignored":
            raise Ignored
        if outcome == "answer_error":
            raise AnsweredNo
        return BadResult() if outcome == "bad_result" else None


class HandleSubject:
    """Handle and actor, called in one of the three styles: execute, guard or protect.

    The panel is asked for the breaker at each use, since it may have been removed.
    """

    def __init__(
        self, panel: Panel, policy: Mapping[str, Any], clock: MockClock, nursery: trio.Nursery, style: str
    ) -> None:
        self._panel = panel
        self._config = config_of(policy, self._probe)
        self._clock = clock
        self._nursery = nursery
        self._style = style
        self._held: dict[str, _Held] = {}
        self._waits: dict[str, str] = {}
        self.probe: _Held | None = None

    async def _probe(self) -> None:
        self.probe = _Held()
        await self.probe.work()

    @property
    def _breaker(self) -> CircuitBreaker:
        return self._panel.breaker(self._config)

    async def advance(self, to: float) -> None:
        self._clock.jump(to - trio.current_time())
        await wait_all_tasks_blocked()

    async def begin(self, call: str) -> None:
        await self._start(call, _Held())

    async def begin_from(self, call: str, client: str | None, route: str | None) -> None:
        self._need_guard("says where its calls come from")
        held = _Held()
        held.source = Source(client, route)
        await self._start(call, held)

    async def begin_inside(self, call: str, outer: str) -> None:
        held = self._held[call] = _Held()
        self._held[outer].make(partial(self._caller, held))
        await wait_all_tasks_blocked()

    async def wait_for_admission(self, caller: str) -> None:
        self._waits[caller] = "waiting"
        self._nursery.start_soon(self._wait, caller)
        await wait_all_tasks_blocked()

    async def _wait(self, caller: str) -> None:
        await self._breaker.wait_until_admitting()
        self._waits[caller] = "admitted"

    async def answer(self, call: str) -> None:
        self._need_guard("can be told of an answer")
        guard = self._held[call].guard
        assert guard is not None
        guard.answered()
        await wait_all_tasks_blocked()

    async def _start(self, call: str, held: _Held) -> None:
        self._held[call] = held
        self._nursery.start_soon(self._caller, held)
        await wait_all_tasks_blocked()

    def _need_guard(self, what: str) -> None:
        if self._style != "guard":
            raise CannotExpressError(f"only a guard {what}")

    async def end(self, call: str, outcome: str, server_wait: float | None) -> None:
        self._held[call].end(outcome, server_wait)
        await wait_all_tasks_blocked()

    async def end_probe(self, outcome: str) -> None:
        assert self.probe is not None, "no probe is running"
        self.probe.end(outcome)
        await wait_all_tasks_blocked()

    def seen(self, call: str) -> str:
        return self._waits.get(call) or self._held[call].seen

    def refusal(self, call: str) -> Refusal:
        return self._held[call].refusal

    async def run_command(self, command: str) -> None:
        if command == "remove":
            await self._panel.remove(self._config.name)
        else:
            await getattr(self._breaker, command)()
        await wait_all_tasks_blocked()

    async def configure(self, policy: Mapping[str, Any]) -> None:
        await self._breaker.configure(config_of(policy))

    async def read(self, what: str) -> Any:
        breaker = self._breaker
        snapshot = await breaker.snapshot()
        assert snapshot.state is breaker.state, "the state published is the state"
        assert snapshot.retry_after == breaker.retry_after, "the wait published is the wait"
        return _reading(snapshot, what)

    async def _caller(self, held: _Held) -> None:
        with held.scope:
            try:
                await self._call(held)
                held.seen = "succeeded"
            except (Failed, Ignored, AnsweredNo):
                held.seen = "failed"
            except CallTimeout:
                held.seen = "timed_out"
            except (CircuitOpenError, BulkheadFullError) as error:
                held.refusal = Refusal(error.reason.value, error.retry_after)
                held.seen = "rejected" if held.seen == "waiting" else "cut_off"
        if held.scope.cancelled_caught:
            held.seen = "cancelled"

    async def _call(self, held: _Held) -> None:
        if self._style == "execute":
            await self._breaker.execute(held.work)
        elif self._style == "protect":
            await self._breaker.protect(held.work)()
        else:
            await self._guarded(held)

    async def _guarded(self, held: _Held) -> None:
        async with self._breaker.guard(source=held.source) as held.guard:
            if isinstance(await held.work(), BadResult):
                held.guard.fail("bad result")


@asynccontextmanager
async def open_handle(
    policy: Mapping[str, Any], clock: MockClock, style: str
) -> AsyncIterator[HandleSubject]:
    """A subject on a panel of its own."""
    idle_timeout = policy.get("idle_timeout")
    async with open_panel(idle_timeout=idle_timeout) as panel, trio.open_nursery() as nursery:
        subject = HandleSubject(panel, policy, clock, nursery, style)
        yield subject
        nursery.cancel_scope.cancel()
