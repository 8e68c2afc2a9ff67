"""Policies are checked when they are made, and decide outcomes and waits."""

from __future__ import annotations

import random
import re

import pytest
import trio

from actors import (
    AnyOf,
    Backoff,
    CircuitBreakerConfig,
    ConsecutiveFailures,
    FailureCount,
    FailureRate,
    LastCalls,
    LastSeconds,
    Outcome,
    SlowCallRate,
)
from actors.call.classifier import Classifier


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ({"name": ""}, "name must be a string of 1 to 200 printable characters, got ''"),
        ({"max_failures": 0}, "max_failures must be a whole number of at least 1, got 0"),
        ({"max_failures": True}, "max_failures must be a whole number of at least 1, got True"),
        ({"max_failures": 2.0}, "max_failures must be a whole number of at least 1, got 2.0"),
        ({"reset_timeout": 0}, "reset_timeout must be a number above 0, got 0"),
        ({"reset_timeout": float("nan")}, "reset_timeout must be a number above 0, got nan"),
        ({"reset_timeout": "60"}, "reset_timeout must be a number above 0, got '60'"),
        ({"half_open_max_calls": 0}, "half_open_max_calls must be"),
        ({"successes_to_close": -1}, "successes_to_close must be"),
        ({"half_open_timeout": 0}, "half_open_timeout must be a number above 0, got 0"),
        ({"ramp": -1}, "ramp must be"),
        ({"call_timeout": float("inf")}, "call_timeout must be a number above 0, got inf"),
        ({"max_concurrent": 0}, "max_concurrent must be"),
        ({"max_concurrent": 1, "max_queue": -1}, "max_queue must be a whole number of at least 0, got -1"),
        ({"max_queue": 1}, "max_queue needs max_concurrent"),
        ({"max_concurrent": 1, "queue_timeout": 0}, "queue_timeout must be"),
        ({"trip": 5}, "trip must be a trip strategy or None, got 5"),
        ({"backoff": 2}, "backoff must be a Backoff, got 2"),
        ({"failure": 3}, "failure must be exception types or a predicate, got 3"),
        ({"ignore": (KeyError, 3)}, "ignore must be exception types or a predicate, got"),
        ({"failure": int}, "failure must be exception types or a predicate, got"),
        ({"failure_result": 1}, "failure_result must be callable or None, got 1"),
        ({"probe": "x"}, "probe must be callable or None, got 'x'"),
        ({"cancel_in_flight": 1}, "cancel_in_flight must be True or False, got 1"),
        ({"in_flight_slow": True}, "in_flight_slow needs a SlowCallRate"),
    ],
)
def test_a_bad_value_is_refused_by_name_value_and_range(policy: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        CircuitBreakerConfig(**{"name": "it", **policy})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Backoff(factor=0.5), "backoff.factor must be a number at least 1, got 0.5"),
        (lambda: Backoff(maximum=0), "backoff.maximum must be a number above 0, got 0"),
        (lambda: Backoff(jitter=1.5), "backoff.jitter must be a number at least 0 and at most 1, got 1.5"),
        (lambda: Backoff(seed=-1), "backoff.seed must be"),
        (lambda: ConsecutiveFailures(0), "ConsecutiveFailures.n must be"),
        (lambda: FailureCount(3, LastCalls(2)), "FailureCount.n must fit its window of 2 calls, got 3"),
        (
            lambda: FailureRate(0, LastCalls(2), 1),
            "FailureRate.rate must be a number above 0 and at most 1, got 0",
        ),
        (lambda: FailureRate(0.5, LastCalls(2), 3), "FailureRate.minimum_calls must fit its window"),
        (lambda: FailureRate(0.5, 10, 3), "FailureRate.window must be LastCalls or LastSeconds, got 10"),
        (lambda: FailureCount(1, 10), "FailureCount.window must be LastCalls or LastSeconds, got 10"),
        (
            lambda: SlowCallRate(0.5, 0, LastCalls(2), 1),
            "SlowCallRate.threshold must be a number above 0, got 0",
        ),
        (lambda: LastCalls(0), "LastCalls.n must be"),
        (lambda: LastSeconds(0), "LastSeconds.s must be"),
        (lambda: LastCalls(10**7), "LastCalls.n must be a whole number of at least 1 and at most 1,000,000"),
        (lambda: FailureCount(10**20, LastSeconds(9)), "FailureCount.n must be a whole number of"),
        (lambda: LastSeconds(1e-320), "LastSeconds.s must be a number at least 0.001"),
        (lambda: LastSeconds(10**400), "LastSeconds.s must be a number at least 0.001, got 1000"),
        (lambda: AnyOf(), "AnyOf must have at least one strategy"),
        (lambda: AnyOf(3), "AnyOf takes trip strategies, got 3"),
    ],
)
def test_a_bad_strategy_is_refused(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        make()  # type: ignore[operator]


def test_strategies_within_each_other_are_one_list() -> None:
    """At any depth: a list that is tried item by item has none."""
    nested = ConsecutiveFailures(3)
    for _ in range(5000):
        nested = AnyOf(nested)
    both = AnyOf(nested, AnyOf(ConsecutiveFailures(9)))
    assert both.strategies == (ConsecutiveFailures(3), ConsecutiveFailures(9))


def test_equal_policies_are_equal_and_frozen() -> None:
    one = CircuitBreakerConfig(name="it", trip=FailureRate(0.5, LastSeconds(10), 5))
    assert one == CircuitBreakerConfig(name="it", trip=FailureRate(0.5, LastSeconds(10), 5))
    with pytest.raises(AttributeError):
        one.name = "else"  # type: ignore[misc]


def test_an_unlimited_backoff_never_overflows() -> None:
    for factor in (2, 2.0):
        assert Backoff(factor=factor).wait(60, 5000, random.Random(1)) == 1e9
        assert Backoff(factor=factor, maximum=90).wait(60, 5000, random.Random(1)) == 90


def test_jitter_never_lengthens_a_wait_past_its_maximum() -> None:
    backoff, chance = Backoff(maximum=60, jitter=1), random.Random(1)
    assert all(backoff.wait(60, 0, chance) <= 60 for _ in range(20))


def classify(error: BaseException, **policy: object) -> Outcome:
    return Classifier(CircuitBreakerConfig(name="it", **policy)).exception(error)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "policy", "outcome"),
    [
        (KeyError(), {}, Outcome.FAILURE),
        (KeyboardInterrupt(), {}, Outcome.IGNORED),
        (KeyError(), {"failure": OSError}, Outcome.IGNORED),
        (ConnectionError(), {"failure": (OSError, EOFError)}, Outcome.FAILURE),
        (OSError(), {"failure": OSError, "ignore": OSError}, Outcome.IGNORED),
        (KeyError("a"), {"failure": lambda error: error.args == ("a",)}, Outcome.FAILURE),
        (KeyError("b"), {"failure": lambda error: error.args == ("a",)}, Outcome.IGNORED),
        (KeyError(), {"failure": lambda error: 1 / 0}, Outcome.FAILURE),
        (KeyError(), {"failure": OSError, "ignore": lambda error: 1 / 0}, Outcome.FAILURE),
        (ExceptionGroup("", [KeyError(), OSError()]), {"ignore": KeyError}, Outcome.FAILURE),
        (
            ExceptionGroup("", [KeyError(), ExceptionGroup("", [KeyError()])]),
            {"ignore": KeyError},
            Outcome.IGNORED,
        ),
    ],
)
def test_the_policy_decides_the_outcome_of_an_exception(
    error: BaseException, policy: dict[str, object], outcome: Outcome
) -> None:
    assert classify(error, **policy) is outcome


