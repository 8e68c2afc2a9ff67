"""The part of a long log that the first round tries policies on, and the policies that remain."""

from __future__ import annotations

from actors import CircuitBreakerConfig
from benchmarks.tune import selection
from benchmarks.tune.candidates import Candidate
from benchmarks.tune.incidents import Incident
from benchmarks.tune.recording import Ended
from benchmarks.tune.screening import promising, sample
from tests.benchmarks.tune.recorded import outages, record

CALLS = [Ended(float(n), n + 0.1, False) for n in range(100_000)]


def test_a_sample_has_each_incident_and_the_time_between_in_order():
    found = [Incident(30_007.0, 30_100.0), Incident(70_007.0, 70_100.0)]
    kept = sample(CALLS, found, 10_000)
    assert 9_000 <= len(kept) <= 10_000
    assert kept == sorted(set(kept))
    for one in found:
        assert {call.start for call in kept} >= {one.start + n for n in range(-1000, 1000)}
    assert [any(n * 5000 <= call.start < (n + 1) * 5000 for call in kept) for n in range(20)] == [True] * 20


def test_overlapping_parts_are_kept_once():
    kept = sample(CALLS[:3000], [Incident(0.0, 10.0), Incident(20.0, 30.0), Incident(2990.0, 2999.0)], 2000)
    assert kept == sorted(set(kept))


def test_the_first_policy_and_the_cheapest_are_promising():
    tried = [Candidate(CircuitBreakerConfig(name="it"), {"max_failures": n}) for n in range(20)]
    kept = promising(tried, lambda one: 100 - one.values["max_failures"])
    assert [one.values["max_failures"] for one in kept] == [0, *range(12, 20)]


def test_a_long_log_is_answered_as_a_short_one(tuner, monkeypatch):
    """The same log, tried on a fifth of it and on all of it."""
    tuner.configure(max_failures=5, reset_timeout=300)
    policy = {"max_failures": 5, "reset_timeout": 300.0}
    record(tuner.log, outages(300, 1200, 2100), rate=3, seconds=2700, policy=policy)
    short = tuner.run()
    screened = []

    def spy(tried, cost):
        screened.append(promising(tried, cost))
        return screened[-1]

    monkeypatch.setattr(selection, "SAMPLED", 1500)
    monkeypatch.setattr(selection, "promising", spy)
    long = tuner.run("--overwrite")
    assert [len(one) for one in screened] == [9, 9]
    assert recommended(long) == recommended(short) != []


def recommended(output):
    return [line for line in output.splitlines() if "Recommended" in line]
