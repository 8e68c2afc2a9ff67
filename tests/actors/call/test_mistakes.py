"""Mistakes of callers and of policies: found at once and named, and never counted against the dependency."""

from __future__ import annotations

import functools
import pickle
import re
import types
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
import trio
from trio.testing import MockClock

from actors import (
    AnyOf,
    Backoff,
    BulkheadFullError,
    CircuitBreaker,
    CircuitBreakerConfig,
    CircuitOpenError,
    ConsecutiveFailures,
    FailureRate,
    LastCalls,
    Panel,
    SlowCallRate,
    State,
    breaker_named,
    open_panel,
)
from actors.testing import DependencyDown, advance

if TYPE_CHECKING:
    from decimal import Decimal


def policy(**fields: Any) -> CircuitBreakerConfig:
    return CircuitBreakerConfig(**{"name": "it"} | fields)


@pytest.fixture
async def breaker(panel: Panel) -> CircuitBreaker:
    return panel.breaker(policy(max_failures=3))


NOTHING = {"success": 0, "failure": 0, "ignored": 0, "cancelled": 0, "rejected": 0}


async def counted(breaker: CircuitBreaker) -> dict[str, int]:
    """What was counted, without zeros; no call may be left over."""
    snapshot = await breaker.snapshot()
    assert snapshot.in_flight == 0
    return {outcome: count for outcome, count in snapshot.counts.items() if count}


# A guard serves one block.


async def test_a_guard_that_is_entered_again_after_its_block_raises(breaker: CircuitBreaker) -> None:
    call = breaker.guard()
    async with call:
        pass
    for _ in range(2):
        with pytest.raises(RuntimeError, match=r"a guard serves one block, once: get another one"):
            async with call:
                pytest.fail("the block runs")
        with pytest.raises(RuntimeError, match="a guard serves one block"):
            await call.enter()
    assert await counted(breaker) == {"success": 1}


async def test_a_guard_that_is_entered_again_inside_of_its_block_raises(breaker: CircuitBreaker) -> None:
    call = breaker.guard()
    async with call:
        with pytest.raises(RuntimeError, match="a guard serves one block"):
            async with call:
                pytest.fail("the block runs")
        assert (await breaker.snapshot()).in_flight == 1
    assert await counted(breaker) == {"success": 1}


async def test_a_guard_that_two_tasks_enter_serves_the_first(breaker: CircuitBreaker) -> None:
    call = breaker.guard()
    came_out: list[str] = []

    async def enters() -> None:
        try:
            async with call:
                await trio.lowlevel.checkpoint()
            came_out.append("fine")
        except RuntimeError as error:
            came_out.append(str(error)[:7])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(enters)
        nursery.start_soon(enters)
    assert sorted(came_out) == ["a guard", "fine"]
    assert await counted(breaker) == {"success": 1}


@pytest.mark.parametrize("early", ["succeed", "answered"])
async def test_a_guard_that_was_settled_early_is_not_entered_again(
    breaker: CircuitBreaker, early: str
) -> None:
    call = breaker.guard()
    async with call:
        getattr(call, early)()
        with pytest.raises(RuntimeError, match="a guard serves one block"):
            await call.__aenter__()
    assert await counted(breaker) == {"success": 1}


async def test_a_guard_that_was_rejected_is_not_entered_again(breaker: CircuitBreaker) -> None:
    await breaker.trip()
    call = breaker.guard()
    with pytest.raises(CircuitOpenError):
        await call.enter()
    await breaker.reset()
    with pytest.raises(RuntimeError, match="a guard serves one block"):
        await call.__aenter__()
    assert await counted(breaker) == {"rejected": 1}


async def test_a_guard_entered_again_keeps_its_place_and_takes_none(panel: Panel) -> None:
    breaker = panel.breaker(policy(max_concurrent=1))
    call = breaker.guard()
    async with call:
        with pytest.raises(RuntimeError, match="a guard serves one block"):
            await call.enter()
        assert isinstance(await in_system_task(breaker), BulkheadFullError)
    assert await in_system_task(breaker) is None


async def in_system_task(breaker: CircuitBreaker) -> BaseException | None:
    """What comes of a call that is inside of no other."""
    came_out: list[BaseException | None] = []
    done = trio.Event()

    async def calls() -> None:
        try:
            await breaker.execute(fine)
            came_out.append(None)
        except BulkheadFullError as error:
            came_out.append(error)
        done.set()

    trio.lowlevel.spawn_system_task(calls)
    await done.wait()
    return came_out[0]


# What can be protected.


async def fine(*_args: object) -> str:
    return "fine"


