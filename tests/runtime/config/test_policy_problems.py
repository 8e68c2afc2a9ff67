"""The errors of breakers.toml: all of them at once, each with its key; and the keys that it can have."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_type_hints

import pytest

import actors
from actors import (
    Adaptive,
    AdaptiveLimit,
    AnyOf,
    Backoff,
    CircuitBreakerConfig,
    ConsecutiveFailures,
    ShadowPolicy,
    TripStrategy,
)
from runtime.admin.history import policy_view
from runtime.config.policies import CODE_FIELDS, BadConfiguration
from runtime.config.policy_file import load_configuration
from runtime.config.policy_reader import changed_policy
from runtime.config.tables import KINDS, PolicyTable

DATABASE = "auth-database"
Write = Callable[[str], Path]


@pytest.fixture
def written(tmp_path: Path) -> Write:
    """Writes a breakers.toml and returns its path."""

    def write(text: str) -> Path:
        path = tmp_path / "breakers.toml"
        path.write_text(text)
        return path

    return write


def problems(path: Path) -> list[tuple[str, str]]:
    """The keys and reasons of a file that can't be used."""
    with pytest.raises(BadConfiguration) as caught:
        load_configuration(path, None)
    return [tuple(problem) for problem in caught.value.problems]


def test_all_unusable_keys_and_types_are_named_at_once(written: Write) -> None:
    """Each on a line of its own with the file."""
    path = written(
        f"profile = 3\n[breakers.{DATABASE}]\nmax_failures = '5'\nin_flight_slow = 1\n"
        "trip = {kind = 'AnyOf', strategies = [{kind = 'FailureCount', n = 0, window = {last_calls = 3}}]}\n"
    )
    assert problems(path) == [
        ("profile", "must be one of default, dev, prod, got 3"),
        (f"breakers.{DATABASE}.max_failures", "must be a whole number, got '5'"),
        (
            f"breakers.{DATABASE}.trip.strategies[0].n",
            "FailureCount.n must be a whole number of at least 1 and at most 1,000,000, got 0",
        ),
        (f"breakers.{DATABASE}.in_flight_slow", "must be true or false, got 1"),
    ]
    with pytest.raises(BadConfiguration) as caught:
        load_configuration(path, None)
    assert [line.startswith(f"{path}: ") for line in str(caught.value).splitlines()] == [True] * 4


def test_all_policies_that_cannot_work_are_named_at_once(written: Write) -> None:
    """Also a key inside a table that contradicts another key."""
    text = (
        f"[breakers.{DATABASE}]\nmax_failures = 0\nprobe_interval = 5\n"
        "[breakers.school-database]\nbackoff = {maximum = 20}\n"
    )
    assert problems(written(text)) == [
        (f"breakers.{DATABASE}.max_failures", "max_failures must be a whole number of at least 1, got 0"),
        (f"breakers.{DATABASE}.probe_interval", "needs probe to be set, got 5.0"),
        (
            "breakers.school-database.backoff.maximum",
            "backoff.maximum must be at least reset_timeout (60), got 20.0",
        ),
    ]


def test_an_unknown_key_is_answered_with_the_keys_of_its_table(written: Write) -> None:
    """A strategy's are those of its kind."""
    text = (
        f"[breakers.{DATABASE}]\ntrip = {{kind = 'FailureCount', n = 3, window = {{last_calls = 3}}, s = 1}}"
    )
    assert problems(written(text)) == [
        (f"breakers.{DATABASE}.trip.s", "unknown key; one of: n, window"),
    ]
    text = f"[breakers.{DATABASE}]\ntrip = {{kind = 'ConsecutiveFailures', n = 3, ConsecutiveFailures = 1}}"
    assert problems(written(text)) == [
        (f"breakers.{DATABASE}.trip.ConsecutiveFailures", "unknown key; one of: n"),
    ]


@pytest.mark.parametrize(
    ("window", "got"),
    [("{}", "neither"), ("{last_calls = 3, last_seconds = 3}", "last_calls and last_seconds")],
)
def test_a_window_is_of_calls_or_of_seconds(written: Write, window: str, got: str) -> None:
    text = f"[breakers.{DATABASE}]\ntrip = {{kind = 'FailureCount', n = 3, window = {window}}}"
    assert problems(written(text)) == [
        (f"breakers.{DATABASE}.trip.window", f"must have one of last_calls, last_seconds, got {got}"),
    ]


def test_strategies_too_deep_within_each_other_are_refused(written: Write) -> None:
    """Pydantic ends its recursion before Python does."""
    deep = "{kind = 'AnyOf', strategies = [" * 90 + "{kind = 'ConsecutiveFailures', n = 3}" + "]}" * 90
    assert load_configuration(written(f"[breakers.{DATABASE}]\ntrip = {deep}"), None)
    config = CircuitBreakerConfig(name="it")
    trip: dict[str, Any] = {"kind": "ConsecutiveFailures", "n": 3}
    for _ in range(1000):
        trip: dict[str, Any] = {"kind": "AnyOf", "strategies": [trip]}
    with pytest.raises(ValueError, match="too deep within each other"):
        changed_policy(config, {"trip": trip})


def test_the_file_has_every_key_of_a_policy_that_is_not_code() -> None:
    """With the policy's types; only a trip strategy and a shadow are tables of their own."""
    policy, table = get_type_hints(CircuitBreakerConfig), get_type_hints(PolicyTable)
    assert table.keys() == policy.keys() - CODE_FIELDS - {"name"}
    assert {key for key, kind in table.items() if kind != policy[key]} == {"trip", "shadow"}


