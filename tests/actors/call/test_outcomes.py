"""What an exception means: a failure, an answer or nothing, the same in every call style."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from actors import (
    BulkheadFullError,
    CallRejected,
    CallTimeout,
    CircuitBreaker,
    CircuitBreakerConfig,
    CircuitBreakerError,
    CircuitOpenError,
    FailureRate,
    LastCalls,
    Outcome,
    Panel,
    PanelClosedError,
    SlowCallRate,
    State,
)
from actors.call.classifier import Classifier
from actors.testing import ScriptedDependency, advance
from tests.actors.styles import Style, in_every_style

SUCCESS, FAILURE, IGNORED = Outcome.SUCCESS, Outcome.FAILURE, Outcome.IGNORED


class NotFound(Exception):
    """An answer."""


class Refused(NotFound):
    """Another one."""


def make(panel: Panel, **fields: Any) -> CircuitBreaker:
    return panel.breaker(CircuitBreakerConfig(name="it", **fields))


async def counted(breaker: CircuitBreaker) -> dict[str, int]:
    return {kind: count for kind, count in (await breaker.snapshot()).counts.items() if count}


def classify(error: BaseException, **fields: Any) -> Outcome:
    return Classifier(CircuitBreakerConfig(name="it", **fields)).exception(error)


POLICIES: dict[str, dict[str, Any]] = {
    "plain": {},
    "call_timeout": {"call_timeout": 5},
    "bulkhead": {"max_concurrent": 3},
    "rate": {"trip": FailureRate(1, LastCalls(99), 99)},
    "result": {"failure_result": lambda result: False},
}


# Answers.


@in_every_style
@pytest.mark.parametrize("fields", POLICIES.values(), ids=POLICIES)
@pytest.mark.parametrize(
    "answers",
    [NotFound, (KeyError, NotFound), lambda error: isinstance(error, NotFound)],
    ids=["type", "types", "predicate"],
)
async def test_an_answer_is_a_success_and_comes_out(
    panel: Panel, call: Style, fields: dict[str, Any], answers: Any
) -> None:
    breaker = make(panel, answers=answers, **fields)
    error = Refused("no")
    dependency = ScriptedDependency()
    dependency.then(error, KeyboardInterrupt())
    with pytest.raises(Refused) as raised:
        await call(breaker, dependency)
    assert raised.value is error
    assert (error.__cause__, error.__context__) == (None, None)
    snapshot = await breaker.snapshot()
    assert (await counted(breaker), snapshot.in_flight) == ({"success": 1}, 0)


@in_every_style
async def test_an_answer_ends_a_row_of_failures(panel: Panel, call: Style) -> None:
    breaker = make(panel, max_failures=2, answers=NotFound)
    dependency = ScriptedDependency()
    dependency.then(OSError(), NotFound(), OSError(), NotFound(), OSError())
    for _ in range(5):
        with suppress(OSError, NotFound):
            await call(breaker, dependency)
    assert breaker.state is State.CLOSED
    assert await counted(breaker) == {"success": 2, "failure": 3}


@in_every_style
@pytest.mark.parametrize("fields", POLICIES.values(), ids=POLICIES)
async def test_a_half_open_breaker_closes_by_an_answer(
    panel: Panel, mock_clock: MockClock, call: Style, fields: dict[str, Any]
) -> None:
    breaker = make(panel, answers=NotFound, **fields)
    await breaker.trip()
    await advance(mock_clock, 60)
    dependency = ScriptedDependency()
    dependency.breaks(NotFound())
    with pytest.raises(NotFound):
        await call(breaker, dependency)
    assert breaker.state is State.CLOSED


@in_every_style
async def test_what_is_ignored_leaves_a_breaker_half_open(
    panel: Panel, mock_clock: MockClock, call: Style
) -> None:
    """With only such calls it never closes: they say nothing of the dependency."""
    breaker = make(panel, ignore=NotFound)
    await breaker.trip()
    await advance(mock_clock, 60)
    dependency = ScriptedDependency()
    dependency.breaks(NotFound())
    for _ in range(3):
        with pytest.raises(NotFound):
            await call(breaker, dependency)
    assert breaker.state is State.HALF_OPEN
    assert (await breaker.snapshot()).in_flight == 0


@in_every_style
async def test_a_slow_answer_is_a_slow_call(panel: Panel, autojump_clock: MockClock, call: Style) -> None:
    """How long it took counts, whatever it says."""
    breaker = make(panel, trip=SlowCallRate(1, 2, LastCalls(1), 1), answers=NotFound)

    async def answers_slowly() -> None:
        await trio.sleep(3)
        raise NotFound

    with pytest.raises(NotFound):
        await call(breaker, answers_slowly)
    assert breaker.state is State.OPEN
    assert await counted(breaker) == {"success": 1}


async def test_a_fallback_is_not_for_answers(panel: Panel) -> None:
    breaker = make(panel, answers=NotFound, ignore=KeyError)
    dependency = ScriptedDependency()
    dependency.then(NotFound(), KeyError(), OSError())
    with pytest.raises(NotFound):
        await breaker.execute_with_fallback(lambda error: "instead", dependency)
    with pytest.raises(KeyError):
        await breaker.execute_with_fallback(lambda error: "instead", dependency)
    assert await breaker.execute_with_fallback(lambda error: "instead", dependency) == "instead"
    assert await counted(breaker) == {"success": 1, "ignored": 1, "failure": 1}


async def test_a_disabled_breaker_counts_no_answer(panel: Panel) -> None:
    breaker = make(panel, answers=NotFound)
    await breaker.disable()
    dependency = ScriptedDependency()
    dependency.breaks(NotFound())
    with pytest.raises(NotFound):
        await breaker.execute(dependency)
    assert await counted(breaker) == {}


@pytest.mark.parametrize("state", [State.CLOSED, State.HALF_OPEN])
async def test_a_guard_may_accept_what_it_raises(panel: Panel, mock_clock: MockClock, state: State) -> None:
    """Whatever the policy says of it."""
    breaker = make(panel, max_failures=1)
    if state is State.HALF_OPEN:
        await breaker.trip()
        await advance(mock_clock, 60)
    with pytest.raises(OSError, match="well enough"):
        async with breaker.guard() as call:
            call.accept()
            raise OSError("well enough")
    assert (breaker.state, call.outcome) == (State.CLOSED, SUCCESS)
    assert await counted(breaker) == {"success": 1}


@pytest.mark.parametrize(
    ("verdicts", "outcome"),
    [
        (["accept", "fail"], FAILURE),
        (["fail", "accept"], SUCCESS),
        (["ignore", "accept"], SUCCESS),
        (["accept", "ignore"], IGNORED),
    ],
)
async def test_the_last_verdict_of_a_guard_stands(
    panel: Panel, verdicts: list[str], outcome: Outcome
) -> None:
    breaker = make(panel)
    with suppress(OSError):
        async with breaker.guard() as call:
            for verdict in verdicts:
                getattr(call, verdict)()
            raise OSError
    assert await counted(breaker) == {outcome.value: 1}


async def test_a_guard_that_accepted_is_neutral_where_it_is_cancelled(panel: Panel) -> None:
    breaker = make(panel)
    with trio.move_on_after(0):
        async with breaker.guard() as call:
            call.accept()
            await trio.sleep_forever()
    assert await counted(breaker) == {"cancelled": 1}


# Which field wins.


@pytest.mark.parametrize(
    ("error", "fields", "outcome"),
    [
        (NotFound(), {"answers": NotFound}, SUCCESS),
        (Refused(), {"answers": NotFound}, SUCCESS),
        (NotFound(), {"answers": Refused}, FAILURE),
        (NotFound(), {"answers": NotFound, "failure": NotFound}, SUCCESS),
        (NotFound(), {"answers": NotFound, "ignore": NotFound}, IGNORED),
        (NotFound(), {"answers": NotFound, "failure": OSError}, SUCCESS),
        (NotFound(), {"failure": NotFound, "ignore": NotFound}, IGNORED),
        (NotFound(), {"failure": lambda error: True, "ignore": lambda error: True}, IGNORED),
        (KeyboardInterrupt(), {"answers": NotFound}, IGNORED),
        (NotFound(), {"answers": lambda error: 1 / 0}, FAILURE),
        (NotFound(), {"answers": lambda error: 1 / 0, "ignore": NotFound}, IGNORED),
        (NotFound(), {"answers": lambda error: 1 / 0, "failure": OSError}, FAILURE),
    ],
)
def test_ignore_wins_over_answers_and_answers_over_failure(
    error: BaseException, fields: dict[str, Any], outcome: Outcome
) -> None:
    assert classify(error, **fields) is outcome


# Groups.

GROUPS = [
    ([NotFound(), NotFound()], SUCCESS),
    ([NotFound(), KeyError()], SUCCESS),
    ([KeyError(), KeyError()], IGNORED),
    ([NotFound(), OSError()], FAILURE),
    ([KeyError(), OSError()], FAILURE),
    ([KeyError(), ExceptionGroup("", [NotFound()])], SUCCESS),
    ([NotFound(), ExceptionGroup("", [KeyError(), OSError()])], FAILURE),
]


@in_every_style
@pytest.mark.parametrize(("leaves", "outcome"), GROUPS)
async def test_a_group_is_a_failure_by_one_failure_and_else_an_answer_by_one_answer(
    panel: Panel, call: Style, leaves: list[Exception], outcome: Outcome
) -> None:
    breaker = make(panel, answers=NotFound, ignore=KeyError)
    dependency = ScriptedDependency()
    error = ExceptionGroup("both", leaves)
    dependency.then(error)
    with pytest.raises(ExceptionGroup) as raised:
        await call(breaker, dependency)
    assert raised.value is error
    assert await counted(breaker) == {outcome.value: 1}


@pytest.mark.parametrize(
    ("leaf", "outcome"), [(NotFound(), SUCCESS), (KeyError(), IGNORED), (OSError(), FAILURE)]
)
async def test_a_cancellation_in_a_group_changes_nothing(leaf: Exception, outcome: Outcome) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        try:
            await trio.lowlevel.checkpoint()
        except trio.Cancelled as cancelled:
            both = BaseExceptionGroup("", [cancelled, leaf])
            assert classify(both, answers=NotFound, ignore=KeyError) is outcome
            assert classify(BaseExceptionGroup("", [cancelled])) is Outcome.CANCELLED
            raise


# Time-outs.

TIMEOUTS = [trio.TooSlowError(), TimeoutError(), CallTimeout("other", 1)]


@pytest.mark.parametrize("error", TIMEOUTS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("kind", [TimeoutError, OSError, Exception, (KeyError, TimeoutError)], ids=repr)
def test_whoever_names_timeouterror_means_every_timeout(error: Exception, kind: Any) -> None:
    assert classify(error, failure=kind) is FAILURE
    assert classify(error, ignore=kind) is IGNORED
    assert classify(error, answers=kind) is SUCCESS


@pytest.mark.parametrize("kind", [KeyError, ConnectionError, (), CallTimeout])
def test_trios_timeout_is_none_of_another_kind(kind: Any) -> None:
    assert classify(trio.TooSlowError(), failure=kind) is IGNORED
    assert classify(trio.TooSlowError(), ignore=kind) is FAILURE
    assert classify(trio.TooSlowError(), answers=kind) is FAILURE


def test_trios_timeout_can_be_named_alone() -> None:
    assert classify(trio.TooSlowError(), failure=trio.TooSlowError) is FAILURE
    assert classify(TimeoutError(), failure=trio.TooSlowError) is IGNORED


def test_a_predicate_gets_trios_timeout_unchanged() -> None:
    assert classify(trio.TooSlowError(), failure=lambda error: isinstance(error, TimeoutError)) is IGNORED


@in_every_style
async def test_trios_timeout_counts_in_every_style(
    panel: Panel, autojump_clock: MockClock, call: Style
) -> None:
    breaker = make(panel, failure=TimeoutError, max_failures=2)

    async def too_slow() -> None:
        with trio.fail_after(1):
            await trio.sleep(2)

    for _ in range(2):
        with pytest.raises(trio.TooSlowError):
            await call(breaker, too_slow)
    assert breaker.state is State.OPEN


@in_every_style
@pytest.mark.parametrize("field", ["ignore", "answers"])
async def test_the_breakers_own_call_timeout_is_a_failure_whatever_is_said_of_timeouts(
    panel: Panel, autojump_clock: MockClock, call: Style, field: str
) -> None:
    breaker = make(panel, call_timeout=1, **{field: TimeoutError})

    async def too_slow() -> None:
        await trio.sleep(2)

    with pytest.raises(TimeoutError) as raised:
        await call(breaker, too_slow)
    assert isinstance(raised.value, CallTimeout)
    assert await counted(breaker) == {"failure": 1}


# Rejections by other breakers.

REJECTIONS = [CircuitOpenError("inner"), BulkheadFullError("inner"), PanelClosedError()]


@in_every_style
@pytest.mark.parametrize("error", REJECTIONS, ids=lambda error: type(error).__name__)
async def test_another_breakers_rejection_is_ignored(panel: Panel, call: Style, error: Exception) -> None:
    breaker = make(panel, max_failures=1)
    dependency = ScriptedDependency()
    dependency.breaks(error)
    for _ in range(3):
        with pytest.raises(type(error)):
            await call(breaker, dependency)
    assert (breaker.state, await counted(breaker)) == (State.CLOSED, {"ignored": 3})


@pytest.mark.parametrize(
    ("failure", "outcomes"),
    [
        (Exception, [IGNORED, IGNORED, IGNORED]),
        ((Exception, OSError), [IGNORED, IGNORED, IGNORED]),
        (CircuitBreakerError, [FAILURE, FAILURE, FAILURE]),
        (CallRejected, [FAILURE, FAILURE, IGNORED]),
        ((OSError, BulkheadFullError), [IGNORED, FAILURE, IGNORED]),
        (lambda error: True, [FAILURE, FAILURE, FAILURE]),
        (lambda error: False, [IGNORED, IGNORED, IGNORED]),
    ],
)
def test_a_rejection_counts_if_its_type_is_named_or_a_predicate_matches(
    failure: Any, outcomes: list[Outcome]
) -> None:
    assert [classify(error, failure=failure) for error in REJECTIONS] == outcomes


@pytest.mark.parametrize("error", REJECTIONS, ids=lambda error: type(error).__name__)
def test_a_rejection_may_be_an_answer(error: Exception) -> None:
    assert classify(error, answers=CircuitBreakerError) is SUCCESS


def test_a_call_timeout_of_another_breaker_is_a_failure() -> None:
    """The dependency was asked, and was too slow."""
    assert classify(CallTimeout("inner", 1)) is FAILURE