class Shapes:
    """Everything that can be awaited when it is called."""

    async def method(self, value: int) -> object:
        return "method", value

    @classmethod
    async def of_class(cls, value: int) -> object:
        return cls.__name__, value

    @staticmethod
    async def static(value: int) -> object:
        return "static", value

    async def __call__(self, value: int) -> object:
        return "called", value


class Decorator(Shapes):
    """As a class makes a method of it: by this alone `inspect` takes it for a routine."""

    def __get__(self, instance: object, owner: type) -> object:
        return functools.partial(self.method, 1)


async def two(first: object, second: object) -> object:
    return first, second


def annotated(value: int) -> Awaitable[object]:
    return two("annotated", value)


def annotated_coroutine(value: int) -> Coroutine[Any, Any, object]:
    return two("coroutine", value)


def annotated_for_types(value: Decimal) -> Awaitable[object]:
    """One annotation is there for type checkers only, but it isn't the one that matters."""
    return two("types", value)


def annotated_by_text(value: int) -> typing.Awaitable[object]:  # type: ignore[name-defined]  # noqa: F821
    return two("by text", value)


@types.coroutine
def by_generator(value: int) -> Generator[Any, Any, object]:
    yield from two("generator", value).__await__()
    return "generator", value


def hidden(fn: Callable[..., Awaitable[object]]) -> Callable[..., Awaitable[object]]:
    """A decorator whose own function says nothing."""

    @functools.wraps(fn)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return fn(*args, **kwargs)

    return wrapper


ACCEPTED: list[tuple[Callable[..., Awaitable[object]], str]] = [
    (Shapes().method, "method"),
    (Shapes.of_class, "Shapes"),
    (Shapes.static, "static"),
    (Shapes(), "called"),
    (functools.partial(two, "partial"), "partial"),
    (functools.partial(functools.partial(two), "partial"), "partial"),
    (functools.partial(Shapes().method), "method"),
    (annotated, "annotated"),
    (annotated_coroutine, "coroutine"),
    (annotated_for_types, "types"),
    (annotated_by_text, "by text"),
    (by_generator, "generator"),
    (hidden(functools.partial(two, "hidden")), "hidden"),
    (mock.AsyncMock(return_value=("mock", 7)), "mock"),
    (mock.AsyncMock(spec=Shapes().method, return_value=("spec", 7)), "spec"),
    (mock.create_autospec(Shapes.static, return_value=("autospec", 7)), "autospec"),
]


@pytest.mark.parametrize(("function", "name"), ACCEPTED, ids=[name for _, name in ACCEPTED])
async def test_whatever_promises_an_awaitable_can_be_protected(
    breaker: CircuitBreaker, function: Callable[..., Awaitable[object]], name: str
) -> None:
    assert await breaker.protect(function)(7) == (name, 7)
    assert await breaker.execute(function, 7) == (name, 7)
    assert await counted(breaker) == {"success": 2}


async def test_methods_are_protected_where_they_are_defined(breaker: CircuitBreaker) -> None:
    class Service:
        @breaker.protect
        async def method(self, value: int) -> int:
            return value

        @classmethod
        @breaker.protect
        async def of_class(cls, value: int) -> object:
            return cls.__name__, value

        @staticmethod
        @breaker.protect
        async def static(value: int) -> int:
            return value

    service = Service()
    assert (await service.method(1), await Service.of_class(2), await service.static(3)) == (
        1,
        ("Service", 2),
        3,
    )


def sync(value: int = 0) -> int:
    return value


async def rows() -> AsyncIterator[int]:
    yield 1


@asynccontextmanager
async def managed() -> AsyncIterator[int]:
    yield 1


class Sync:
    def __call__(self) -> int:
        return 1

    @classmethod
    async def of_class(cls) -> int:
        return 1


NEEDS = "protect needs an async function, or one annotated as returning an awaitable, got <"
REFUSED: list[tuple[Any, str]] = [
    (sync, NEEDS),
    (lambda: None, NEEDS),
    (
        functools.partial(sync, 1),
        "protect needs an async function, or one annotated as returning an awaitable",
    ),
    (Sync(), NEEDS),
    (Sync().__call__, NEEDS),
    (mock.MagicMock(), NEEDS),
    (mock.Mock(), NEEDS),
    (mock.create_autospec(sync), NEEDS),
    (print, NEEDS),
    (rows, "protect can't guard an async generator, for which there is guard(), got <function rows"),
    (managed, "protect can't guard an async generator, for which there is guard(), got <function managed"),
    (vars(Sync)["of_class"], "protect goes under @classmethod, closest to the function, got <classmethod"),
    (staticmethod(fine), "protect goes under @staticmethod, closest to the function, got <staticmethod"),
]


