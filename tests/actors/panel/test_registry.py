"""Names and their breakers: asked for again, by name at module level, removed, and removed when idle."""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actors import (
    Backoff,
    BulkheadFullError,
    CallTimeout,
    CircuitBreaker,
    CircuitBreakerConfig,
    CircuitOpenError,
    ConsecutiveFailures,
    NamedBreaker,
    Panel,
    PanelClosedError,
    Snapshot,
    State,
    Transition,
    breaker_named,
    open_panel,
)
from actors.commands import Acquire, Remove, TakeSnapshot
from actors.mailbox import Envelope, Mailbox
from actors.testing import DependencyDown, ScriptedDependency, advance, run_with_panel
from tests.actors.styles import STYLES, Style, in_every_style, named

holding_the_breaker = pytest.mark.parametrize(
    "call", [style for style in STYLES if style is not named], ids=lambda style: style.__name__
)
"""Those that a breaker which was removed can be called by."""

POLICY = CircuitBreakerConfig(name="it", max_failures=3)
REMOVED = "circuit breaker 'it' was removed from its panel"


def policy(**fields: Any) -> CircuitBreakerConfig:
    return CircuitBreakerConfig(name="it", **fields)


async def fail(breaker: CircuitBreaker, times: int) -> None:
    broken = ScriptedDependency()
    broken.breaks()
    for _ in range(times):
        with pytest.raises(DependencyDown):
            await breaker.execute(broken)


# The same policy finds the same breaker.


async def test_the_policy_first_given_finds_a_breaker_that_was_configured_since(panel: Panel) -> None:
    breaker = panel.breaker(POLICY)
    await breaker.configure(replace(POLICY, max_failures=9))
    assert panel.breaker(POLICY) is breaker
    assert breaker.config.max_failures == 9, "finding it changes nothing"


async def test_the_policy_in_force_finds_the_breaker_too(panel: Panel) -> None:
    breaker = panel.breaker(POLICY)
    await breaker.configure(replace(POLICY, max_failures=9))
    assert panel.breaker(replace(POLICY, max_failures=9)) is breaker


async def test_a_policy_that_was_in_force_only_in_between_finds_none(panel: Panel) -> None:
    breaker = panel.breaker(POLICY)
    for number in (4, 5):
        await breaker.configure(replace(POLICY, max_failures=number))
    with pytest.raises(ValueError, match="max_failures is 3, not 4$"):
        panel.breaker(replace(POLICY, max_failures=4))


class Rules:
    """An object whose methods are predicates."""

    def is_down(self, error: BaseException) -> bool:
        return isinstance(error, OSError)


def is_one_of(kinds: tuple[type[BaseException], ...], error: BaseException, *, really: bool = True) -> bool:
    return isinstance(error, kinds) is really


RULES = Rules()


def inline() -> CircuitBreakerConfig:
    return policy(failure=lambda error: isinstance(error, OSError))


def closure(kind: type[BaseException] = OSError) -> CircuitBreakerConfig:
    return policy(failure=lambda error: isinstance(error, kind))


def with_default(kind: type[BaseException] = OSError) -> CircuitBreakerConfig:
    return policy(failure=lambda error, kind=kind: isinstance(error, kind))


def with_keyword_default(kind: type[BaseException] = OSError) -> CircuitBreakerConfig:
    return policy(failure=lambda error, *, kind=kind: isinstance(error, kind))


def with_inner_function() -> CircuitBreakerConfig:
    def is_down(error: BaseException) -> bool:
        return isinstance(error, OSError)

    return policy(failure=lambda error: not is_down(error))


def with_recursion() -> CircuitBreakerConfig:
    def is_down(error: BaseException | None) -> bool:
        return isinstance(error, OSError) or (error is not None and is_down(error.__cause__))

    return policy(failure=is_down)


def with_mutual_recursion() -> CircuitBreakerConfig:
    def is_odd(count: int) -> bool:
        return count > 0 and is_even(count - 1)

    def is_even(count: int) -> bool:
        return count == 0 or is_odd(count - 1)

    return policy(failure_result=is_odd)


def with_partial(*kinds: type[BaseException]) -> CircuitBreakerConfig:
    return policy(failure=partial(is_one_of, kinds or (OSError,), really=True))


def with_partial_of_lambdas() -> CircuitBreakerConfig:
    def judge(error: BaseException, *, ask: Callable[[BaseException], bool]) -> bool:
        return ask(error)

    return policy(failure=partial(judge, ask=lambda error: True))


def with_method() -> CircuitBreakerConfig:
    return policy(failure=RULES.is_down)


def with_types() -> CircuitBreakerConfig:
    return policy(failure=(OSError, EOFError), answers=KeyError, backoff=Backoff(factor=2, maximum=90))


def with_unset_name() -> CircuitBreakerConfig:
    made = policy(failure=lambda error: later)
    if made.name != "it":
        later = True
    return made


