"""The written breakers.toml, and the input that the tuner refuses."""

from __future__ import annotations

import tomllib

import pytest
import tomlkit

from actors import Adaptive, CircuitBreakerConfig, FailureCount, FailureRate, LastCalls, LastSeconds
from benchmarks.tune.candidates import Candidate
from benchmarks.tune.policy_output import tuned
from runtime.config.policy_file import load_policies
from tests.benchmarks.tune.recorded import NAME, outages, record

pytestmark = pytest.mark.usefixtures("few_candidates")

PRESENT = f"""\
# Agreed with the operators.
profile = "dev"

[breakers.{NAME}]
type = "user-facing"   # of the auth service
max_failures = 4
probe = {{ kind = "http", path = "/livez" }}

[breakers.{NAME}.routes]
login = ["POST /auth/login"]

[breakers.auth-database]
trip = {{ kind = "FailureRate", rate = 0.5, window = {{ last_seconds = 30 }}, minimum_calls = 20 }}

[sharing]
quorum = 3
"""


def candidate(name, **values):
    return Candidate(CircuitBreakerConfig(name=name, **values), values)


def test_all_else_of_the_file_stays_its_comments_and_its_profile_too(tmp_path):
    text, configuration = tuned(
        PRESENT,
        {NAME: candidate(NAME, max_failures=7, reset_timeout=10.0)},
        tmp_path / "new.toml",
        None,
    )
    expected = PRESENT.replace("max_failures = 4\n", "")
    kept = [line for line in text.splitlines() if line not in ("max_failures = 7", "reset_timeout = 10.0")]
    assert [line for line in kept if line] == [line for line in expected.splitlines() if line]
    assert configuration.profile == "dev"
    config = configuration.breakers[NAME]
    assert (config.max_failures, config.reset_timeout) == (7, 10.0)
    assert configuration.breakers["auth-database"].reset_timeout == 30.0


@pytest.mark.parametrize(
    "trip",
    [
        Adaptive(),
        Adaptive(failures=3, tolerance=0.3),
        FailureRate(rate=0.5, window=LastSeconds(10.0), minimum_calls=10),
        FailureRate(rate=0.7, window=LastCalls(50), minimum_calls=10),
        FailureCount(7, LastSeconds(20.0)),
    ],
)
@pytest.mark.parametrize("present", [PRESENT, "", 'profile = "prod"\n', f"breakers.{NAME} = {{}}\n"])
def test_every_strategy_is_read_as_it_was_meant(tmp_path, trip, present):
    path = tmp_path / "new.toml"
    for name in (NAME, "student-service-grpc"):
        text, _ = tuned(present, {name: candidate(name, trip=trip, reset_timeout=3.0)}, path, None)
        path.write_text(text)
        config = load_policies(path, None).breakers[name]
        assert (config.trip, config.reset_timeout) == (trip, 3.0)


def test_max_failures_takes_the_place_of_a_trip_strategy(tmp_path):
    change = {"auth-database": candidate("auth-database", max_failures=10, reset_timeout=30.0)}
    text, configuration = tuned(PRESENT, change, tmp_path / "new.toml", None)
    assert "trip" not in tomllib.loads(text)["breakers"]["auth-database"]
    assert configuration.breakers["auth-database"].strategy.n == 10


def worth_a_change(tuner):
    tuner.configure(max_failures=5, reset_timeout=300)
    policy = {"max_failures": 5, "reset_timeout": 300.0}
    record(tuner.log, outages(300, 1200, 2100), seconds=2700, policy=policy)


def test_a_file_is_never_overwritten_unasked(tuner):
    worth_a_change(tuner)
    tuner.output.write_text("mine")
    tuner.run()
    assert (tuner.status, tuner.output.read_text()) == (2, "mine")
    assert tuner.error.startswith("breakers.tuned.toml: exists; --overwrite replaces it")
    output = tuner.run("--overwrite")
    assert tuner.status == 0
    assert "Written: breakers.tuned.toml" in output
    assert tomlkit.parse(tuner.output.read_text())["breakers"]


def test_the_file_in_force_is_never_overwritten(tuner):
    worth_a_change(tuner)
    present = tuner.output = tuner.breakers
    text = present.read_text()
    tuner.run("--overwrite")
    assert (tuner.status, present.read_text()) == (2, text)
    assert "is the file in force" in tuner.error


def test_an_unusual_value_is_said(tuner):
    worth_a_change(tuner)
    tuner.breakers.write_text(tuner.breakers.read_text() + 'type = "database"\n')
    assert "Recommended, likely better: max_failures 5, reset_timeout 10 s" in (output := tuner.run())
    assert "reset_timeout 10 is outside the range for its type database (60 to 90)" in output


def test_too_little_is_refused_with_what_is_missing(tuner):
    record(tuner.log, outages(300), rate=1, seconds=400, policy={"max_failures": 5, "reset_timeout": 60.0})
    output = tuner.run()
    assert tuner.status == 1
    assert "needs 500 calls with an outcome, has 3" in output
    assert "needs 20 failures, has 1" in output
    assert "needs 3 incidents, has 1: 2 more, some 0.2 h of recording" in output
    assert not tuner.output.exists()


def test_a_healthy_log_is_refused(tuner):
    record(tuner.log, outages(), seconds=1000)
    assert "needs 3 incidents, has 0: 3 more\n" in tuner.run()
    assert tuner.status == 1


def test_a_log_of_rejections_is_refused(tuner):
    policy = {"max_failures": 5, "reset_timeout": 60.0}
    record(tuner.log, outages(0, seconds=3000), seconds=3600, policy=policy)
    output = tuner.run()
    assert "of its calls were rejected, so most outcomes are unknown: needs 1" in output
    assert tuner.status == 1


def test_a_policy_that_counts_slow_calls_is_refused(tuner):
    window = "window = { last_calls = 10 }, minimum_calls = 5"
    tuner.configure(trip=f'{{ kind = "SlowCallRate", threshold = 1.0, rate = 0.5, {window} }}')
    record(tuner.log, outages(300, 1200, 2100), seconds=2700)
    assert "its policy counts slow calls, which are not tuned here" in tuner.run()


def test_one_breaker_may_be_refused_and_another_recommended(tuner):
    worth_a_change(tuner)
    record(tuner.log, outages(), seconds=100, name="school-service-http")
    output = tuner.run()
    assert tuner.status == 0
    assert "school-service-http" in output
    assert "Nothing is recommended from so little" in output
    assert "Recommended" in output


def test_what_the_log_lacks_is_said(tuner):
    worth_a_change(tuner)
    with tuner.log.open("a") as log:
        log.write('{"dropped": 12}\n{"time": 1')
    output = tuner.run()
    assert "calls.jsonl: the last line is incomplete, and left out." in output
    assert "calls.jsonl: the gateway has dropped 12 calls" in output


@pytest.mark.parametrize("text", ["", '{"dropped": 5}\n'])
def test_a_log_without_calls_is_an_error(tuner, text):
    tuner.log.write_text(text)
    tuner.run()
    assert tuner.status == 2
    assert "calls.jsonl: has no call" in tuner.error


def test_a_bad_log_and_a_bad_breakers_toml_are_errors(tuner):
    tuner.log.write_text("x\n\n")
    tuner.run()
    assert (tuner.status, tuner.error.partition(": not JSON")[0]) == (2, "calls.jsonl:1")
    tuner.configure(max_failures=0)
    tuner.run()
    assert (tuner.status, "max_failures" in tuner.error) == (2, True)