@pytest.mark.parametrize(("function", "message"), REFUSED)
async def test_what_promises_no_awaitable_cannot_be_protected(
    breaker: CircuitBreaker, function: Any, message: str
) -> None:
    for protect in (breaker.protect, breaker_named("it").protect):
        with pytest.raises(TypeError, match=re.escape(message)):
            protect(function)


# Calls that never reached the dependency.


async def fetch(item: str, *, page: int = 1) -> str:
    return f"{item} {page}"


async def raises_type_error() -> None:
    raise TypeError("a bug behind the call")


async def fails_deeper() -> None:
    await fetch()  # type: ignore[call-arg]


MISTAKES: list[tuple[Any, tuple[Any, ...], dict[str, Any]]] = [
    (fetch, (), {}),
    (fetch, ("a", "b"), {}),
    (fetch, ("a",), {"pages": 2}),
    (functools.partial(fetch, "a", *"b"), (), {}),
    (sync, (1,), {}),
    (sync, (1, 2, 3), {}),
    (rows, (), {}),
    (managed, (), {}),
    (None, (), {}),
    ("fetch", (), {}),
]


async def _guarded(breaker: CircuitBreaker, *args: Any, **kwargs: Any) -> object:
    return await breaker.execute(*args, **kwargs)


async def _or(breaker: CircuitBreaker, *args: Any, **kwargs: Any) -> object:
    return await breaker.execute_or(lambda error: pytest.fail(f"fallback after {error!r}"), *args, **kwargs)


async def _with_fallback(breaker: CircuitBreaker, *args: Any, **kwargs: Any) -> object:
    def fallback(error: Exception) -> object:
        return pytest.fail(f"fallback after {error!r}")

    return await breaker.execute_with_fallback(fallback, *args, **kwargs)


WAYS = [_guarded, _or, _with_fallback]
POLICIES: list[dict[str, Any]] = [
    {},
    {"trip": FailureRate(0.5, LastCalls(4), 2)},
    {"trip": SlowCallRate(0.5, 1.0, LastCalls(4), 2)},
    {"max_concurrent": 1},
    {"call_timeout": 1.0},
    {"failure_result": lambda _result: True},
]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("fields", POLICIES, ids=lambda fields: next(iter(fields), "plain"))
@pytest.mark.parametrize(("function", "args", "kwargs"), MISTAKES)
async def test_a_call_that_is_made_wrongly_raises_type_error_and_counts_nothing(
    panel: Panel,
    way: Callable[..., Awaitable[object]],
    fields: dict[str, Any],
    function: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> None:
    breaker = panel.breaker(policy(**fields))
    for _ in range(6):
        with pytest.raises(TypeError):
            await way(breaker, function, *args, **kwargs)
    assert (breaker.state, await counted(breaker)) == (State.CLOSED, {})
    assert (await breaker.snapshot()).failure_count == 0


@pytest.mark.parametrize("way", WAYS)
async def test_a_coroutine_in_place_of_a_function_counts_nothing(
    breaker: CircuitBreaker, way: Callable[..., Awaitable[object]]
) -> None:
    coroutine = fetch("a")
    with pytest.raises(TypeError, match="'coroutine' object is not callable"):
        await way(breaker, coroutine)
    coroutine.close()
    assert await counted(breaker) == {}


async def test_wrong_arguments_of_a_protected_function_count_nothing(breaker: CircuitBreaker) -> None:
    protected = breaker.protect(fetch)
    with pytest.raises(TypeError, match="argument"):
        await protected()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="argument"):
        await breaker.execute(protected)  # type: ignore[call-arg]
    assert await counted(breaker) == {}


@pytest.mark.parametrize("function", [raises_type_error, fails_deeper, mock.AsyncMock(side_effect=TypeError)])
@pytest.mark.parametrize("fields", POLICIES, ids=lambda fields: next(iter(fields), "plain"))
async def test_a_type_error_that_the_function_raises_is_a_failure(
    panel: Panel, fields: dict[str, Any], function: Callable[[], Awaitable[Any]]
) -> None:
    breaker = panel.breaker(policy(**fields))
    with pytest.raises(TypeError):
        await breaker.execute(function)
    with pytest.raises(TypeError):
        await breaker.execute_or(lambda _error: None, function)
    assert (await breaker.snapshot()).counts["failure"] == 2


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("fields", POLICIES, ids=lambda fields: next(iter(fields), "plain"))
async def test_a_probe_that_is_made_wrongly_gives_its_place_back(
    panel: Panel, mock_clock: MockClock, way: Callable[..., Awaitable[object]], fields: dict[str, Any]
) -> None:
    breaker = panel.breaker(policy(**fields))
    await breaker.trip()
    await advance(mock_clock, 60)
    for _ in range(3):
        with pytest.raises(TypeError):
            await way(breaker, fetch)
        assert (breaker.state, await counted(breaker)) == (State.HALF_OPEN, {})
    async with breaker.guard():
        pass
    assert breaker.state is State.CLOSED