ALIKE = [
    inline, closure, with_default, with_keyword_default, with_inner_function, with_recursion,
    with_mutual_recursion, with_partial, with_partial_of_lambdas, with_method, with_types,
    with_unset_name,
]  # fmt: skip


@pytest.mark.parametrize("make", ALIKE, ids=lambda make: make.__name__)
async def test_a_policy_made_anew_finds_its_breaker(
    panel: Panel, make: Callable[[], CircuitBreakerConfig]
) -> None:
    assert panel.breaker(make()) is panel.breaker(make())


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (inline(), policy(failure=lambda error: isinstance(error, OSError))),
        (closure(OSError), closure(KeyError)),
        (with_default(OSError), with_default(KeyError)),
        (with_keyword_default(OSError), with_keyword_default(KeyError)),
        (with_partial(OSError), with_partial(KeyError)),
        (policy(failure=Rules().is_down), policy(failure=Rules().is_down)),
        (policy(failure=(OSError, EOFError)), policy(failure=(EOFError, OSError))),
    ],
    ids=["another line", "closure", "default", "keyword default", "partial", "method", "types"],
)
async def test_functions_that_may_differ_are_a_conflict(
    panel: Panel, first: CircuitBreakerConfig, second: CircuitBreakerConfig
) -> None:
    panel.breaker(first)
    with pytest.raises(ValueError, match="name 'it' is taken by a breaker with another policy: failure is "):
        panel.breaker(second)


async def test_a_conflict_names_the_differing_fields_and_no_others(panel: Panel) -> None:
    panel.breaker(policy(trip=ConsecutiveFailures(3), failure=OSError, ignore=lambda error: False))
    with pytest.raises(ValueError) as raised:
        panel.breaker(policy(trip=ConsecutiveFailures(4), failure=OSError, reset_timeout=5.0))
    said = str(raised.value)
    assert said.startswith(
        "name 'it' is taken by a breaker with another policy: "
        "reset_timeout is 60.0, not 5.0, trip is ConsecutiveFailures(n=3), not ConsecutiveFailures(n=4), "
        "ignore is <function "
    )
    assert said.endswith(", not ()")
    assert said.count(" is ") == 4


# By name, at module level.

NAMED = breaker_named(POLICY)
BY_NAME_ALONE = breaker_named("it")


@NAMED.protect
async def doubled(number: int, *, plus: int = 0) -> int:
    """Twice the number."""
    await trio.lowlevel.checkpoint()
    if number < 0:
        raise DependencyDown
    return 2 * number + plus


async def test_a_named_breaker_is_that_of_the_open_panel(panel: Panel) -> None:
    assert await doubled(3, plus=1) == 7
    assert NAMED.find() is panel["it"] is BY_NAME_ALONE.find()
    assert NAMED.find().config is POLICY
    for _ in range(3):
        with pytest.raises(DependencyDown):
            await doubled(-1)
    with pytest.raises(CircuitOpenError):
        await doubled(3)
    assert (await panel["it"].snapshot()).counts == {
        "success": 1, "failure": 3, "ignored": 0, "cancelled": 0, "rejected": 1,
    }  # fmt: skip


def test_a_named_breakers_repr_has_its_name() -> None:
    assert (repr(NAMED), NAMED.name, BY_NAME_ALONE.name) == ("<NamedBreaker 'it'>", "it", "it")
    assert (doubled.__name__, doubled.__doc__) == ("doubled", "Twice the number.")


@pytest.mark.parametrize("named", [NAMED, BY_NAME_ALONE])
async def test_without_an_open_panel_a_named_breakers_error_names_the_cause(named: NamedBreaker) -> None:
    async with open_panel():
        pass
    with pytest.raises(RuntimeError, match="no panel is open in this trio.run: put `async with open_panel"):
        named.find()


def test_outside_of_trio_a_named_breaker_raises_the_same_error() -> None:
    with pytest.raises(RuntimeError, match="no panel is open in this trio.run"):
        NAMED.find()


async def test_a_name_alone_makes_no_breaker(panel: Panel) -> None:
    with pytest.raises(KeyError, match="no circuit breaker 'it' on this panel, which has: none"):
        BY_NAME_ALONE.find()
    assert len(panel) == 0


async def test_a_named_policy_that_conflicts_raises_at_its_use(panel: Panel) -> None:
    panel.breaker(policy(max_failures=4))
    with pytest.raises(ValueError, match="max_failures is 4, not 3$"):
        await doubled(1)


async def test_of_several_panels_the_one_opened_last_is_used() -> None:
    async with open_panel() as outer:
        assert NAMED.find() is outer["it"]
        async with open_panel() as inner:
            assert NAMED.find() is inner["it"] is not outer["it"]
        assert NAMED.find() is outer["it"]


