"""The conformance suite: cases as data, and how one is played against any breaker. See README.md.

Nothing here depends on a particular breaker; a `Subject` puts one behind this small interface.
"""

from __future__ import annotations

import tomllib
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

CASES = Path(__file__).parent / "cases"
_OF_A_CALL = {"expect", "reason", "wait", "client", "route"}
ACTIONS: dict[str, set[str]] = {
    "call": {*_OF_A_CALL, "took", "times", "admitted", "caller", "server_wait"},
    "begin": {*_OF_A_CALL, "inside"},
    "answer": set(),
    "end": {"as", "server_wait"},
    "probe": set(),
    "await": set(),
    "do": set(),
    "configure": set(),
}
"""The actions of a step, and the keys that go with each."""
EXPECTATIONS = {"sees", "state", "failures", "slow", "retry_after", "counts"}


class CannotExpressError(Exception):
    """This breaker has no setting, command or reading that the case asks for."""


class DeviationError(AssertionError):
    """The breaker did something else than the case says."""


@dataclass(frozen=True)
class Case:
    """One case. policy and steps are as README.md describes them."""

    name: str
    rule: str
    policy: Mapping[str, Any]
    steps: tuple[Mapping[str, Any], ...]

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Refusal:
    """The reason of a rejection. wait: seconds after which to try again, None if the breaker gives none."""

    reason: str | None
    wait: float | None


class Subject(Protocol):
    """One breaker under test. Any method raises CannotExpressError if the breaker has no such thing.

    Four more methods may be left out:
    `async answer(call)`: a running call is answered and goes on.
    `async begin_from(call, client, route)`: as `begin`, for a call with a client and a route.
    `async begin_inside(call, outer)`: as `begin`, for a call that the running call `outer` makes and awaits.
    `async wait_for_admission(caller)`: a caller begins to wait until a call is admitted; `seen` then returns
    waiting or admitted.
    """

    async def advance(self, to: float) -> None:
        """Let time pass until `to`, seconds since the start, and all that is due happen."""

    async def begin(self, call: str) -> None:
        """Start a call that runs until it is ended."""

    async def end(self, call: str, outcome: str, server_wait: float | None) -> None:
        """End a running call: success, failure, ignored, answer_error, cancelled or bad_result."""

    async def end_probe(self, outcome: str) -> None:
        """End the probe that the breaker itself runs."""

    def seen(self, call: str) -> str:
        """waiting, running, rejected, succeeded, failed, timed_out, cut_off or cancelled."""

    def refusal(self, call: str) -> Refusal:
        """The reason why a call was rejected."""

    async def run_command(self, command: str) -> None:
        """trip, reset, force_open, disable, observe or remove."""

    async def configure(self, policy: Mapping[str, Any]) -> None:
        """Take a new policy in place."""

    async def read(self, what: str) -> Any:
        """state, failures, slow, retry_after, or a count: success, failure, ignored, cancelled, rejected,
        late, would_reject or in_flight.
        """


def load_cases(directory: Path = CASES) -> list[Case]:
    """Every case of every file, in the order of their names."""
    cases = []
    for file in sorted(directory.glob("*.toml")):
        for table in tomllib.loads(file.read_text("utf-8"))["case"]:
            case = Case(f"{file.stem}/{table['name']}", table["rule"], table["policy"], tuple(table["steps"]))
            cases.append(case)
    return cases


