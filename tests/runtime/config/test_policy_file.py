"""Reading breakers.toml: policies, profiles, warnings and errors."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from actors import (
    Adaptive,
    AdaptiveLimit,
    AnyOf,
    ConsecutiveFailures,
    FailureCount,
    FailureRate,
    SlowCallRate,
)
from actors.policy.backoff import Backoff
from actors.policy.window import LastCalls, LastSeconds
from actors.sharing.link import SharingPolicy
from protocols.topology import BREAKERS
from runtime.config.policies import BadConfiguration
from runtime.config.policy_file import load_breakers, load_configuration

SHIPPED = Path(__file__).resolve().parents[3] / "breakers.toml"
DATABASE = "auth-database"


@pytest.fixture
def written(tmp_path: Path):
    """Writes a breakers.toml and returns its path."""

    def write(text: str) -> Path:
        path = tmp_path / "breakers.toml"
        path.write_text(text)
        return path

    return write


@pytest.mark.parametrize(
    ("name", "max_failures", "reset_timeout"),
    [
        ("auth-service-http", 5, 60),
        ("school-service-http", 5, 60),
        ("student-service-http", 5, 60),
        ("auth-database", 5, 60),
        ("school-database", 5, 60),
        ("student-database", 5, 60),
        ("student-service-grpc", 3, 30),
    ],
)
def test_the_shipped_file_holds_the_contracts_defaults(name, max_failures, reset_timeout) -> None:
    """Each breaker has the values that the contract gives it."""
    found = load_breakers(SHIPPED, None)[name]
    assert (found.name, found.max_failures, found.reset_timeout) == (name, max_failures, reset_timeout)


def test_the_shipped_file_has_every_breaker_and_no_warnings() -> None:
    found = load_configuration(SHIPPED, None)
    assert (found.warnings, list(found.breakers), found.sharing) == ((), list(BREAKERS), SharingPolicy())


@pytest.mark.parametrize(("profile", "policy"), [("dev", (3, 30)), ("prod", (10, 120))])
def test_a_profile_sets_all_breakers(written, profile, policy) -> None:
    """The file or the environment may name the profile."""
    for breakers in (
        load_breakers(written(f'profile = "{profile}"'), None),
        load_breakers(written('profile = "default"'), profile),
    ):
        assert {(b.max_failures, b.reset_timeout) for b in breakers.values()} == {policy}


def test_a_breakers_own_key_wins_over_the_profile(written) -> None:
    """The profile's other keys still apply."""
    found = load_breakers(written(f"[breakers.{DATABASE}]\nmax_failures = 7"), "prod")[DATABASE]
    assert (found.max_failures, found.reset_timeout) == (7, 120)


@pytest.mark.parametrize(
    ("line", "field", "value"),
    [
        ("backoff = {factor = 2.0, maximum = 300}", "backoff", Backoff(factor=2.0, maximum=300)),
        ("trip = {kind = 'ConsecutiveFailures', n = 4}", "trip", ConsecutiveFailures(4)),
        (
            "trip = {kind = 'FailureCount', n = 4, window = {last_seconds = 9}}",
            "trip",
            FailureCount(4, LastSeconds(9)),
        ),
        (
            "trip = {kind = 'FailureRate', rate = 0.5, window = {last_calls = 20}, minimum_calls = 10}",
            "trip",
            FailureRate(0.5, LastCalls(20), 10),
        ),
        (
            "trip = {kind='SlowCallRate', rate=0.5, threshold=2, window={last_calls=20}, minimum_calls=10}",
            "trip",
            SlowCallRate(0.5, 2, LastCalls(20), 10),
        ),
        (
            "trip = {kind='AnyOf', strategies=[{kind='Adaptive'}, {kind='ConsecutiveFailures', n=2}]}",
            "trip",
            AnyOf(Adaptive(), ConsecutiveFailures(2)),
        ),
        ("trip = {kind = 'Adaptive'}", "trip", Adaptive()),
        ("trip = {kind = 'adaptive', blip = 2.0}", "trip", Adaptive(blip=2.0)),
        (
            "trip = {kind='AnyOf', strategies=[{kind='ConsecutiveFailures', n=2}]}",
            "trip",
            AnyOf(ConsecutiveFailures(2)),
        ),
        ("call_timeout = 1.5", "call_timeout", 1.5),
        ("max_concurrent = 8", "max_concurrent", 8),
        (
            "max_concurrent = {kind='AdaptiveLimit', minimum=2, maximum=50, tolerance=3}",
            "max_concurrent",
            AdaptiveLimit(minimum=2, maximum=50, tolerance=3.0),
        ),
    ],
)
def test_every_key_of_a_policy_can_be_set(written, line, field, value) -> None:
    """Strategies, windows and backoff are small tables."""
    found = load_breakers(written(f"[breakers.{DATABASE}]\n{line}"), None)[DATABASE]
    assert getattr(found, field) == value


