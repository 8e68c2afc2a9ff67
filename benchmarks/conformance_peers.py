"""The conformance suite against three other Python breakers: which cases each fails or can't express.

    uv run --group bench python -m benchmarks.conformance_peers [--write]

--write puts the table into docs/reference/conformance.md. Each peer is set up as its own documentation
would do it for the case's policy; where it has no setting, command or reading for something, the case
counts as "cannot express", apart from failing. A call is a coroutine of the peer's, driven by hand, and
cancelled by asyncio's CancelledError, as asyncio would.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
from collections.abc import Callable, Coroutine, Generator, Mapping
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest import mock

import aiobreaker
import aiobreaker.circuitbreaker
import aiobreaker.state
import interlock
import purgatory
import purgatory.domain.model
import trio
from trio.testing import MockClock

from tests.conformance.subjects import open_handle
from tests.conformance.suite import CannotExpressError, Case, DeviationError, load_cases, play, run

TARGET = Path(__file__).parent.parent / "docs" / "reference" / "conformance.md"
BASE = 1_000_000.0
ALWAYS = {"trip", "reset_timeout"}


class FailedError(Exception):
    """A guarded call's own failure."""


class IgnoredError(Exception):
    """What the policy doesn't count."""


class BadResult:
    """A result that the policy counts as a failure."""


class _Told:
    """Awaited by a guarded call until it is told how to end."""

    def __await__(self) -> Generator[None, Callable[[], object], object]:
        how = yield None
        return how()  # type: ignore[misc]


class PeerRefusal:
    """A rejection: why, which none of them says, and how long to wait, which some do."""

    def __init__(self, peer: Peer, error: BaseException) -> None:
        self._peer = peer
        self._error = error

    @property
    def reason(self) -> str:
        raise CannotExpressError("no reason in its rejections")

    @property
    def wait(self) -> float | None:
        return self._peer.wait(self._error)


class Peer:
    """What the three have in common: they are called with a coroutine function, and raise to reject."""

    name: str
    settings: set[str] = ALWAYS
    """The policy's keys that it has."""
    rejections: type[BaseException]

    def __init__(self, policy: Mapping[str, Any]) -> None:
        if missing := sorted(key for key in policy if key not in self.settings and policy[key]):
            raise CannotExpressError(f"no {', '.join(missing)}")
        self.now = BASE
        self._running: dict[str, Coroutine[Any, Any, object]] = {}
        self._seen: dict[str, str] = {}
        self._refusals: dict[str, PeerRefusal] = {}

    def call(self, fn: Callable[[], Coroutine[Any, Any, object]]) -> Coroutine[Any, Any, object]:
        raise NotImplementedError

    def wait(self, error: BaseException) -> float | None:
        """Seconds that a rejection tells its caller to wait."""
        raise CannotExpressError("no wait in its rejections")

    async def advance(self, to: float) -> None:
        self.now = BASE + to

    async def begin(self, call: str) -> None:
        async def work() -> object:
            self._seen[call] = "running"
            return await _Told()

        self._seen[call] = "asking"
        self._running[call] = self.call(work)
        self._drive(call, lambda coroutine: coroutine.send(None))

    async def end(self, call: str, outcome: str, server_wait: float | None) -> None:
        def finish() -> object:
            if outcome == "failure":
                raise FailedError
            if outcome == "ignored":
                raise IgnoredError
            return BadResult() if outcome == "bad_result" else "result"

        if outcome == "cancelled":
            self._drive(call, lambda coroutine: coroutine.throw(asyncio.CancelledError()))
        else:
            self._drive(call, lambda coroutine: coroutine.send(finish))

    async def end_probe(self, outcome: str) -> None:
        raise CannotExpressError("no probe of its own")

    def seen(self, call: str) -> str:
        return self._seen[call]

    def refusal(self, call: str) -> PeerRefusal:
        return self._refusals[call]

    async def tell(self, command: str) -> None:
        raise CannotExpressError(f"no {command}")

    async def configure(self, policy: Mapping[str, Any]) -> None:
        raise CannotExpressError("no configuring in place")

    async def read(self, what: str) -> Any:
        raise CannotExpressError(f"no reading of {what}")

    def _drive(self, call: str, turn: Callable[[Coroutine[Any, Any, object]], object]) -> None:
        try:
            turn(self._running[call])
        except StopIteration:
            self._seen[call] = "succeeded"
        except (FailedError, IgnoredError):
            self._seen[call] = "failed"
        except asyncio.CancelledError:
            self._seen[call] = "cancelled"
        except self.rejections as error:
            ran = self._seen[call] == "running"
            self._seen[call] = "cut_off" if ran else "rejected"
            if not ran:
                self._refusals[call] = PeerRefusal(self, error)


def _only_consecutive(policy: Mapping[str, Any]) -> int:
    if policy["trip"]["kind"] != "consecutive":
        raise CannotExpressError(f"no trip strategy {policy['trip']['kind']}")
    limit: int = policy["trip"]["n"]
    return limit


