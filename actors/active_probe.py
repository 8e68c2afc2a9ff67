"""A breaker's own probe: while half-open its verdict decides, while open its success ends the wait."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeAlias

import trio

from .call.classifier import kind_of
from .call.nesting import HeldCall
from .machine.machine import Machine
from .messages import Outcome, Permit, ProbePassed, Settle, State
from .policy.config import CircuitBreakerConfig

if TYPE_CHECKING:
    from .breaker_actor import BreakerActor

Probe: TypeAlias = Callable[[], Awaitable[object]]
NEVER = float("inf")


class ActiveProbe:
    """Runs the policy's `probe` in the panel's nursery, one at a time. Part of the actor."""

    __slots__ = ("_actor", "_deciding", "_deciding_scopes", "_number", "_nursery", "_rhythm", "_scope")

    def __init__(self, actor: BreakerActor, nursery: trio.Nursery) -> None:
        self._actor = actor
        self._nursery = nursery
        self._deciding = 0
        # What the probes of an open breaker go by; another one ends them, and starts them anew.
        self._rhythm: tuple[object, ...] | None = None
        self._scope = trio.CancelScope()
        # More than one where a probe of an earlier stay goes on.
        self._deciding_scopes: set[trio.CancelScope] = set()
        self._number = 0

    def follow(self, machine: Machine, now: float) -> None:
        """Start the probes that the machine's state asks for, and cancel those of an earlier one."""
        self._follow_wait(machine, now)
        config = machine.config
        if machine.state is not State.HALF_OPEN or config.probe is None:
            return
        if self._deciding == machine.generation:
            return
        permit = machine.admit(now, is_active_probe=True)
        if isinstance(permit, Permit):
            self._deciding = machine.generation
            # Made here: the breaker may end before the task begins.
            scope = trio.CancelScope()
            self._deciding_scopes.add(scope)
            self._nursery.start_soon(self._decide, permit, config, config.probe, scope)

    def end(self) -> None:
        """The breaker ends: cancel its probes."""
        self._scope.cancel()
        for scope in self._deciding_scopes:
            scope.cancel()

    def start_anew(self) -> None:
        """The wait starts again, though perhaps until the same moment."""
        self._rhythm = None

    def is_current(self, passed: ProbePassed) -> bool:
        """Whether a probe belongs to the wait that goes on."""
        return self._rhythm is not None and passed.number == self._number

    def _follow_wait(self, machine: Machine, now: float) -> None:
        config, rhythm = machine.config, None
        if machine.state is State.OPEN and config.probe_interval is not None:
            rhythm = (machine.until, config.probe, config.probe_interval, config.probe_timeout)
        if rhythm == self._rhythm:
            return
        self._scope.cancel()
        self._rhythm = rhythm
        if rhythm is not None:
            self._number += 1
            self._scope = trio.CancelScope()
            self._nursery.start_soon(self._end_wait, config, machine.until, now, self._scope, self._number)

    async def _end_wait(
        self, config: CircuitBreakerConfig, until: float, opened: float, scope: trio.CancelScope, number: int
    ) -> None:
        """Probe at each interval until `until`. Each ends before the next is due."""
        interval, probe = config.probe_interval, config.probe
        assert interval is not None
        assert probe is not None
        timeout = interval if config.probe_timeout is None else min(interval, config.probe_timeout)
        due = opened + interval
        with scope:
            while due < until:
                await trio.sleep_until(due)
                now = self._actor.clock()
                if now >= until:
                    return
                if await self._failure_of(probe, timeout) is None:
                    await self._actor.handle._tell(ProbePassed(number))
                due = now + interval

    async def _decide(
        self, permit: Permit, config: CircuitBreakerConfig, probe: Probe, scope: trio.CancelScope
    ) -> None:
        actor = self._actor
        start = actor.clock()
        with scope:
            await trio.lowlevel.checkpoint_if_cancelled()
            error = await self._failure_of(probe, config.probe_timeout)
            self._deciding_scopes.discard(scope)
            if self._deciding == permit.generation:
                self._deciding = 0
            duration = actor.clock() - start
            if actor.handle._histogram is not None:
                actor.handle._histogram.observe(duration)
            outcome = Outcome.SUCCESS if error is None else Outcome.FAILURE
            await actor.handle._tell(Settle(permit, outcome, duration, error=error))

    async def _failure_of(self, probe: Probe, timeout: float | None) -> str | None:
        """Run a probe for at most `timeout` seconds. Return why it failed, or None if it passed.

        Its own calls through the breaker are part of it.
        """
        held = HeldCall(self._actor.handle)
        held.hold()
        try:
            with trio.move_on_after(NEVER if timeout is None else timeout):
                await probe()
                return None
        except Exception as failure:  # noqa: BLE001 - whatever the probe raises, it hasn't passed
            return f"probe: {kind_of(failure)}"
        finally:
            held.end()
        return "probe timed out"
