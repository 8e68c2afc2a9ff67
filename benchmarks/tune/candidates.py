"""The policies that are tried: few, round and bounded, so that a short log doesn't choose among thousands."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from itertools import product
from typing import Any, NamedTuple

from actors import (
    Adaptive,
    Backoff,
    CircuitBreakerConfig,
    ConsecutiveFailures,
    FailureCount,
    FailureRate,
    LastCalls,
)
from benchmarks.adaptive.policies import fixed

FAILURES = (3, 5, 10, 20, 50)
WAITS = (1.0, 3.0, 10.0, 30.0, 60.0, 120.0, 300.0)
ADAPTIVE: dict[str, tuple[Any, ...]] = {
    "failures": (6, 3, 12),
    "blip": (0.4, 0.2, 1.0),
    "tolerance": (0.5, 0.3, 0.7),
    "longest_wait": (60.0, 15.0),
}
"""By parameter, the values that are tried; the default first."""


class Candidate(NamedTuple):
    """A policy to replay. values: what of breakers.toml it sets; empty for what is configured now."""

    config: CircuitBreakerConfig
    values: dict[str, Any]

    @property
    def name(self) -> str:
        """The values, for people."""
        return described(self.config)


def described(config: CircuitBreakerConfig) -> str:
    """The threshold and the wait of a policy."""
    strategy = config.strategy
    if isinstance(strategy, Adaptive):
        changed = [f"{key} = {value:g}" for key, value in changed_parameters(strategy).items()]
        return f"Adaptive({', '.join(changed)})"
    wait = f"reset_timeout {config.reset_timeout:g} s"
    if isinstance(strategy, ConsecutiveFailures):
        return f"max_failures {strategy.n}, {wait}"
    if isinstance(strategy, FailureRate):
        window = strategy.window
        of = f"{window.n} calls" if isinstance(window, LastCalls) else f"{window.s:g} s"
        return f"{100 * strategy.rate:.0f} % of {of} (at least {strategy.minimum_calls} calls), {wait}"
    return f"{strategy}, {wait}"


def changed_parameters(strategy: Adaptive) -> dict[str, Any]:
    """The parameters that aren't the defaults."""
    return {
        one.name: value
        for one in dataclasses.fields(strategy)
        if (value := getattr(strategy, one.name)) != one.default
    }


def replayable(config: CircuitBreakerConfig) -> CircuitBreakerConfig:
    """The policy without what a replay has no part in, and with the same jitter each time."""
    backoff = config.backoff if config.backoff.seed is not None else _seeded(config.backoff)
    return dataclasses.replace(
        config, backoff=backoff, max_concurrent=None, max_queue=0, queue_timeout=None, call_timeout=None
    )


def _seeded(backoff: Backoff) -> Backoff:
    return dataclasses.replace(backoff, seed=1)


def fixed_candidates(now: CircuitBreakerConfig, rate: float) -> list[Candidate]:
    """Constants for a fixed policy. rate: calls a second. now: what is configured; if fixed, the first."""
    tried: dict[str, Candidate] = {}
    if not isinstance(now.strategy, Adaptive):
        tried[described(now)] = Candidate(now, {})
    for values in [*fixed(rate).values(), *_around(now)]:
        _add(tried, now, values)
    return list(tried.values())


def _around(now: CircuitBreakerConfig) -> Iterator[dict[str, Any]]:
    """The present threshold with each wait, and each threshold with the present wait."""
    strategy = now.strategy
    for wait in WAITS:
        if isinstance(strategy, ConsecutiveFailures | FailureRate | FailureCount):
            yield {"trip": strategy, "reset_timeout": wait}
    for n, wait in product(FAILURES, (now.reset_timeout, 60.0)):
        yield {"trip": ConsecutiveFailures(n), "reset_timeout": wait}


def adaptive_candidates(now: CircuitBreakerConfig) -> list[Candidate]:
    """Parameters for Adaptive. now: what is configured; if adaptive, the first, else the defaults are."""
    tried: dict[str, Candidate] = {}
    if isinstance(now.strategy, Adaptive):
        tried[described(now)] = Candidate(now, {})
    for values in product(*ADAPTIVE.values()):
        _add(tried, now, {"trip": Adaptive(**dict(zip(ADAPTIVE, values, strict=True)))})
    return list(tried.values())


def _add(tried: dict[str, Candidate], now: CircuitBreakerConfig, values: dict[str, Any]) -> None:
    strategy = values["trip"]
    if isinstance(strategy, ConsecutiveFailures):
        values = {"max_failures": strategy.n, "reset_timeout": values["reset_timeout"]}
    try:
        config = dataclasses.replace(now, **{"trip": None, "max_failures": 5, **values})
    except ValueError:  # it contradicts another value of the present policy
        return
    tried.setdefault(described(config), Candidate(config, values))