@pytest.mark.parametrize(
    ("text", "key", "reason"),
    [
        ("colour = 1", "colour", "unknown key"),
        ('profile = "test"', "profile", "default, dev, prod"),
        ("profile = 3", "profile", "default, dev, prod"),
        ("[breakers.nobody]", "breakers.nobody", "unknown breaker"),
        ("breakers = 1", "breakers", "must be a table"),
        ("[breakers]\nauth-database = 3", "breakers.auth-database", "must be a table"),
        ("[breakers.auth-database]\nmax_failure = 3", "breakers.auth-database.max_failure", "unknown key"),
        ("[breakers.auth-database]\nname = 'x'", "breakers.auth-database.name", "unknown key"),
        ("[breakers.auth-database]\nfailure = 'x'", "breakers.auth-database.failure", "set by code"),
        ("[breakers.auth-database]\nmax_failures = 0", "breakers.auth-database.max_failures", "got 0"),
        ("[breakers.auth-database]\nmax_failures = '5'", "breakers.auth-database.max_failures", "got '5'"),
        ("[breakers.auth-database]\nreset_timeout = -1", "breakers.auth-database.reset_timeout", "got -1"),
        ("[breakers.auth-database]\nreset_timeout = nan", "breakers.auth-database.reset_timeout", "got nan"),
        (
            "[breakers.auth-database]\nreset_timeout = true",
            "breakers.auth-database.reset_timeout",
            "got True",
        ),
        ("[breakers.auth-database]\ntype = 'disk'", "breakers.auth-database.type", "user-facing"),
        ("[breakers.auth-database]\nbackoff = 2", "breakers.auth-database.backoff", "must be a table"),
        (
            "[breakers.auth-database]\nbackoff = {factr = 2}",
            "breakers.auth-database.backoff.factr",
            "unknown key",
        ),
        (
            "[breakers.auth-database]\nbackoff = {factor = 0.5}",
            "breakers.auth-database.backoff.factor",
            "got 0.5",
        ),
        (
            "[breakers.auth-database]\ntrip = {kind = 'Adaptive', n = 3}",
            "breakers.auth-database.trip.n",
            "unknown",
        ),
        (
            "[breakers.auth-database]\ntrip = {kind = 'Adaptive', probing = 2}",
            "breakers.auth-database.trip.probing",
            "at most 1",
        ),
        ("[breakers.auth-database]\ntrip = {n = 3}", "breakers.auth-database.trip.kind", "FailureRate"),
        (
            "[breakers.auth-database]\ntrip = {kind = 'FailureCount', n = 3}",
            "breakers.auth-database.trip.window",
            "missing",
        ),
        (
            "[breakers.auth-database]\ntrip = {kind = 'FailureCount', n = 3, window = {last_days = 1}}",
            "breakers.auth-database.trip.window.last_days",
            "unknown key",
        ),
        (
            "[breakers.auth-database]\ntrip = {kind = 'FailureCount', n = 3, window = {}}",
            "breakers.auth-database.trip.window",
            "last_calls, last_seconds",
        ),
        (
            "[breakers.auth-database]\ntrip = {kind = 'FailureCount', n = 3, window = {last_seconds = 0}}",
            "breakers.auth-database.trip.window.last_seconds",
            "got 0",
        ),
        (
            "[breakers.auth-database]\ntrip = {kind = 'AnyOf'}",
            "breakers.auth-database.trip.strategies",
            "is missing",
        ),
        ("[sharing]\nquorum = 0", "sharing.quorum", "got 0"),
        ("[sharing]\nlease = 'long'", "sharing.lease", "got 'long'"),
        ("[sharing]\nnodes = 2", "sharing.nodes", "unknown key"),
        ("[sharing\nquorum = 0", "", "not TOML"),
        (f"[sharing]\nlease = 1{'0' * 400}", "sharing.lease", "got 1000"),
        (f"[sharing]\nquorum = 1{'0' * 5000}", "", "not TOML"),
        (f"profile = {'[' * 5000}{']' * 5000}", "", "too deep"),
        (f"[breakers.auth-database]\nramp = 1{'0' * 400}", "breakers.auth-database.ramp", "got 1000"),
    ],
)
def test_an_invalid_value_is_refused_with_file_key_and_reason(written, text, key, reason) -> None:
    path = written(text)
    with pytest.raises(BadConfiguration) as caught:
        load_breakers(path, None)
    [problem] = caught.value.problems
    assert (caught.value.path, problem.key) == (path, key)
    assert str(caught.value).startswith(f"{path}: {key}")
    assert reason in problem.reason