@pytest.mark.parametrize("held", [CircuitBreaker.observe, CircuitBreaker.disable])
async def test_a_wrong_call_counts_nothing_while_an_operator_holds_the_breaker(
    breaker: CircuitBreaker, held: Callable[[CircuitBreaker], Awaitable[None]]
) -> None:
    await held(breaker)
    for _ in range(3):
        with pytest.raises(TypeError):
            await breaker.execute(fetch)  # type: ignore[call-arg]
    assert await counted(breaker) == {}


async def test_a_wrong_call_is_no_event(breaker: CircuitBreaker) -> None:
    async with breaker.events() as events:
        with pytest.raises(TypeError):
            await breaker.execute(fetch)  # type: ignore[call-arg]
        await breaker.execute(fetch, "a")
        assert (await anext(events)).outcome.value == "success"  # type: ignore[union-attr]


async def test_a_wrong_call_inside_of_another_is_that_ones_failure(breaker: CircuitBreaker) -> None:
    """The function of the outer call has the bug: it calls and fails."""

    async def calls() -> None:
        await breaker.execute(fetch)  # type: ignore[call-arg]

    with pytest.raises(TypeError):
        await breaker.execute(calls)
    assert await counted(breaker) == {"failure": 1}


# Predicates and probes.


async def async_predicate(_value: object) -> bool:
    return False


class AsyncPredicate:
    async def __call__(self, value: object) -> bool:
        return False


PREDICATES = ("failure", "ignore", "answers", "failure_result", "retry_after")


@pytest.mark.parametrize("field", PREDICATES)
@pytest.mark.parametrize(
    "predicate",
    [async_predicate, AsyncPredicate(), functools.partial(async_predicate), mock.AsyncMock(), annotated],
)
def test_an_async_predicate_is_refused(field: str, predicate: Any) -> None:
    with pytest.raises(TypeError, match=f"^{field} must be a function that isn't async, got "):
        policy(**{field: predicate})


@pytest.mark.parametrize("field", PREDICATES)
@pytest.mark.parametrize(
    "predicate",
    [lambda _value: None, sync, bool, Sync(), functools.partial(sync), mock.MagicMock(), callable],
)
def test_a_predicate_that_is_not_async_is_taken(field: str, predicate: Any) -> None:
    if field in ("failure", "ignore", "answers") and isinstance(predicate, type):
        with pytest.raises(ValueError, match=f"{field} must be exception types or a predicate"):
            policy(**{field: predicate})
    else:
        assert getattr(policy(**{field: predicate}), field) is predicate


@pytest.mark.parametrize("probe", [sync, lambda: None, Sync(), functools.partial(sync), mock.Mock(), rows])
def test_a_probe_that_is_not_async_is_refused(probe: Any) -> None:
    with pytest.raises(TypeError, match="^probe must be an async function, got "):
        policy(probe=probe)


@pytest.mark.parametrize(
    "probe",
    [fine, Shapes().__call__, Shapes(), functools.partial(fine), mock.AsyncMock(), annotated, by_generator],
)
def test_a_probe_that_is_async_is_taken(probe: Any) -> None:
    assert policy(probe=probe).probe is probe


@pytest.mark.parametrize("field", ["exemplar", "transition_context"])
def test_a_panels_callbacks_must_not_be_async(field: str) -> None:
    with pytest.raises(TypeError, match=f"^{field} must be a function that isn't async, got "):
        open_panel(**{field: fine})  # type: ignore[arg-type]


async def test_predicates_that_raise_fail_the_call_and_nothing_else(
    panel: Panel, mock_clock: MockClock
) -> None:
    def broken(_error: object) -> bool:
        raise KeyError("bug in the predicate")

    breaker = panel.breaker(policy(failure=broken, max_failures=2, reset_timeout=10))

    async def down() -> None:
        raise DependencyDown("down")

    for _ in range(2):
        with pytest.raises(DependencyDown):
            await breaker.execute(down)
    await advance(mock_clock, 10)
    with pytest.raises(DependencyDown):
        await breaker.execute(down)
    assert (breaker.state, await counted(breaker)) == (State.OPEN, {"failure": 3})
    await advance(mock_clock, 10)
    assert await breaker.execute(fine) == "fine"
    assert breaker.state is State.CLOSED


