"""What a rejected caller learns: from an error of each reason, and from one made by hand or copied."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actors import (
    BulkheadFullError,
    CallRejected,
    CallTimeout,
    CircuitBreaker,
    CircuitBreakerConfig,
    CircuitBreakerError,
    CircuitOpenError,
    Panel,
    PanelClosedError,
    PanelFailedError,
    RejectReason,
    State,
    open_panel,
)
from actors.testing import DependencyDown, ScriptedDependency
from tests.actors.styles import Style, in_every_style


@pytest.fixture
async def busy() -> AsyncIterator[trio.Nursery]:
    """For calls that hold a place."""
    async with trio.open_nursery() as nursery:
        yield nursery
        nursery.cancel_scope.cancel()


def make(panel: Panel, **fields: Any) -> CircuitBreaker:
    return panel.breaker(CircuitBreakerConfig(name="it", max_failures=1, **fields))


async def opened(panel: Panel, **fields: Any) -> CircuitBreaker:
    breaker = make(panel, **fields)
    broken = ScriptedDependency()
    broken.breaks()
    with pytest.raises(DependencyDown):
        await breaker.execute(broken)
    return breaker


async def is_open(panel: Panel, busy: trio.Nursery) -> CircuitBreaker:
    breaker = await opened(panel)
    await trio.sleep(20.5)
    return breaker


async def is_open_while_a_call_runs(panel: Panel, busy: trio.Nursery) -> CircuitBreaker:
    breaker = make(panel)
    busy.start_soon(breaker.execute, trio.sleep_forever)
    await wait_all_tasks_blocked()
    await opened(panel)
    await trio.sleep(20.5)
    return breaker


async def is_probing(panel: Panel, busy: trio.Nursery) -> CircuitBreaker:
    breaker = await opened(panel)
    await trio.sleep(60)
    busy.start_soon(breaker.execute, trio.sleep_forever)
    await trio.sleep(2)
    return breaker


async def is_probing_nearly_too_long(panel: Panel, busy: trio.Nursery) -> CircuitBreaker:
    breaker = await is_probing(panel, busy)
    await trio.sleep(57.75)
    return breaker


async def is_ramping(panel: Panel, busy: trio.Nursery) -> CircuitBreaker:
    breaker = await opened(panel, ramp=100)
    await trio.sleep(60)
    await breaker.execute(trio.sleep, 0)
    await trio.sleep(0.25)
    return breaker


async def is_forced(panel: Panel, busy: trio.Nursery) -> CircuitBreaker:
    breaker = make(panel)
    await breaker.force_open()
    await trio.sleep(7)
    return breaker


async def is_forced_in_an_outage(panel: Panel, busy: trio.Nursery) -> CircuitBreaker:
    breaker = await is_open(panel, busy)
    await breaker.force_open()
    return breaker


async def is_full(panel: Panel, busy: trio.Nursery) -> CircuitBreaker:
    breaker = make(panel, max_concurrent=1)
    busy.start_soon(breaker.execute, trio.sleep_forever)
    await wait_all_tasks_blocked()
    return breaker


DOWN = "DependencyDown"
OPEN_TEXT = (
    "circuit breaker 'it' is OPEN for 20.500 s (last failure: DependencyDown), "
    "waiting for the end of its wait; retry after 39.500 s"
)
PROBING_TEXT = (
    "circuit breaker 'it' is HALF_OPEN for {} s (last failure: DependencyDown), "
    "waiting for the result of a probe; retry after {} s"
)
RAMP_TEXT = (
    "circuit breaker 'it' is CLOSED (last failure: DependencyDown), "
    "waiting for the end of its ramp; retry after 99.750 s"
)
FORCED_TEXT = "circuit breaker 'it' is FORCED_OPEN for {}, waiting for an operator; retry after 30.000 s"
FORCED_LATER = FORCED_TEXT.format("20.500 s (last failure: DependencyDown)")
Rejecting = Callable[[Panel, trio.Nursery], Awaitable[CircuitBreaker]]
OPEN: dict[Rejecting, tuple[State, float, RejectReason, str | None, float | None, str]] = {
    is_open: (State.OPEN, 39.5, RejectReason.OPEN, DOWN, 20.5, OPEN_TEXT),
    is_open_while_a_call_runs: (State.OPEN, 39.5, RejectReason.OPEN, DOWN, 20.5, OPEN_TEXT),
    is_probing: (
        State.HALF_OPEN, 1.0, RejectReason.PROBING, DOWN, 62.0, PROBING_TEXT.format("62.000", "1.000"),
    ),
    is_probing_nearly_too_long: (
        State.HALF_OPEN, 0.25, RejectReason.PROBING, DOWN, 119.75, PROBING_TEXT.format("119.750", "0.250"),
    ),
    is_ramping: (State.CLOSED, 99.75, RejectReason.RAMP, DOWN, None, RAMP_TEXT),
    is_forced: (State.FORCED_OPEN, 30.0, RejectReason.FORCED, None, 7.0, FORCED_TEXT.format("7.000 s")),
    is_forced_in_an_outage: (State.FORCED_OPEN, 30.0, RejectReason.FORCED, DOWN, 20.5, FORCED_LATER),
}  # fmt: skip
"""State, retry_after, reason, last_failure, open_for and text of the rejection by a breaker in that state."""
of_each_reason = pytest.mark.parametrize("rejecting", [*OPEN, is_full], ids=lambda one: one.__name__)


async def rejection(call: Style, breaker: CircuitBreaker) -> CallRejected:
    fn = ScriptedDependency()
    try:
        await call(breaker, fn)
    except CallRejected as error:
        assert fn.calls == 0
        return error
    raise AssertionError("it was admitted")


async def by_execute(breaker: CircuitBreaker, fn: Any) -> Any:
    return await breaker.execute(fn)


@in_every_style
@pytest.mark.parametrize("rejecting", OPEN, ids=lambda one: one.__name__)
async def test_an_open_breakers_rejection_has_all_facts(
    panel: Panel, busy: trio.Nursery, autojump_clock: MockClock, call: Style, rejecting: Rejecting
) -> None:
    breaker = await rejecting(panel, busy)
    if call.__name__ == "execute_or":
        with pytest.raises(AssertionError):
            await rejection(call, breaker)
        return
    error = await rejection(call, breaker)
    assert isinstance(error, CircuitOpenError)
    seen = error.state, error.retry_after, error.reason, error.last_failure, error.open_for, str(error)
    assert seen == OPEN[rejecting]
    assert error.name == "it"
    assert type(error.state) is State
    assert type(error.reason) is RejectReason
    assert (error.__cause__, error.__context__) == (None, None)


@in_every_style
async def test_a_full_bulkheads_rejection_has_all_facts(
    panel: Panel, busy: trio.Nursery, autojump_clock: MockClock, call: Style
) -> None:
    breaker = await is_full(panel, busy)
    if call.__name__ == "execute_or":
        assert (
            await call(breaker, ScriptedDependency()) == "circuit breaker 'it': 1 calls are running already"
        )
        return
    error = await rejection(call, breaker)
    assert isinstance(error, BulkheadFullError)
    assert (error.name, error.retry_after, error.reason) == ("it", 1.0, RejectReason.BULKHEAD)
    assert (error.waits_for, str(error)) == (
        "a free place",
        "circuit breaker 'it': 1 calls are running already",
    )


async def test_a_fallback_is_given_the_rejection(panel: Panel, autojump_clock: MockClock) -> None:
    breaker = await opened(panel)
    error = await breaker.execute_or(lambda error: error, trio.sleep, 0)
    assert (type(error), str(error).partition(" for ")[0]) == (
        CircuitOpenError,
        "circuit breaker 'it' is OPEN",
    )


@pytest.mark.parametrize("reason", RejectReason)
def test_each_reason_has_the_event_that_the_breaker_waits_for(reason: RejectReason) -> None:
    assert len(CircuitOpenError("it", State.OPEN, 1.0, reason).waits_for) > 5


# Copies.


def pickled(error: Any) -> Any:
    return pickle.loads(pickle.dumps(error))


def both(error: BaseException) -> tuple[object, ...]:
    names = ("name", "state", "retry_after", "reason", "waits_for", "last_failure", "open_for", "timeout")
    return (type(error), str(error), repr(error), *(getattr(error, name, None) for name in names))


@of_each_reason
@pytest.mark.parametrize("copied", [pickled, copy.copy, copy.deepcopy], ids=["pickle", "copy", "deepcopy"])
async def test_a_copy_of_a_rejection_is_equal(
    panel: Panel, busy: trio.Nursery, autojump_clock: MockClock, rejecting: Rejecting, copied: Any
) -> None:
    error = await rejection(by_execute, await rejecting(panel, busy))
    error.add_note("asked for a price")
    again = copied(copied(error))
    assert both(again) == both(error)
    assert again.__notes__ == ["asked for a price"]
    assert again.args == error.args


@of_each_reason
async def test_a_rejection_is_shown_as_the_call_that_makes_it(
    panel: Panel, busy: trio.Nursery, autojump_clock: MockClock, rejecting: Rejecting
) -> None:
    error = await rejection(by_execute, await rejecting(panel, busy))
    assert repr(error).startswith(f"{type(error).__name__}('it', ")
    again = type(error)(*error.args)
    assert both(again) == both(error)


async def test_a_copy_is_equal_after_its_breaker_has_changed(panel: Panel, autojump_clock: MockClock) -> None:
    """And so does the rejection itself."""
    breaker = await opened(panel)
    error = await rejection(by_execute, breaker)
    before = both(error)
    again = pickled(error)
    await trio.sleep(60)
    await breaker.execute(trio.sleep, 0)
    await breaker.force_open()
    assert both(error) == both(again) == before


# Made by hand, as in the tests of whoever catches it.


@pytest.mark.parametrize(
    ("error", "said", "shown"),
    [
        (
            CircuitOpenError("it"),
            "circuit breaker 'it' is OPEN, waiting for the end of its wait; retry after 1.000 s",
            "CircuitOpenError('it', <State.OPEN: 2>, None, <RejectReason.OPEN: 'open'>, None, None)",
        ),
        (
            CircuitOpenError("it", State.HALF_OPEN, 0.5, RejectReason.PROBING, "OSError", 3.0),
            PROBING_TEXT.replace(DOWN, "OSError").format("3.000", "0.500"),
            (
                "CircuitOpenError('it', <State.HALF_OPEN: 1>, 0.5, "
                "<RejectReason.PROBING: 'probing'>, 'OSError', 3.0)"
            ),
        ),
        (
            CircuitOpenError("it", State.FORCED_OPEN, None, RejectReason.FORCED),
            "circuit breaker 'it' is FORCED_OPEN, waiting for an operator; retry after 30.000 s",
            (
                "CircuitOpenError('it', <State.FORCED_OPEN: 3>, None, "
                "<RejectReason.FORCED: 'forced'>, None, None)"
            ),
        ),
        (
            BulkheadFullError("it"),
            "circuit breaker 'it': as many calls as are allowed are running already",
            "BulkheadFullError('it')",
        ),
        (
            BulkheadFullError("it", 5),
            "circuit breaker 'it': 5 calls are running already",
            "BulkheadFullError('it', 5)",
        ),
        (CallTimeout("it"), "circuit breaker 'it': the call took too long", "CallTimeout('it')"),
        (
            CallTimeout("it", 2.5),
            "circuit breaker 'it': the call took longer than 2.5 s",
            "CallTimeout('it', 2.5)",
        ),
    ],
    ids=lambda one: repr(one)[:20] if isinstance(one, Exception) else "",
)
def test_an_error_made_by_hand_can_be_read_shown_and_copied(
    error: CircuitBreakerError, said: str, shown: str
) -> None:
    assert (str(error), repr(error)) == (said, shown)
    for copied in (pickled, copy.copy, copy.deepcopy):
        assert both(copied(error)) == both(error)
    assert error.name == "it"  # type: ignore[attr-defined]


@pytest.mark.parametrize("state", State)
def test_a_number_is_as_good_as_a_state(state: State) -> None:
    error = CircuitOpenError("it", int(state), 1.0, "ramp")
    assert (error.state, type(error.state), error.reason) == (state, State, RejectReason.RAMP)


def test_a_call_timeout_has_no_number_of_a_system_error() -> None:
    error = CallTimeout("it", 2)
    assert isinstance(error, TimeoutError)
    assert (error.errno, error.strerror, error.timeout, error.args) == (None, None, 2.0, ("it", 2))


def test_rejections_have_one_base_and_nothing_else_has_it() -> None:
    kinds = {CircuitOpenError, BulkheadFullError, CallTimeout, PanelClosedError, PanelFailedError}
    assert {kind for kind in kinds if issubclass(kind, CallRejected)} == {CircuitOpenError, BulkheadFullError}
    assert all(issubclass(kind, CircuitBreakerError) for kind in kinds)


def test_the_base_class_has_no_facts() -> None:
    error = CallRejected("it")
    for name in ("name", "retry_after", "reason", "waits_for"):
        with pytest.raises(NotImplementedError):
            getattr(error, name)


class Priced(CircuitOpenError):
    """A subclass of a user's."""


