"""The cost of a policy on a log with known outcomes."""

from __future__ import annotations

from actors import CircuitBreakerConfig
from benchmarks.adaptive.policies import OnMachine
from benchmarks.tune.recording import Ended
from benchmarks.tune.replay import Costs, replay


def cost(pattern, cuts=(), **policy):
    config = CircuitBreakerConfig(name="it", **policy)
    calls = [Ended(float(n), n + 0.1, one == "-") for n, one in enumerate(pattern)]
    return replay(calls, cuts, lambda: OnMachine(config))


def test_failures_before_it_opens_are_sent_and_good_calls_in_the_wait_are_lost():
    #         closed opens, waits 5 s; the next call is a probe
    found = cost("++---" + "-++++" + "++", max_failures=3, reset_timeout=5.0)
    assert found == Costs(lost=(4,), sent=(3,), opened=1)


def test_a_failed_probe_is_sent_and_is_no_further_outage():
    found = cost("---" + "-----" + "-" + "+++++" + "+", max_failures=3, reset_timeout=5.0)
    assert found == Costs(lost=(5,), sent=(4,), opened=1)


def test_costs_belong_to_the_block_of_the_call_and_the_policy_goes_on():
    found = cost("++---" + "-++++" + "++", cuts=[4.0, 7.5], max_failures=3, reset_timeout=5.0)
    assert found == Costs(lost=(0, 2, 2), sent=(2, 1, 0), opened=1)


def test_costs_of_several_breakers_add_up():
    assert Costs((1, 2), (3, 4), 5) + Costs((10, 20), (30, 40), 50) == Costs((11, 22), (33, 44), 55)