async def play(case: Case, subject: Subject) -> None:
    """Play every step. Raises DeviationError at the first that differs, or CannotExpressError.

    Raises ValueError for a step that isn't as README.md describes it: none is passed over.
    """
    for number, step in enumerate(case.steps, 1):
        _check_keys(f"{case.name}, step {number}", step)
    player = _Player(subject)
    for number, step in enumerate(case.steps, 1):
        try:
            await player.step(step)
        except DeviationError as deviation:
            raise DeviationError(
                f"{case.name}, step {number} {dict(step)}: {deviation}\n{case.rule}"
            ) from None


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine that never waits, without an event loop."""
    try:
        coroutine.send(None)
    except StopIteration:
        return
    coroutine.close()
    raise RuntimeError("the subject waited; play it in an event loop")


def _check_keys(where: str, step: Mapping[str, Any]) -> None:
    actions = [key for key in step if key in ACTIONS]
    if len(actions) > 1:
        raise ValueError(f"{where}: two actions in one step, {' and '.join(actions)}")
    known = {"at", *EXPECTATIONS, *actions}.union(*(ACTIONS[action] for action in actions))
    if unknown := sorted(step.keys() - known):
        raise ValueError(f"{where}: unknown here: {', '.join(unknown)}")
    if "at" not in step:
        raise ValueError(f"{where}: when? `at` is missing")


class _Player:
    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._unnamed = 0

    async def step(self, step: Mapping[str, Any]) -> None:
        await self._subject.advance(step["at"])
        if "call" in step:
            await self._calls(step)
        elif "begin" in step:
            await self._begin(step["begin"], step)
        elif "end" in step:
            await self._subject.end(step["end"], step["as"], step.get("server_wait"))
        elif "probe" in step:
            await self._subject.end_probe(step["probe"])
        elif "answer" in step:
            await self._optional("answer")(step["answer"])
        elif "await" in step:
            await self._optional("wait_for_admission")(step["await"])
        elif "do" in step:
            await self._subject.run_command(step["do"])
        elif "configure" in step:
            await self._subject.configure(step["configure"])
        await self._check(step)

    async def _calls(self, step: Mapping[str, Any]) -> None:
        times = step.get("times", 1)
        admitted = 0
        for _ in range(times):
            self._unnamed += 1
            name = f"call {self._unnamed}"
            if "admitted" in step:
                await self._subject.begin(name)
            else:
                await self._begin(name, step)
            if self._subject.seen(name) == "running":
                admitted += 1
                if "took" in step:
                    await self._subject.advance(step["at"] + step["took"])
                await self._subject.end(name, step["call"], step.get("server_wait"))
        _compare("admitted calls", step.get("admitted", admitted), admitted)
        if "caller" in step:
            _compare("what the caller saw", step["caller"], self._subject.seen(name))

    async def _begin(self, name: str, step: Mapping[str, Any]) -> None:
        if "inside" in step:
            await self._optional("begin_inside")(name, step["inside"])
        elif "client" in step or "route" in step:
            await self._optional("begin_from")(name, step.get("client"), step.get("route"))
        else:
            await self._subject.begin(name)
        seen = self._subject.seen(name)
        _compare("the call", step.get("expect", "running"), seen)
        if seen == "rejected":
            refusal = self._subject.refusal(name)
            if "reason" in step:
                _compare("the reason", step["reason"], refusal.reason)
            if step.get("wait") == "a number":
                told = isinstance(refusal.wait, int | float) and 0 < refusal.wait < float("inf")
                _compare("the wait told", "a number", "a number" if told else refusal.wait)
            elif "wait" in step:
                _compare("the wait told", step["wait"], refusal.wait)

    def _optional(self, method: str) -> Callable[..., Awaitable[None]]:
        """A method that most subjects don't have, since few breakers need it."""
        found: Callable[..., Awaitable[None]] | None = getattr(self._subject, method, None)
        if found is None:
            raise CannotExpressError(f"no {method}")
        return found

    async def _check(self, step: Mapping[str, Any]) -> None:
        for call, expected in step.get("sees", {}).items():
            _compare(f"what caller {call!r} sees", expected, self._subject.seen(call))
        for what in ("state", "failures", "slow", "retry_after"):
            if what in step:
                expected = None if step[what] == "unknown" else step[what]
                _compare(what, expected, await self._subject.read(what))
        for what, expected in step.get("counts", {}).items():
            _compare(f"the count of {what}", expected, await self._subject.read(what))


def _compare(what: str, expected: Any, got: Any) -> None:
    both_numbers = isinstance(expected, int | float) and isinstance(got, int | float)
    if expected != got and not (both_numbers and abs(expected - got) < 1e-6):
        raise DeviationError(f"{what}: expected {expected!r}, got {got!r}")