class Purgatory(Peer):
    """threshold and ttl; exclude for what is ignored."""

    name = "purgatory"
    rejections = purgatory.domain.model.OpenedState

    def __init__(self, policy: Mapping[str, Any], patches: ExitStack) -> None:
        super().__init__(policy)
        clock = mock.Mock(time=lambda: self.now)
        patches.enter_context(mock.patch.object(purgatory.domain.model, "time", clock))
        self._factory = purgatory.AsyncCircuitBreakerFactory(
            default_threshold=_only_consecutive(policy),
            default_ttl=policy.get("reset_timeout", 60),
            exclude=[IgnoredError],
        )

    async def call(self, fn: Callable[[], Coroutine[Any, Any, object]]) -> object:
        return await self._factory("subject")(fn)()

    async def read(self, what: str) -> Any:
        context = (await self._factory.get_breaker("subject")).context
        if what == "state":
            return {"opened": "open", "half-opened": "half_open"}.get(context.state, context.state)
        if what == "failures" and context.failure_count is not None:
            return context.failure_count
        return await super().read(what)


class Aiobreaker(Peer):
    """fail_max and timeout_duration; exclude for what is ignored; open() and close()."""

    name = "aiobreaker"
    rejections = aiobreaker.state.CircuitBreakerError

    def __init__(self, policy: Mapping[str, Any], patches: ExitStack) -> None:
        super().__init__(policy)
        peer = self

        class Clock(dt.datetime):
            @classmethod
            def now(cls, _tz: object = None) -> Any:
                return dt.datetime.fromtimestamp(peer.now, dt.UTC).replace(tzinfo=None)

            utcnow = now

        for module in (aiobreaker.state, aiobreaker.circuitbreaker):
            patches.enter_context(mock.patch.object(module, "datetime", Clock))
        self._breaker = aiobreaker.CircuitBreaker(
            fail_max=_only_consecutive(policy),
            timeout_duration=dt.timedelta(seconds=policy.get("reset_timeout", 60)),
            exclude=[IgnoredError],
        )

    def call(self, fn: Callable[[], Coroutine[Any, Any, object]]) -> Coroutine[Any, Any, object]:
        return self._breaker.call_async(fn)  # type: ignore[return-value]

    def wait(self, error: BaseException) -> float | None:
        assert isinstance(error, self.rejections)
        return error.time_remaining.total_seconds()

    async def tell(self, command: str) -> None:
        commands = {"trip": self._breaker.open, "reset": self._breaker.close}
        if command not in commands:
            await super().tell(command)
        commands[command]()

    async def read(self, what: str) -> Any:
        if what == "state":
            return self._breaker.current_state.name.lower()
        if what == "failures":
            return self._breaker.fail_counter
        if what == "retry_after":
            is_open = self._breaker.current_state is aiobreaker.CircuitBreakerState.OPEN
            left = self._breaker.time_until_open if is_open else None
            return None if left is None else left.total_seconds()
        return await super().read(what)


class Interlock(Peer):
    """Config's rates over a window; a row of n failures is a rate of 1 over the last n calls."""

    name = "interlock-cb"
    settings = ALWAYS | {"half_open_max_calls", "successes_to_close", "backoff", "failure_result"}
    rejections = interlock.CircuitOpenError

    def __init__(self, policy: Mapping[str, Any], _: ExitStack) -> None:
        super().__init__(policy)
        probes, at_once = policy.get("successes_to_close", 1), policy.get("half_open_max_calls", 1)
        if at_once > probes:
            raise CannotExpressError("no more probes at once than must succeed")
        backoff = policy.get("backoff", {})
        self._kind = policy["trip"]["kind"]
        self._breaker = interlock.CircuitBreaker(
            name="subject",
            clock=mock.Mock(monotonic=lambda: self.now),
            classifier=mock.Mock(is_failure=_is_failure),
            config=interlock.Config(
                permitted_calls_in_half_open=probes,
                max_concurrent_probes=at_once,
                wait_duration_in_open=policy.get("reset_timeout", 60),
                wait_duration_backoff_multiplier=backoff.get("factor", 1.0),
                wait_duration_in_open_max=backoff.get("maximum"),
                **_interlock_trip(policy["trip"]),
            ),
        )

    async def advance(self, to: float) -> None:
        await super().advance(to)
        # What its auto_transition does, whose timer is a thread on the real clock.
        self._breaker._engine._machine.attempt_auto_transition()  # noqa: SLF001

    def call(self, fn: Callable[[], Coroutine[Any, Any, object]]) -> Coroutine[Any, Any, object]:
        return self._breaker.call_async(fn)  # type: ignore[return-value]

    def wait(self, error: BaseException) -> float | None:
        assert isinstance(error, self.rejections)
        return error.retry_after

    async def tell(self, command: str) -> None:
        names = {"observe": "metrics_only", "trip": ""}
        name = names.get(command, command)
        if not name:
            await super().tell(command)
        getattr(self._breaker, name)()

    async def read(self, what: str) -> Any:
        if what == "state":
            return {"metrics_only": "observing"}.get(self._breaker.state.value, self._breaker.state.value)
        if what == "failures" and self._kind in ("failure_rate", "slow_rate"):
            snapshot = self._breaker.snapshot()
            return snapshot.slow_calls if self._kind == "slow_rate" else snapshot.failed_calls
        return await super().read(what)


