"""The suite's subject for the pure machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from actors import Machine, Permit, Rejection, Source, State
from tests.conformance.policies import ENDS, OUTCOMES, config_of, reading
from tests.conformance.suite import CannotExpressError, Refusal


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
        return reading(self._machine.snapshot(self._now), what)

    def _start_probe(self) -> None:
        if self._machine.state is State.HALF_OPEN and self._machine.config.probe is not None:
            answer = self._machine.admit(self._now, is_active_probe=True)
            if isinstance(answer, Permit):
                self._probe = answer


async def _never() -> None:
    """A probe that the machine never runs; its actor would."""
