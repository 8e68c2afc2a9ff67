"""The tuner on simulated logs of which the best answer is known."""

from __future__ import annotations

import re
import tomllib

import pytest

from actors import Adaptive
from benchmarks.tune.selection import _interval
from runtime.config.policy_file import load_policies
from tests.benchmarks.tune.recorded import NAME, outages, record

OUTAGES = outages(300, 900, 1500)
FIVE_OUTAGES = outages(300, 1200, 2100, 3000, 3900)


def with_short_rows(t: float) -> float:
    """Outages, and every 40 seconds a row of some six failures."""
    return 1.0 if t % 40 < 0.6 else OUTAGES(t)


def tuned(tuner):
    return tomllib.loads(tuner.output.read_text())["breakers"][NAME]


def test_a_threshold_that_is_too_low_is_raised(tuner):
    tuner.configure(max_failures=3, reset_timeout=60)
    record(tuner.log, with_short_rows, rate=10, seconds=1800)
    output = tuner.run()
    assert tuner.status == 0
    assert "Recommended, surely better on this log" in output
    strategy = load_policies(tuner.output, None).breakers[NAME].strategy
    if isinstance(strategy, Adaptive):
        assert strategy.failures > 6
    else:
        assert strategy.n >= 10
    [opened, before] = re.findall(r"would have opened (\d+) times instead of (\d+) times", output)[0]
    assert int(opened) < int(before) / 4


def test_a_wait_that_is_too_long_is_shortened(tuner):
    policy = {"max_failures": 5, "reset_timeout": 300.0}
    tuner.configure(**policy)
    record(tuner.log, FIVE_OUTAGES, rate=2, seconds=4800, policy=policy)
    output = tuner.run()
    assert "Recommended, likely better" in output
    assert "5 incidents, in 5 blocks of time" in output
    config = load_policies(tuner.output, None).breakers[NAME]
    assert isinstance(config.strategy, Adaptive) or config.reset_timeout <= 30
    # The longest wait is right if each dependency came back just at its end: the output has this case.
    assert re.search(r"as late as possible: \d+ → \d+", output)


def test_a_recommended_policy_is_kept_and_no_file_is_written(tuner):
    record(tuner.log, OUTAGES, rate=3, seconds=2100)
    assert "Recommended" in tuner.run()
    tuner.breakers.write_text(tuner.output.read_text())
    tuner.output.unlink()
    assert "Nothing to change" in tuner.run()
    assert tuner.status == 0
    assert not tuner.output.exists()


@pytest.mark.usefixtures("few_candidates")
def test_the_same_log_gives_the_same_words_and_the_same_file(tuner):
    policy = {"max_failures": 5, "reset_timeout": 120.0, "backoff": "{ factor = 2.0, jitter = 0.5 }"}
    tuner.configure(**policy)
    record(tuner.log, OUTAGES, seconds=2100, policy={"max_failures": 5, "reset_timeout": 120.0})
    first = tuner.run(), tuner.output.read_bytes()
    assert first == (tuner.run("--overwrite"), tuner.output.read_bytes())


@pytest.mark.usefixtures("few_candidates")
def test_routes_are_replayed_one_by_one_and_share_a_policy(tuner):
    policy = {"max_failures": 5, "reset_timeout": 300.0}
    tuner.configure(**policy)
    for route in ("login", "other"):
        record(tuner.log, FIVE_OUTAGES, seconds=4800, policy=policy, name=f"{NAME}:{route}")
    output = tuner.run()
    assert "2 breakers of its routes" in output
    assert re.search(r"now .* 10 ", output), output  # five outages of each
    assert "max_failures" in tuned(tuner) or "trip" in tuned(tuner)


@pytest.mark.usefixtures("few_candidates")
def test_more_calls_than_the_bound_are_left_out_the_oldest_first(tuner, monkeypatch):
    monkeypatch.setattr("benchmarks.tune.__main__.MOST_CALLS", 4000)
    record(tuner.log, OUTAGES, seconds=2100)
    output = tuner.run()
    assert "4,000 calls in" in output
    assert re.search(r"6,\d\d\d calls older than these, left out", output)


def test_the_interval_is_that_of_the_resampled_sums():
    assert _interval([10, 10, 10]) == (30, 30)
    low, high = _interval([0, 100, 0, 100])
    assert low < 200 < high


@pytest.mark.usefixtures("few_candidates")
def test_the_profile_in_force_is_what_is_compared_with(tuner):
    """`prod` has ten failures and 120 s; the breaker has no table of its own."""
    tuner.breakers.write_text('profile = "prod"\n')
    record(tuner.log, OUTAGES, seconds=1800)
    assert re.search(r"now +max_failures 10, reset_timeout 120 s", tuner.run())
    assert re.search(r"now +max_failures 3, reset_timeout 30 s", tuner.run("--profile", "dev", "--overwrite"))