def _is_failure(*, result: object, exception: Exception | None) -> bool:
    return isinstance(result, BadResult) or isinstance(exception, FailedError)


def _interlock_trip(trip: Mapping[str, Any]) -> dict[str, Any]:
    never_slow = {"slow_call_duration_threshold": 1e9}
    if trip["kind"] == "consecutive":
        return {
            "failure_rate_threshold": 1.0,
            "window_size": trip["n"],
            "minimum_number_of_calls": trip["n"],
            **never_slow,
        }
    if trip["kind"] == "any":
        parts = {part["kind"]: part for part in trip["of"]}
        if parts.keys() != {"failure_rate", "slow_rate"}:
            raise CannotExpressError("no any of these strategies")
        return {
            **_interlock_trip(parts["slow_rate"]),
            "failure_rate_threshold": parts["failure_rate"]["rate"],
        }
    if trip["kind"] == "failure_count":
        raise CannotExpressError("no trip strategy failure_count")
    by_time = "seconds" in trip
    window = {
        "window_type": interlock.WindowType.TIME_BASED if by_time else interlock.WindowType.COUNT_BASED,
        "window_size": trip["seconds"] if by_time else trip["calls"],
        "minimum_number_of_calls": trip["minimum"],
    }
    if trip["kind"] == "failure_rate":
        return {**window, "failure_rate_threshold": trip["rate"], **never_slow}
    return {
        **window,
        "failure_rate_threshold": 1.0,
        "slow_call_rate_threshold": trip["rate"],
        "slow_call_duration_threshold": trip["threshold"],
    }


PEERS: tuple[type[Any], ...] = (Interlock, Purgatory, Aiobreaker)
OURS = "trio-breakers"
PREFACE = """\
# Conformance

{count} cases, each a rule of a circuit breaker as data (`tests/conformance/`), against this project and three
others. Written by `uv run --group bench python -m benchmarks.conformance_peers --write`.

The rules are this project's: another breaker may have chosen otherwise on purpose. A case that needs a
setting, a command or a reading that a breaker doesn't have isn't a failure, and is counted apart.

| breaker | passes | fails | cannot express |
|---|---|---|---|
"""
Verdict = tuple[str, str]
"""passes, fails or cannot express; and why."""


def judge(case: Case, peer: type[Any]) -> Verdict:
    """One case against one peer."""
    with ExitStack() as patches:
        try:
            run(play(case, peer(case.policy, patches)))
        except CannotExpressError as missing:
            return "cannot", str(missing)
        except DeviationError as deviation:
            return "fails", str(deviation).split("\n")[0].split("}: ", 1)[-1]
    return "passes", ""


def judge_ours(case: Case) -> Verdict:
    """One case against handle and actor."""
    clock = MockClock()

    async def main() -> None:
        async with open_handle(case.policy, clock, "guard") as subject:
            await play(case, subject)

    verdict = "passes", ""
    try:
        trio.run(main, clock=clock)
    except* DeviationError as deviations:
        verdict = "fails", str(deviations.exceptions[0])
    return verdict


def report(cases: list[Case]) -> str:
    """The tables, as Markdown."""
    verdicts = {peer.name: [judge(case, peer) for case in cases] for peer in PEERS}
    verdicts[OURS] = [judge_ours(case) for case in cases]
    lines = PREFACE.format(count=len(cases)).splitlines()
    for name, found in verdicts.items():
        label = name if name == OURS else f"{name} {version(name)}"
        counts = [sum(kind == verdict for verdict, _ in found) for kind in ("passes", "fails", "cannot")]
        lines.append(f"| {label} | {' | '.join(map(str, counts))} |")
    lines += ["", "## Case by case", "", "✓ passes · **✗** fails · – cannot express", ""]
    lines += [f"| case | {' | '.join(verdicts)} |", "|---|" + "---|" * len(verdicts)]
    marks = {"passes": "✓", "fails": "**✗**", "cannot": "–"}
    for place, case in enumerate(cases):
        lines.append(f"| {case.name} | {' | '.join(marks[found[place][0]] for found in verdicts.values())} |")
    for name, found in verdicts.items():
        failed = [(case, why) for case, (kind, why) in zip(cases, found, strict=True) if kind == "fails"]
        if failed:
            lines += ["", f"## What {name} does otherwise", ""]
            lines += [f"- {case.name.split('/')[1]}: {why}" for case, why in failed]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Print the report; with --write, put it where it is read."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"also write {TARGET.name}")
    text = report(load_cases())
    if parser.parse_args().write:
        TARGET.parent.mkdir(parents=True, exist_ok=True)
        TARGET.write_text(text, "utf-8")
    print(text)


if __name__ == "__main__":
    main()