async def test_panels_may_close_in_the_order_in_which_they_opened() -> None:
    first, second = open_panel(), open_panel()
    async with trio.open_nursery() as nursery:
        leave = trio.Event()

        async def opened(task_status: trio.TaskStatus[None]) -> None:
            async with first:
                task_status.started()
                await leave.wait()

        await nursery.start(opened)
        async with second as panel:
            leave.set()
            await wait_all_tasks_blocked()
            assert NAMED.find() is panel["it"]


async def test_a_panel_that_failed_is_no_longer_open() -> None:
    with pytest.raises(KeyError):
        async with open_panel():
            raise KeyError
    with pytest.raises(RuntimeError, match="no panel is open"):
        NAMED.find()


async def test_a_removed_breaker_is_made_anew_where_it_is_named_by_its_policy(panel: Panel) -> None:
    removed = NAMED.find()
    await fail(removed, 3)
    await panel.remove("it")
    with pytest.raises(KeyError):
        BY_NAME_ALONE.find()
    assert await doubled(1) == 2
    assert NAMED.find() is panel["it"] is BY_NAME_ALONE.find() is not removed


def test_each_run_has_a_named_breaker_of_its_own() -> None:
    async def scenario(panel: Panel, clock: MockClock) -> tuple[CircuitBreaker, State]:
        await fail(NAMED.find(), 3)
        return NAMED.find(), NAMED.find().state

    (first, state), (second, again) = run_with_panel(scenario), run_with_panel(scenario)
    assert first is not second
    assert state == again == State.OPEN