# Settings that contradict each other.

RATE = FailureRate(0.5, LastCalls(10), 5)
SLOW = SlowCallRate(0.5, 3.0, LastCalls(10), 5)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"max_failures": 3, "trip": RATE}, "max_failures must not be set beside trip, got 3"),
        (
            {"max_failures": 3, "trip": ConsecutiveFailures(3)},
            "max_failures must not be set beside trip, got 3",
        ),
        ({"backoff": Backoff(maximum=59)}, "backoff.maximum must be at least reset_timeout (60), got 59"),
        (
            {"reset_timeout": 2, "backoff": Backoff(factor=2, maximum=1.5)},
            "backoff.maximum must be at least reset_timeout (2), got 1.5",
        ),
        (
            {"call_timeout": 30, "half_open_timeout": 20},
            "half_open_timeout must be at least call_timeout (30), got 20",
        ),
        (
            {"call_timeout": 90, "half_open_timeout": 61},
            "half_open_timeout must be at least call_timeout (90), got 61",
        ),
        (
            {"call_timeout": 2, "trip": SLOW},
            "SlowCallRate.threshold must be at most call_timeout (2), got 3.0",
        ),
        (
            {"call_timeout": 2, "trip": AnyOf(RATE, SLOW)},
            "SlowCallRate.threshold must be at most call_timeout (2), got 3.0",
        ),
    ],
)
def test_settings_that_contradict_each_other_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        policy(**fields)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"max_failures": 3},
        {"trip": RATE},
        {"max_failures": 5, "trip": RATE},
        {"backoff": Backoff(maximum=60)},
        {"backoff": Backoff(factor=2.0, jitter=0.5)},
        {"reset_timeout": 1, "backoff": Backoff(factor=2, maximum=30)},
        {"call_timeout": 30, "half_open_timeout": 30},
        {"call_timeout": 120},
        {"call_timeout": 120, "half_open_timeout": 60.0},
        {"call_timeout": 30, "half_open_timeout": None},
        {"half_open_timeout": 1},
        {"call_timeout": 3, "trip": SLOW},
        {"trip": SLOW, "in_flight_slow": True},
        {"failure": (OSError, ValueError), "ignore": KeyError, "answers": (LookupError,)},
        {"failure": Exception, "ignore": ()},
        {"probe": fine, "probe_interval": 5},
        {"max_concurrent": 10, "max_queue": 5, "queue_timeout": 1},
    ],
)
def test_settings_that_fit_together_are_taken(fields: dict[str, Any]) -> None:
    config = policy(**fields)
    assert {field: getattr(config, field) for field in fields} == fields
    assert replace(config) == config
    assert pickle.loads(pickle.dumps(replace(config, probe=None, probe_interval=None))) == replace(
        config, probe=None, probe_interval=None
    )


def test_replace_hands_on_max_failures_and_trip() -> None:
    counted_in_a_row = policy(max_failures=3)
    by_rate = replace(counted_in_a_row, trip=RATE)
    assert (by_rate.strategy, by_rate.max_failures) == (RATE, 3)
    assert replace(by_rate, name="other").strategy == RATE
    assert replace(by_rate, trip=None).strategy == ConsecutiveFailures(3)
    assert replace(by_rate, trip=None, max_failures=4).strategy == ConsecutiveFailures(4)
    assert replace(pickle.loads(pickle.dumps(counted_in_a_row)), trip=RATE).strategy == RATE
    with pytest.raises(ValueError, match="max_failures must not be set beside trip, got 4"):
        replace(by_rate, max_failures=4)


def test_max_failures_reads_as_the_number_that_was_given() -> None:
    config = policy(max_failures=3)
    assert (repr(config.max_failures), f"{config.max_failures}") == ("3", "3")
    assert "max_failures=3," in repr(config)
    assert hash(config) == hash(policy(max_failures=3))


async def test_a_nested_function_called_wrongly_counts_nothing_and_has_no_fallback() -> None:
    async def needs_an_argument(argument: int) -> int:
        return argument

    wrong: Any = needs_an_argument
    async with open_panel() as panel:
        breaker = panel.breaker(CircuitBreakerConfig(name="it"))
        with pytest.raises(TypeError, match="argument"):
            async with breaker.guard() as outer:
                try:
                    await breaker.execute_with_fallback(lambda _: 1, wrong)
                finally:
                    outer.ignore()
        snapshot = await breaker.snapshot()
    assert (snapshot.counts["ignored"], snapshot.counts["failure"], snapshot.in_flight) == (1, 0, 0)
