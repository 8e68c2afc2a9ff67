"""A breaker's own probe: while half-open its result decides, while open its success ends the wait."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

import trio

from ..commands import ProbePassed, Settle
from ..machine.machine import Machine
from ..messages import NEVER, Outcome, Permit, State
from ..policy.config import CircuitBreakerConfig
from .accounting import CallAccounting
from .classifier import kind_of
from .nesting.held_call import HeldCall

Probe: TypeAlias = Callable[[], Awaitable[object]]


class ActiveProbe:
    """Runs the policy's `probe` in the panel's nursery, one at a time. Part of the actor."""

    __slots__ = ("_accounting", "_deciding", "_deciding_scopes", "_number", "_nursery", "_scope", "_wait")

    def __init__(self, accounting: CallAccounting, nursery: trio.Nursery) -> None:
        self._accounting = accounting
        self._nursery = nursery
        # The half-open generation in which a deciding probe runs; 0: none.
        self._deciding = 0
        # More than one if a probe of an earlier generation goes on.
        self._deciding_scopes: set[trio.CancelScope] = set()
        # The wait and the policy by which the probes of an open breaker run; others end them and start anew.
        self._wait: tuple[object, ...] | None = None
        self._scope = trio.CancelScope()
        self._number = 0

    def follow(self, machine: Machine, now: float) -> None:
        """Start the probes that the machine's state needs, and cancel those of an earlier wait."""
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
        """Cancel the probes: the breaker ends."""
        self._scope.cancel()
        for scope in self._deciding_scopes:
            scope.cancel()

    def start_anew(self) -> None:
        """Start the probes of the wait anew at the next `follow`, also if the wait ends at the same time."""
        self._wait = None

    def is_current(self, passed: ProbePassed) -> bool:
        """Whether a probe belongs to the present wait."""
        return self._wait is not None and passed.number == self._number

    def _follow_wait(self, machine: Machine, now: float) -> None:
        config, wait = machine.config, None
        waits = machine.state is State.OPEN and not machine.waits_for_lease
        if waits and config.probe_interval is not None:
            wait = (machine.until, config.probe, config.probe_interval, config.probe_timeout)
        if wait == self._wait:
            return
        self._scope.cancel()
        self._wait = wait
        if wait is not None:
            self._number += 1
            self._scope = trio.CancelScope()
            self._nursery.start_soon(self._end_wait, config, machine.until, now, self._scope, self._number)

    async def _end_wait(
        self, config: CircuitBreakerConfig, until: float, opened: float, scope: trio.CancelScope, number: int
    ) -> None:
        """Probe at each interval until `until`. Each probe ends before the next is due."""
        interval, probe = config.probe_interval, config.probe
        assert interval is not None
        assert probe is not None
        timeout = interval if config.probe_timeout is None else min(interval, config.probe_timeout)
        due = opened + interval
        with scope:
            while due < until:
                await trio.sleep_until(due)
                now = self._accounting.clock()
                if now >= until:
                    return
                if await self._run_probe(probe, timeout) is None:
                    await self._accounting.mailbox.deliver(ProbePassed(number))
                due = now + interval

    async def _decide(
        self, permit: Permit, config: CircuitBreakerConfig, probe: Probe, scope: trio.CancelScope
    ) -> None:
        accounting = self._accounting
        start = accounting.clock()
        with scope:
            await trio.lowlevel.checkpoint_if_cancelled()
            error = await self._run_probe(probe, config.probe_timeout)
            self._deciding_scopes.discard(scope)
            if self._deciding == permit.generation:
                self._deciding = 0
            duration = accounting.clock() - start
            if accounting.histogram is not None:
                accounting.histogram.observe(duration)
            outcome = Outcome.SUCCESS if error is None else Outcome.FAILURE
            await accounting.mailbox.deliver(Settle(permit, outcome, duration, error=error))

    async def _run_probe(self, probe: Probe, timeout: float | None) -> str | None:
        """Run a probe for at most `timeout` seconds. Return why it failed, or None if it passed.

        Its own calls through the breaker are part of it.
        """
        held = HeldCall(self._accounting)
        held.hold()
        try:
            with trio.move_on_after(NEVER if timeout is None else timeout):
                await probe()
                return None
        except Exception as failure:  # noqa: BLE001 - a probe fails by any exception
            return f"probe: {kind_of(failure)}"
        finally:
            held.end()
        return "probe timed out"
