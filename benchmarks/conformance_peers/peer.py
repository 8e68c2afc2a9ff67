"""The common part of the adapters: a Subject that raises CannotExpressError for anything unknown."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine, Generator, Mapping
from contextlib import ExitStack, suppress
from typing import Any, NamedTuple

from tests.conformance.suite import CannotExpressError, Case, play, run

BASE = 1_000_000.0
ALWAYS = {"trip", "reset_timeout"}
OUTCOMES = ("success", "failure", "ignored", "answer_error", "cancelled", "bad_result")


class FailedError(Exception):
    """A guarded call's own failure."""


class IgnoredError(Exception):
    """An exception that the policy ignores."""


class AnswerError(Exception):
    """An exception that the policy counts as a success."""


RAISED = (FailedError, IgnoredError, AnswerError)
"""A guarded call's own exceptions."""


class BadResult:
    """A result that the policy counts as a failure."""


def require_known(of: str, given: Collection[str], known: Collection[str]) -> None:
    """Raise CannotExpressError if anything given isn't known.

    A peer that ignored a key or an outcome would be judged by a case that it was never set up for.
    """
    if unknown := sorted(set(given) - set(known)):
        raise CannotExpressError(f"no {of}{', '.join(unknown)}")


def limit_of_consecutive(trip: Mapping[str, Any]) -> int:
    """The n of `consecutive`. Raises CannotExpressError for another trip strategy."""
    require_known("trip strategy ", [trip["kind"]], {"consecutive"})
    require_known("trip.", trip, {"kind", "n"})
    limit: int = trip["n"]
    return limit


def failing_or_slow(trip: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The two rates of an `any` that share a window. Raises CannotExpressError for any other `any`."""
    require_known("trip.", trip, {"kind", "of"})
    parts = {part["kind"]: part for part in trip["of"]}
    if parts.keys() != {"failure_rate", "slow_rate"} or len(trip["of"]) != len(parts):
        raise CannotExpressError("no any of these strategies")
    failing, slow = parts["failure_rate"], parts["slow_rate"]
    if any(failing.get(key) != slow.get(key) for key in ("calls", "seconds", "minimum")):
        raise CannotExpressError("no window for each strategy")
    return failing, slow


def finish(outcome: str) -> object:
    """Return or raise what a guarded call of this outcome does."""
    if outcome == "failure":
        raise FailedError
    if outcome == "ignored":
        raise IgnoredError
    if outcome == "answer_error":
        raise AnswerError
    return BadResult() if outcome == "bad_result" else "result"


class PeerRefusal:
    """A rejection. reason and wait are computed only if a case expects a value for them."""

    def __init__(self, peer: Peer, error: BaseException) -> None:
        self._peer = peer
        self._error = error

    @property
    def reason(self) -> str:
        return self._peer.reason(self._error)

    @property
    def wait(self) -> float | None:
        return self._peer.wait(self._error)


class Peer:
    """A Subject without any features: each adapter adds the settings, commands and readings of its peer."""

    name: str
    settings: set[str] = ALWAYS
    """The policy keys that the peer can express."""

    def __init__(self, policy: Mapping[str, Any]) -> None:
        # A switch that is False is the same as one that is left out.
        require_known("", [key for key, value in policy.items() if value is not False], self.settings)
        self._seen: dict[str, str] = {}
        self._refusals: dict[str, PeerRefusal] = {}

    @classmethod
    def play(cls, case: Case) -> None:
        """Play a case on a fresh breaker. Raises what the suite's `play` raises, or a group of it."""
        raise NotImplementedError

    def reason(self, error: BaseException) -> str:
        """The reason that the rejection itself gives."""
        raise CannotExpressError("no reason in its rejections")

    def wait(self, error: BaseException) -> float | None:
        """The seconds to wait that the rejection itself gives."""
        raise CannotExpressError("no wait in its rejections")

    async def end(self, call: str, outcome: str, server_wait: float | None) -> None:
        require_known("outcome ", [outcome], OUTCOMES)
        await self.end_as(call, outcome)

    async def end_as(self, call: str, outcome: str) -> None:
        """End a running call in one of OUTCOMES."""
        raise NotImplementedError

    async def end_probe(self, outcome: str) -> None:
        raise CannotExpressError("no probe of its own")

    def seen(self, call: str) -> str:
        return self._seen[call]

    def refusal(self, call: str) -> PeerRefusal:
        return self._refusals[call]

    async def run_command(self, command: str) -> None:
        raise CannotExpressError(f"no {command}")

    async def configure(self, policy: Mapping[str, Any]) -> None:
        raise CannotExpressError("no configuring in place")

    async def read(self, what: str) -> Any:
        raise CannotExpressError(f"no reading of {what}")


class _Inner(NamedTuple):
    """An instruction to a running guarded call: make this call inside, and await it."""

    call: str


class _Instruction:
    """Awaitable that suspends a guarded call until the test sends its outcome or an inner call."""

    def __await__(self) -> Generator[None, str | _Inner, str | _Inner]:
        return (yield None)


class HandDriven(Peer):
    """A peer whose calls are coroutines driven by hand, on a clock that replaces the one it reads.

    Cancels a call as asyncio does: by throwing CancelledError into it.
    """

    rejections: type[BaseException]

    def __init__(self, policy: Mapping[str, Any], patches: ExitStack) -> None:
        """Set up a fresh breaker. patches: undone after the case."""
        super().__init__(policy)
        self.now = BASE
        self._running: dict[str, Coroutine[Any, Any, object]] = {}
        # A call inside another one runs in the outermost call's coroutine.
        self._outermost: dict[str, str] = {}

    @classmethod
    def play(cls, case: Case) -> None:
        with ExitStack() as patches:
            run(play(case, cls(case.policy, patches)))

    def call(self, fn: Callable[[], Coroutine[Any, Any, object]]) -> Coroutine[Any, Any, object]:
        """The peer's own call of fn."""
        raise NotImplementedError

    async def advance(self, to: float) -> None:
        self.now = BASE + to

    async def begin(self, call: str) -> None:
        self._running[call] = self._made(call)
        self._drive(call, lambda coroutine: coroutine.send(None))

    async def begin_inside(self, call: str, outer: str) -> None:
        outermost = self._outermost[call] = self._outermost.get(outer, outer)
        self._drive(outermost, lambda coroutine: coroutine.send(_Inner(call)))

    async def end_as(self, call: str, outcome: str) -> None:
        outermost = self._outermost.get(call, call)
        if outcome == "cancelled":
            self._drive(outermost, lambda coroutine: coroutine.throw(asyncio.CancelledError()))
        else:
            self._drive(outermost, lambda coroutine: coroutine.send(outcome))

    def _drive(self, call: str, turn: Callable[[Coroutine[Any, Any, object]], object]) -> None:
        with suppress(StopIteration):
            turn(self._running[call])

    async def _made(self, call: str) -> None:
        async def work() -> object:
            self._seen[call] = "running"
            while isinstance(instruction := await _Instruction(), _Inner):
                await self._made(instruction.call)
            return finish(instruction)

        self._seen[call] = "asking"
        try:
            await self.call(work)
            self._seen[call] = "succeeded"
        except RAISED:
            self._seen[call] = "failed"
        except asyncio.CancelledError:
            self._seen[call] = "cancelled"
        except self.rejections as error:
            ran = self._seen[call] == "running"
            self._seen[call] = "cut_off" if ran else "rejected"
            if not ran:
                self._refusals[call] = PeerRefusal(self, error)
