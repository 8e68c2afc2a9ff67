"""A policy that is made anew finds the breaker of its name, and another policy is a conflict."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest

from actors import Backoff, CircuitBreakerConfig, ConsecutiveFailures, Panel
from tests.actors.panel.registered import POLICY
from tests.actors.policies import policy


async def test_the_first_policy_finds_a_breaker_that_was_configured_since(panel: Panel) -> None:
    breaker = panel.breaker(POLICY)
    await breaker.configure(replace(POLICY, max_failures=9))
    assert panel.breaker(POLICY) is breaker
    assert breaker.config.max_failures == 9, "finding it changes nothing"


async def test_the_policy_in_force_finds_the_breaker_too(panel: Panel) -> None:
    breaker = panel.breaker(POLICY)
    await breaker.configure(replace(POLICY, max_failures=9))
    assert panel.breaker(replace(POLICY, max_failures=9)) is breaker


async def test_a_policy_in_force_only_in_between_is_a_conflict(panel: Panel) -> None:
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