def test_an_unknown_profile_in_the_environment_is_reported_with_its_variable(written) -> None:
    with pytest.raises(BadConfiguration, match="CIRCUIT_BREAKER_PROFILE: must be one of default, dev, prod"):
        load_breakers(written(""), "test")


def test_a_missing_file_is_refused_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(BadConfiguration, match=r"nothing\.toml: can't be read: No such file"):
        load_breakers(tmp_path / "nothing.toml", None)


def test_a_file_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "breakers.toml"
    path.write_bytes(b'profile = "\xff"')
    with pytest.raises(BadConfiguration, match="not TOML"):
        load_breakers(path, None)


def test_a_policy_outside_its_type_works_and_is_warned_about(written) -> None:
    """The warning names breaker, key, value, type and range."""
    path = written(f"[breakers.{DATABASE}]\ntype = 'database'\nmax_failures = 2\nreset_timeout = 90")
    with capture_logs() as logs:
        found = load_breakers(path, None)[DATABASE]
    assert (found.max_failures, found.reset_timeout) == (2, 90)
    assert [(entry["log_level"], entry["event"]) for entry in logs] == [
        ("warning", f"breaker {DATABASE}: max_failures 2 is outside the range for its type database (5 to 7)")
    ]


TRIP = "trip = {kind = 'ConsecutiveFailures', n = 9}"


@pytest.mark.parametrize("profile", ["default", "dev", "prod"])
def test_a_trip_strategy_replaces_the_profiles_max_failures(written, profile: str) -> None:
    """The replaced number isn't compared with the type's range."""
    text = f"profile = '{profile}'\n[breakers.{DATABASE}]\ntype = 'internal'\nreset_timeout = 60\n{TRIP}"
    configuration = load_configuration(written(text), None)
    assert configuration.warnings == ()
    assert configuration.breakers[DATABASE].trip == ConsecutiveFailures(9)


def test_max_failures_beside_a_trip_strategy_is_refused(written) -> None:
    with pytest.raises(BadConfiguration, match=rf"breakers\.{DATABASE}\.max_failures: .* beside trip, got 6"):
        load_configuration(written(f"[breakers.{DATABASE}]\nmax_failures = 6\n{TRIP}"), None)