def test_a_shadow_is_read_with_the_keys_of_its_policy(written: Write) -> None:
    """Keys that it leaves out have the breaker's own values, from the file, its profile or the defaults."""
    text = (
        f"profile = 'prod'\n[breakers.{DATABASE}]\nramp = 5.0\n"
        "shadow = {trip = {kind = 'Adaptive', failures = 4}, half_open_max_calls = 2}\n"
        "[breakers.school-database]\ntrip = {kind = 'Adaptive'}\n"
        "[breakers.school-database.shadow]\nmax_failures = 3\nbackoff = {factor = 2.0}\n"
    )
    breakers = load_configuration(written(text), None).breakers
    found = breakers[DATABASE].shadow_config
    assert found is not None
    assert (found.strategy, found.half_open_max_calls) == (Adaptive(failures=4), 2)
    assert (found.ramp, found.reset_timeout) == (5.0, 120.0)
    assert breakers["school-database"].shadow == ShadowPolicy(max_failures=3, backoff=Backoff(factor=2.0))
    assert breakers["auth-service-http"].shadow is None


SHADOW_KEYS = {field.name for field in dataclasses.fields(ShadowPolicy)}


@pytest.mark.parametrize(
    ("value", "key", "reason"),
    [
        ("3", "", "must be a table, got 3"),
        ("{}", "", "shadow must set a key of the policy, got none"),
        ("{max_failures = '3'}", ".max_failures", "must be a whole number, got '3'"),
        ("{max_failures = 0}", ".max_failures", "shadow.max_failures must be a whole number of at least 1"),
        ("{max_concurrent = 3}", ".max_concurrent", f"unknown key; one of: {', '.join(sorted(SHADOW_KEYS))}"),
        ("{failure = 3}", ".failure", "is set by code, not here"),
        ("{trip = {kind = 'Adaptiv'}}", ".trip.kind", "must be one of ConsecutiveFailures, "),
        ("{trip = {kind = 'Adaptive', blipp = 3}}", ".trip.blipp", "unknown key; one of: blip, failures,"),
        ("{trip = {kind = 'Adaptive', failures = 0}}", ".trip.failures", "Adaptive.failures must be "),
        (
            "{trip = {kind = 'Adaptive'}, max_failures = 3}",
            ".max_failures",
            "shadow.max_failures must not be",
        ),
        ("{backoff = {factor = 2.0, maximum = 5}}", ".backoff.maximum", "shadow.backoff.maximum must be at"),
    ],
)
def test_a_bad_shadow_is_named_by_its_key(written: Write, value: str, key: str, reason: str) -> None:
    [(found, why)] = problems(written(f"[breakers.{DATABASE}]\nshadow = {value}"))
    assert found == f"breakers.{DATABASE}.shadow{key}"
    assert why.startswith(reason)


def test_the_report_of_a_shadow_can_be_set_again_and_removed() -> None:
    """A policy is reported in the form of breakers.toml; by the admin API null ends a shadow."""
    shadow = ShadowPolicy(trip=AnyOf(Adaptive(), ConsecutiveFailures(9)), ramp=2, backoff=Backoff(factor=2))
    config = CircuitBreakerConfig(name=DATABASE, shadow=shadow)
    table = policy_view(config)["shadow"]
    assert table.keys() == {"trip", "ramp", "backoff"}
    bare = CircuitBreakerConfig(name=DATABASE)
    assert policy_view(bare)["shadow"] is None
    assert changed_policy(bare, {"shadow": json.loads(json.dumps(table))}) == config
    assert changed_policy(config, {"shadow": None}) == bare


@pytest.mark.parametrize(
    ("value", "key", "reason"),
    [
        ("'8'", "", "must be a whole number, got '8'"),
        ("true", "", "must be a whole number, got True"),
        ("0", "", "max_concurrent must be a whole number of at least 1, got 0"),
        ("{minimum=2}", ".kind", "must be one of AdaptiveLimit, got None"),
        ("{kind='FailureCount'}", ".kind", "must be one of AdaptiveLimit, got 'FailureCount'"),
        ("{kind='AdaptiveLimit', minimum='2'}", ".minimum", "must be a whole number, got '2'"),
        (
            "{kind='AdaptiveLimit', minimum=0}",
            ".minimum",
            "AdaptiveLimit.minimum must be a whole number of at",
        ),
        (
            "{kind='AdaptiveLimit', minimum=200}",
            "",
            "AdaptiveLimit.maximum must be a whole number of at least",
        ),
        ("{kind='AdaptiveLimit', least=2}", ".least", "unknown key; one of: initial, maximum, minimum,"),
    ],
)
def test_a_bad_limit_is_named_by_its_key(written: Write, value: str, key: str, reason: str) -> None:
    with pytest.raises(BadConfiguration) as caught:
        load_configuration(written(f"[breakers.{DATABASE}]\nmax_concurrent = {value}"), None)
    [problem] = caught.value.problems
    assert problem.key == f"breakers.{DATABASE}.max_concurrent{key}"
    assert problem.reason.startswith(reason)


def test_the_report_of_an_adaptive_limit_can_be_set_again() -> None:
    """A policy is reported in the form of breakers.toml."""
    config = CircuitBreakerConfig(name=DATABASE, max_concurrent=AdaptiveLimit(minimum=3, window=2.0))
    table = policy_view(config)["max_concurrent"]
    assert table["kind"] == "AdaptiveLimit"
    bare = CircuitBreakerConfig(name=DATABASE)
    assert changed_policy(bare, {"max_concurrent": table}).max_concurrent == config.max_concurrent


def test_every_strategy_can_be_configured() -> None:
    strategies = {kind.__name__ for kind in vars(actors).values() if is_strategy(kind)}
    assert strategies == set(KINDS)


def is_strategy(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, TripStrategy) and kind is not TripStrategy