def test_a_subclass_is_shown_and_copied_as_itself() -> None:
    error = Priced("it")
    error.price = 3  # type: ignore[attr-defined]
    again = pickled(error)
    assert (type(again), again.price, repr(again)[:12]) == (Priced, 3, "Priced('it',")


# What a kept rejection keeps.


class Big:
    """What a caller holds."""


async def test_a_kept_rejection_keeps_neither_its_caller_nor_its_breaker() -> None:
    """Errors are logged, queued and sent; their traceback is dropped first, as with any error."""
    kept: list[CircuitOpenError] = []

    async def outage() -> list[weakref.ref[Any]]:
        async with open_panel() as panel:
            breaker, mine = await opened(panel), Big()

            async def call(argument: Big) -> None:
                await trio.lowlevel.checkpoint()

            for protected in (breaker.protect(call), partial(breaker.execute, call)):
                try:
                    await protected(mine)
                except CircuitOpenError as error:
                    kept.append(error.with_traceback(None))
            return [weakref.ref(mine), weakref.ref(breaker), weakref.ref(panel)]

    gone = await outage()
    gc.collect()
    assert [one() for one in gone] == [None, None, None]
    assert [error.name for error in kept] == ["it", "it"]


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (State.OPEN, RejectReason.OPEN),
        (State.HALF_OPEN, RejectReason.PROBING),
        (State.CLOSED, RejectReason.RAMP),
        (State.FORCED_OPEN, RejectReason.FORCED),
    ],
)
def test_an_error_made_by_hand_without_a_reason_has_that_of_its_state(
    state: State, reason: RejectReason
) -> None:
    assert CircuitOpenError("it", state).reason is reason