async def test_predicates_are_never_called_with_a_cancellation() -> None:
    asked: list[BaseException] = []
    with trio.CancelScope() as scope:
        scope.cancel()
        try:
            await trio.lowlevel.checkpoint()
        except trio.Cancelled as cancelled:
            group = BaseExceptionGroup("", [cancelled, KeyError()])
            assert classify(cancelled, failure=asked.append, ignore=asked.append) is Outcome.CANCELLED
            assert classify(group, ignore=lambda error: asked.append(error) or True) is Outcome.IGNORED  # type: ignore[func-returns-value]
            raise
    assert [type(error) for error in asked] == [KeyError]


@pytest.mark.parametrize(
    ("said", "kept"),
    [(7, 7.0), (None, None), (-1, None), (float("nan"), None), (float("inf"), None), ("x", None)],
)
def test_only_a_sensible_wait_of_a_server_is_taken(said: object, kept: float | None) -> None:
    config = CircuitBreakerConfig(name="it", retry_after=lambda outcome: said)  # type: ignore[arg-type, return-value]
    assert Classifier(config).retry_after(KeyError()) == kept


def test_a_result_predicate_that_raises_makes_a_failure() -> None:
    config = CircuitBreakerConfig(name="it", failure_result=lambda value: value["missing"])
    assert Classifier(config).result({}) is Outcome.FAILURE