def test_runs_in_two_threads_never_see_each_others_breakers() -> None:
    found: list[bool] = []

    async def scenario(panel: Panel, clock: MockClock) -> None:
        own = NAMED.find()
        found.extend([await doubled(1) == 2 and NAMED.find() is own for _ in range(300)])

    threads = [threading.Thread(target=run_with_panel, args=(scenario,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 900


class OtherRunMeanwhile(NamedBreaker):
    """Another run finds its own breaker just before what was found is read for the nth time."""

    def __init__(self, policy: CircuitBreakerConfig, nth: int) -> None:
        self._reads_left: float = float("inf")
        super().__init__(policy)
        self.find()
        self._reads_left = nth

    @property
    def _found(self) -> Any:
        self._reads_left -= 1
        return (object(), "another run's breaker") if self._reads_left == 0 else self._kept

    @_found.setter
    def _found(self, found: Any) -> None:
        self._kept = found


@pytest.mark.parametrize("nth", range(1, 6))
async def test_what_another_run_finds_meanwhile_is_not_handed_out(panel: Panel, nth: int) -> None:
    named = OtherRunMeanwhile(POLICY, nth)
    for _ in range(5):
        assert named.find() is panel["it"]


def test_what_cannot_be_awaited_is_no_named_breakers_to_protect() -> None:
    with pytest.raises(TypeError, match="protect needs an async function"):
        NAMED.protect(len)  # type: ignore[arg-type]


# Names are checked.


@pytest.mark.parametrize("name", ["", "x" * 201, "two\nlines", "\x00", "\ud800", "tab\t", 7, None, b"it"])
def test_a_name_that_logs_and_metrics_cannot_carry_is_refused(name: Any) -> None:
    with pytest.raises(ValueError, match="name must be a string of 1 to 200 printable characters, got"):
        CircuitBreakerConfig(name=name)
    if isinstance(name, str):
        with pytest.raises(ValueError, match="name must be a string of 1 to 200 printable characters, got"):
            breaker_named(name)


@pytest.mark.parametrize("name", ["x", "x" * 200, "school-service (Zürich)", "[::1]:80", "例え", "a b"])
async def test_any_printable_name_has_a_breaker(panel: Panel, name: str) -> None:
    breaker = panel.breaker(CircuitBreakerConfig(name=name))
    assert await breaker.execute(ScriptedDependency()) == "ok"
    assert (panel[name], breaker_named(name).find()) == (breaker, breaker)


# Removing.

COMMANDS = {
    "snapshot": CircuitBreaker.snapshot,
    "trip": CircuitBreaker.trip,
    "reset": CircuitBreaker.reset,
    "force_open": CircuitBreaker.force_open,
    "disable": CircuitBreaker.disable,
    "observe": CircuitBreaker.observe,
    "configure": lambda breaker: breaker.configure(POLICY),
    "wait_until_admitting": CircuitBreaker.wait_until_admitting,
}


@holding_the_breaker
@pytest.mark.parametrize("state", [State.CLOSED, State.OPEN, State.FORCED_OPEN, State.DISABLED])
async def test_calls_of_a_removed_breaker_raise(
    panel: Panel, dependency: ScriptedDependency, call: Style, state: State
) -> None:
    """Whatever state it was in; a fallback is for rejections, and this is none."""
    breaker = panel.breaker(POLICY)
    if state is State.OPEN:
        await breaker.trip()
    elif state is State.FORCED_OPEN:
        await breaker.force_open()
    elif state is State.DISABLED:
        await breaker.disable()
    await panel.remove("it")
    with pytest.raises(PanelClosedError, match=REMOVED):
        await call(breaker, dependency)
    assert dependency.calls == 0


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
async def test_a_removed_breaker_takes_no_command(panel: Panel, command: Any) -> None:
    breaker = panel.breaker(POLICY)
    await panel.remove("it")
    with pytest.raises(PanelClosedError, match=REMOVED):
        await command(breaker)
    with pytest.raises(PanelClosedError, match=REMOVED):
        async with breaker.events():
            pass
    assert breaker.state is State.CLOSED


async def test_a_removed_name_is_free_at_once(panel: Panel) -> None:
    """While the old one is still being removed, too."""
    old = panel.breaker(POLICY)
    await fail(old, 3)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(panel.remove, "it")
        while "it" in panel:
            await trio.lowlevel.checkpoint()
        new = panel.breaker(policy(max_failures=7))
    assert panel["it"] is new is not old
    assert (new.state, old.state) == (State.CLOSED, State.OPEN)
    assert await new.execute(ScriptedDependency()) == "ok"


async def test_a_name_that_is_not_there_cannot_be_removed(panel: Panel) -> None:
    panel.breaker(POLICY)
    with pytest.raises(KeyError, match="no circuit breaker 'prices' on this panel, which has: 'it'"):
        await panel.remove("prices")
    await panel.remove("it")
    with pytest.raises(KeyError, match="no circuit breaker 'it' on this panel, which has: none"):
        await panel.remove("it")
    assert (len(panel), list(panel), panel.get("it"), "it" in panel) == (0, [], None, False)


async def test_the_second_of_two_removals_raises_key_error(panel: Panel) -> None:
    panel.breaker(POLICY)
    told = []

    async def remove() -> None:
        try:
            await panel.remove("it")
            told.append("removed")
        except KeyError:
            told.append("not there")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(remove)
        nursery.start_soon(remove)
    assert sorted(told) == ["not there", "removed"]


async def test_removing_is_not_cancelled_half_way(panel: Panel) -> None:
    breaker = panel.breaker(POLICY)
    with trio.CancelScope() as scope:
        scope.cancel()
        await panel.remove("it")
        assert breaker.mailbox.closed
    assert len(panel) == 0


async def test_a_closed_panel_removes_nothing() -> None:
    async with open_panel() as panel:
        panel.breaker(POLICY)
    with pytest.raises(PanelClosedError, match="the panel has closed"):
        await panel.remove("it")


async def test_another_trio_run_removes_nothing(panel: Panel) -> None:
    breaker = panel.breaker(POLICY)

    async def elsewhere() -> None:
        with pytest.raises(RuntimeError, match="belongs to the trio.run of its panel"):
            await panel.remove("it")

    await trio.to_thread.run_sync(trio.run, elsewhere)
    assert panel["it"] is breaker
    assert await breaker.execute(ScriptedDependency()) == "ok"


@in_every_style
@pytest.mark.parametrize("fails", [False, True])
async def test_calls_that_run_end_as_they_would_and_are_not_counted(
    panel: Panel, dependency: ScriptedDependency, call: Style, fails: bool
) -> None:
    breaker = panel.breaker(policy(max_failures=1))
    dependency.holds()
    ended: list[object] = []

    async def one() -> None:
        try:
            ended.append(await call(breaker, dependency))
        except DependencyDown as error:
            ended.append(type(error))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(one)
        await wait_all_tasks_blocked()
        await panel.remove("it")
        new = panel.breaker(policy(max_failures=1))
        if fails:
            dependency.breaks()
        dependency.lets_go()
    assert ended == [DependencyDown if fails else "ok"]
    assert not any((await new.snapshot()).counts.values())
    assert breaker.state is State.CLOSED


@pytest.mark.parametrize("removed", [False, True], ids=["panel closed", "breaker removed"])
async def test_call_timeout_still_ends_a_call_after_its_breaker_has_ended(
    autojump_clock: MockClock, removed: bool
) -> None:
    """At its time, and not counted: there is nobody left to count it."""
    ended = []

    async def call(breaker: CircuitBreaker) -> None:
        with pytest.raises(CallTimeout, match="took longer than 5 s"):
            await breaker.execute(trio.sleep, 100)
        ended.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        async with open_panel() as panel:
            nursery.start_soon(call, panel.breaker(policy(call_timeout=5)))
            await trio.sleep(2)
            if removed:
                await panel.remove("it")
                await trio.sleep(10)
    assert ended == [5]


def put_the_end_behind(kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have each message of this kind followed at once by the breaker's end."""
    put = Mailbox._put

    def put_both(mailbox: Mailbox[Any], envelope: Envelope[Any]) -> None:
        put(mailbox, envelope)
        if isinstance(envelope.message, kind):
            put(mailbox, Envelope(Remove()))

    monkeypatch.setattr(Mailbox, "_put", put_both)


async def test_a_call_that_is_admitted_while_its_breaker_ends_has_its_timeout(
    panel: Panel, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A probe gets its permit by a message, and the next message may be the end."""
    breaker = panel.breaker(policy(call_timeout=5))
    await breaker.trip()
    await trio.sleep(60)
    put_the_end_behind(Acquire, monkeypatch)
    with pytest.raises(CallTimeout):
        await breaker.execute(trio.sleep, 100)
    assert trio.current_time() == 65


@pytest.mark.parametrize("how", ["answered", "lift_timeout", "succeed"])
async def test_a_timeout_that_was_lifted_ends_no_call_of_a_breaker_that_has_ended(
    panel: Panel, autojump_clock: MockClock, how: str
) -> None:
    """Lifted before the end or after it; a disabled breaker's call may still be settled early after it."""
    for early in (True, False):
        breaker = panel.breaker(policy(call_timeout=5))
        if how == "succeed" and not early:
            await breaker.disable()
        async with breaker.guard() as call:
            if early:
                getattr(call, how)()
            await panel.remove("it")
            getattr(call, how)()
            await trio.sleep(100)


async def test_removal_ends_every_wait_for_admission(panel: Panel) -> None:
    breaker = panel.breaker(POLICY)
    await breaker.trip()
    told = []

    async def wait() -> None:
        with pytest.raises(PanelClosedError, match=REMOVED):
            await breaker.wait_until_admitting()
        told.append(1)

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            nursery.start_soon(wait)
            await wait_all_tasks_blocked()
            await panel.remove("it")
    assert told == [1, 1]


async def test_a_removed_breakers_events_end_after_those_that_came_before(panel: Panel) -> None:
    breaker, other = panel.breaker(POLICY), panel.breaker(CircuitBreakerConfig(name="other"))
    seen: list[object] = []

    async def read(events: Any) -> None:
        seen.extend([event async for event in events])

    with trio.fail_after(5):
        async with panel.events() as of_all:
            async with trio.open_nursery() as nursery, breaker.events() as events:
                nursery.start_soon(read, events)
                await breaker.trip()
                await panel.remove("it")
                await wait_all_tasks_blocked()
            await other.trip()
            told = [await anext(of_all) for _ in range(2)]
    assert [event.new for event in seen if isinstance(event, Transition)] == [State.OPEN]
    assert [event.name for event in told if isinstance(event, Transition)] == ["it", "other"]


async def test_a_waiter_in_a_removed_breakers_bulkhead_gets_the_error_at_its_turn(
    panel: Panel, dependency: ScriptedDependency
) -> None:
    breaker = panel.breaker(policy(max_concurrent=1, max_queue=2))
    dependency.holds()
    ended: list[object] = []

    async def one() -> None:
        try:
            ended.append(await breaker.execute(dependency))
        except (PanelClosedError, BulkheadFullError) as error:
            ended.append(type(error))

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(one)
            await wait_all_tasks_blocked()
            await panel.remove("it")
            dependency.lets_go()
    assert ended == ["ok", PanelClosedError, PanelClosedError]
    assert dependency.calls == 1


class Probes:
    """A probe that never ends by itself, and how many of it have begun and been cancelled."""

    def __init__(self) -> None:
        self.begun = self.cancelled = 0

    async def __call__(self) -> None:
        self.begun += 1
        try:
            await trio.sleep_forever()
        finally:
            self.cancelled += 1


@pytest.mark.parametrize(
    ("seconds", "interval"), [(60, None), (10, 10)], ids=["while half-open", "while open"]
)
async def test_a_removed_breakers_own_probe_is_cancelled(
    panel: Panel, mock_clock: MockClock, seconds: float, interval: float | None
) -> None:
    probes = Probes()
    breaker = panel.breaker(policy(probe=probes, probe_interval=interval))
    await breaker.trip()
    await advance(mock_clock, seconds)
    assert (probes.begun, probes.cancelled) == (1, 0)
    await panel.remove("it")
    await wait_all_tasks_blocked()
    assert (probes.begun, probes.cancelled) == (1, 1)
    await advance(mock_clock, 1000)
    assert probes.begun == 1


async def test_a_removed_breakers_probe_of_an_earlier_recovery_is_cancelled_too(
    panel: Panel, mock_clock: MockClock
) -> None:
    probes = Probes()
    breaker = panel.breaker(policy(probe=probes, half_open_timeout=None))
    for _ in range(2):
        await breaker.trip()
        await advance(mock_clock, 60)
    assert (probes.begun, probes.cancelled) == (2, 0)
    await panel.remove("it")
    await wait_all_tasks_blocked()
    assert probes.cancelled == 2


async def test_a_probe_that_has_not_begun_when_its_breaker_is_removed_never_does(
    panel: Panel, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    probes = Probes()
    breaker = panel.breaker(policy(probe=probes))
    await breaker.trip()
    mock_clock.jump(60)
    put_the_end_behind(TakeSnapshot, monkeypatch)
    assert (await breaker.snapshot()).state is State.HALF_OPEN
    await wait_all_tasks_blocked()
    assert probes.begun == 0


@in_every_style
async def test_a_call_may_remove_its_own_breaker(panel: Panel, call: Style) -> None:
    breaker = panel.breaker(policy(max_concurrent=2, call_timeout=5))

    async def remove() -> str:
        await panel.remove("it")
        return "removed"

    with trio.fail_after(5):
        assert await call(breaker, remove) == "removed"
    assert (breaker.mailbox.closed, len(panel)) == (True, 0)


async def test_a_probe_may_remove_its_own_breaker(panel: Panel, mock_clock: MockClock) -> None:
    """It is cancelled at its next checkpoint."""
    reached = []

    async def probe() -> None:
        await panel.remove("it")
        reached.append("removed")
        await trio.lowlevel.checkpoint()
        reached.append("went on")

    await panel.breaker(policy(probe=probe)).trip()
    await advance(mock_clock, 60)
    assert (reached, len(panel)) == (["removed"], 0)


async def test_snapshots_leave_out_what_is_removed(panel: Panel) -> None:
    """Also what is removed while they are taken."""
    names = ["a", "b", "c"]
    for name in names:
        panel.breaker(CircuitBreakerConfig(name=name))
    taken: list[list[str]] = []

    async def take() -> None:
        taken.append(list(await panel.snapshots()))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(take)
        nursery.start_soon(panel.remove, "b")
    await take()
    assert taken[0] in (["a", "b", "c"], ["a", "c"])
    assert taken[1] == ["a", "c"]


async def test_snapshots_go_on_where_a_breaker_is_removed_before_its_turn(
    panel: Panel, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b", "c"):
        panel.breaker(CircuitBreakerConfig(name=name))
    take = CircuitBreaker.snapshot

    async def remove_b_first(breaker: CircuitBreaker) -> Snapshot:
        if breaker.name == "a":
            await panel.remove("b")
        return await take(breaker)

    monkeypatch.setattr(CircuitBreaker, "snapshot", remove_b_first)
    assert list(await panel.snapshots()) == ["a", "c"]


async def test_a_removed_breaker_is_in_no_metric(panel: Panel) -> None:
    metrics = pytest.importorskip("actors.adapters.metrics")
    await fail(panel.breaker(POLICY), 1)
    assert b'service="it"' in metrics.exposition((await panel.snapshots()).values())
    await panel.remove("it")
    assert b'service="it"' not in metrics.exposition((await panel.snapshots()).values())
    panel.breaker(POLICY)
    again = metrics.exposition((await panel.snapshots()).values())
    assert b'circuit_breaker_failures_total{service="it"} 0.0' in again


# Removing what is idle. The panel looks at 20 moments of the time: 5, 10, 15, ... 100, ...

IDLE = 100.0
LOOK = IDLE / 20


@asynccontextmanager
async def idle_panel() -> AsyncIterator[Panel]:
    async with open_panel(idle_timeout=IDLE) as panel:
        # Whoever looks has begun to.
        await wait_all_tasks_blocked()
        yield panel


async def rest(clock: MockClock, seconds: float) -> None:
    """Let time pass a step at a time, so that each look comes at its time."""
    for _ in range(round(seconds)):
        await advance(clock, 1)


@in_every_style
@pytest.mark.parametrize(("used", "goes"), [(0, 100), (41, 140), (44, 140), (45, 145), (49, 145)])
async def test_an_idle_breaker_goes_in_the_last_twentieth_before_its_time_is_over(
    mock_clock: MockClock, call: Style, used: int, goes: int
) -> None:
    async with idle_panel() as panel:
        breaker = panel.breaker(POLICY)
        await rest(mock_clock, used)
        assert await call(breaker, ScriptedDependency()) == "ok"
        await rest(mock_clock, goes - used - 1)
        assert "it" in panel
        await rest(mock_clock, 1)
        assert "it" not in panel
        assert used + IDLE - LOOK <= goes <= used + IDLE
        with pytest.raises(PanelClosedError, match=REMOVED):
            await breaker.execute(ScriptedDependency())


async def test_a_breaker_that_was_never_called_goes_at_its_time(mock_clock: MockClock) -> None:
    async with idle_panel() as panel:
        panel.breaker(POLICY)
        await rest(mock_clock, 99)
        assert "it" in panel
        await rest(mock_clock, 1)
        assert "it" not in panel


async def test_without_a_time_nothing_is_removed(panel: Panel, mock_clock: MockClock) -> None:
    panel.breaker(POLICY)
    await advance(mock_clock, 10**7)
    assert "it" in panel


async def used_every(seconds: float, use: Callable[[Panel], Awaitable[object]], clock: MockClock) -> bool:
    """Whether a breaker is still there after five times the idle time."""
    async with idle_panel() as panel:
        breaker = panel.breaker(policy(max_failures=2, max_concurrent=None, ignore=KeyError))
        for _ in range(round(5 * IDLE / seconds)):
            await use(panel)
            await rest(clock, seconds)
        return panel.get("it") is breaker


async def succeeds(panel: Panel) -> None:
    await panel["it"].execute(ScriptedDependency())


async def fails_once_in_a_row(panel: Panel) -> None:
    await fail(panel["it"], 1)
    await panel["it"].execute(ScriptedDependency())


async def is_ignored(panel: Panel) -> None:
    with suppress(KeyError):
        async with panel["it"].guard():
            raise KeyError


async def is_cancelled(panel: Panel) -> None:
    with trio.move_on_after(0):
        await panel["it"].execute(trio.sleep_forever)


async def is_asked_for(panel: Panel) -> None:
    panel.breaker(panel["it"].config)


async def is_looked_at(panel: Panel) -> None:
    await panel.snapshots()


@pytest.mark.parametrize("use", [succeeds, fails_once_in_a_row, is_ignored, is_cancelled])
async def test_a_breaker_that_is_called_stays(mock_clock: MockClock, use: Any) -> None:
    assert await used_every(90, use, mock_clock)


@pytest.mark.parametrize("use", [is_asked_for, is_looked_at])
async def test_looking_at_a_breaker_is_no_use_of_it(mock_clock: MockClock, use: Any) -> None:
    with suppress(KeyError):
        assert not await used_every(90, use, mock_clock)


async def test_a_long_call_keeps_its_breaker(mock_clock: MockClock) -> None:
    """In each way in which calls are counted, and also across a transition."""
    async with idle_panel() as panel, trio.open_nursery() as nursery:
        panel.breaker(CircuitBreakerConfig(name="fast"))
        panel.breaker(CircuitBreakerConfig(name="timed", max_concurrent=1))
        panel.breaker(CircuitBreakerConfig(name="retired"))
        panel.breaker(CircuitBreakerConfig(name="idle"))
        for name in ("fast", "timed", "retired"):
            nursery.start_soon(panel[name].execute, trio.sleep_forever)
        await wait_all_tasks_blocked()
        await panel["retired"].trip()
        await panel["retired"].reset()
        await rest(mock_clock, 5 * IDLE)
        assert [breaker.name for breaker in panel] == ["fast", "timed", "retired"]
        nursery.cancel_scope.cancel()


async def test_rejections_keep_a_breaker(mock_clock: MockClock) -> None:
    """Whoever is rejected uses it, too: here by a ramp that has hardly begun."""
    async with idle_panel() as panel:
        breaker = panel.breaker(policy(ramp=1e9))
        await breaker.trip()
        await rest(mock_clock, 60)
        await breaker.execute(ScriptedDependency())
        for _ in range(5):
            with pytest.raises(CircuitOpenError):
                await breaker.execute(ScriptedDependency())
            await rest(mock_clock, 90)
        assert "it" in panel


@pytest.mark.parametrize("hold", ["force_open", "disable", "observe"])
async def test_what_an_operator_holds_stays(mock_clock: MockClock, hold: str) -> None:
    async with idle_panel() as panel:
        await getattr(panel.breaker(POLICY), hold)()
        await rest(mock_clock, 3 * IDLE)
        assert "it" in panel
        await panel["it"].reset()
        await rest(mock_clock, IDLE)
        assert "it" not in panel


async def test_an_outage_is_waited_out_and_then_the_half_open_breaker_goes(mock_clock: MockClock) -> None:
    async with idle_panel() as panel:
        breaker = panel.breaker(policy(max_failures=1, reset_timeout=250))
        await fail(breaker, 1)
        await rest(mock_clock, 249)
        assert (panel["it"].state, "it" in panel) == (State.OPEN, True)
        await rest(mock_clock, 1)
        assert breaker.state is State.HALF_OPEN
        await rest(mock_clock, LOOK)
        assert "it" not in panel


async def test_whoever_reads_a_breakers_events_keeps_it(mock_clock: MockClock) -> None:
    async with idle_panel() as panel:
        async with panel.breaker(POLICY).events():
            await rest(mock_clock, 3 * IDLE)
            assert "it" in panel
        await rest(mock_clock, IDLE)
        assert "it" not in panel


async def test_whoever_waits_for_admission_keeps_the_breaker(mock_clock: MockClock) -> None:
    async def never() -> None:
        await trio.sleep_forever()

    async with idle_panel() as panel, trio.open_nursery() as nursery:
        breaker = panel.breaker(policy(probe=never, half_open_timeout=None))
        await breaker.trip()
        nursery.start_soon(breaker.wait_until_admitting)
        await rest(mock_clock, 3 * IDLE)
        assert "it" in panel
        nursery.cancel_scope.cancel()


async def test_a_call_just_after_the_process_stood_still_keeps_its_breaker(mock_clock: MockClock) -> None:
    """The look that comes late can't tell when it was called, so it takes the latest moment."""
    async with idle_panel() as panel:
        breaker = panel.breaker(POLICY)
        await rest(mock_clock, 7)
        mock_clock.jump(1000)
        assert await breaker.execute(ScriptedDependency()) == "ok"
        await wait_all_tasks_blocked()
        assert "it" in panel
        await rest(mock_clock, IDLE - LOOK - 1)
        assert "it" in panel
        await rest(mock_clock, LOOK + 1)
        assert "it" not in panel


@pytest.mark.parametrize("idle_timeout", [1.0, 0.3, 7.0, 33.3])
@pytest.mark.parametrize("start", [0.0, 0.1, 12345.678])
async def test_the_bounds_hold_for_times_that_no_float_hits(
    mock_clock: MockClock, idle_timeout: float, start: float
) -> None:
    mock_clock.jump(start)
    async with open_panel(idle_timeout=idle_timeout) as panel:
        panel.breaker(POLICY)
        began = trio.current_time()
        for look in range(1, 21):
            assert "it" in panel
            mock_clock.jump(began + look * idle_timeout / 20 - trio.current_time() + look * 1e-9)
            await wait_all_tasks_blocked()
        assert "it" not in panel


async def test_idle_breakers_may_be_removed_by_others_before_their_turn(
    mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the first one ends, others go, and a name is taken again."""
    deliver = Mailbox.deliver
    removed: list[Mailbox[Any]] = []

    async def meddle_first(mailbox: Mailbox[Any], message: object) -> None:
        removed.append(mailbox)
        if isinstance(message, Remove) and len(removed) == 1:
            for name in ("1", "2"):
                with suppress(KeyError):
                    await panel.remove(name)
            panel.breaker(CircuitBreakerConfig(name="2", max_failures=9))
        await deliver(mailbox, message)

    monkeypatch.setattr(Mailbox, "deliver", meddle_first)
    async with idle_panel() as panel:
        for number in range(3):
            panel.breaker(CircuitBreakerConfig(name=f"{number}"))
        await rest(mock_clock, IDLE)
        assert [(breaker.name, breaker.config.max_failures) for breaker in panel] == [("2", 9)]
        assert await panel["2"].execute(ScriptedDependency()) == "ok"


@pytest.mark.parametrize("turns", range(8))
async def test_a_panel_may_close_while_it_removes_what_is_idle(mock_clock: MockClock, turns: int) -> None:
    async with idle_panel() as panel:
        for number in range(3):
            panel.breaker(CircuitBreakerConfig(name=f"{number}"))
        await rest(mock_clock, 99)
        mock_clock.jump(1)
        for _ in range(turns):
            await trio.lowlevel.checkpoint()


async def test_a_named_breaker_that_went_idle_is_made_anew(mock_clock: MockClock) -> None:
    async with idle_panel() as panel:
        for _ in range(3):
            before = NAMED.find()
            assert await doubled(1) == 2
            await rest(mock_clock, 2 * IDLE)
            assert "it" not in panel
            assert await doubled(2) == 4
            assert NAMED.find() is not before


async def test_a_host_that_went_idle_is_called_through_a_new_breaker(mock_clock: MockClock) -> None:
    httpx = pytest.importorskip("httpx")
    transports = pytest.importorskip("actors.adapters.httpx")
    inner = httpx.MockTransport(lambda request: httpx.Response(200, text="well"))
    async with idle_panel() as panel:
        async with httpx.AsyncClient(transport=transports.BreakerTransport(inner, panel)) as client:
            for _ in range(3):
                assert (await client.get("http://it/")).text == "well"
                assert (await panel["it"].snapshot()).counts["success"] == 1
                await rest(mock_clock, 2 * IDLE)
                assert len(panel) == 0


async def test_ten_thousand_names_that_come_and_go_leave_no_memory_behind(mock_clock: MockClock) -> None:
    """Half are removed by hand, half because they are idle."""
    async with idle_panel() as panel:

        async def pass_by(first: int, count: int) -> None:
            for number in range(first, first + count):
                breaker = panel.breaker(CircuitBreakerConfig(name=f"tenant {number}"))
                await breaker.execute(trio.lowlevel.checkpoint)
                if number % 2:
                    await panel.remove(breaker.name)
            mock_clock.jump(2 * IDLE)
            await wait_all_tasks_blocked()
            await advance(mock_clock, 2 * IDLE)
            assert len(panel) == 0

        await pass_by(0, 1000)
        gc.collect()
        before = sys.getallocatedblocks()
        for first in range(1000, 11_000, 1000):
            await pass_by(first, 1000)
        gc.collect()
        assert sys.getallocatedblocks() - before < 1000, "a tenth of an object a name"


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), "60", True])
def test_an_idle_time_out_of_range_is_refused(seconds: Any) -> None:
    with pytest.raises(ValueError, match="idle_timeout must be a number above 0, got"):
        open_panel(idle_timeout=seconds)
