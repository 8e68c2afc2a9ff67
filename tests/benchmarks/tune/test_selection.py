"""How a policy is chosen, and when a choice is trusted."""

from __future__ import annotations

import pytest

from actors import CircuitBreakerConfig
from benchmarks.tune.candidates import Candidate
from benchmarks.tune.replay import Costs
from benchmarks.tune.selection import Assumed, Choice, Sureness, _choice, _sureness

CONFIG = CircuitBreakerConfig(name="it")


def tried(*costs):
    """Candidates with these costs by block."""
    none = (0,) * len(costs[0])
    return [(Candidate(CONFIG, {"max_failures": n}), Costs(one, none, 1)) for n, one in enumerate(costs)]


def test_a_block_is_judged_by_what_is_best_on_the_others():
    """The second policy is best in total by one lucky block; judged without it, the first one is chosen."""
    choice = _choice(tried((10, 10, 10), (0, 14, 14)))
    assert choice.candidate.values == {"max_failures": 1}
    assert choice.held_out == (10, 14, 14)
    assert choice.agreeing == 2


def test_of_equals_the_first_is_chosen():
    assert _choice(tried((5, 5), (5, 5))).candidate.values == {"max_failures": 0}


def sureness(saved, interval, *assumed, values=(("max_failures", 7),), avoidable=100):
    choice = Choice(Candidate(CONFIG, dict(values)), Costs((0,), (0,), 0), (), 1)
    return _sureness(choice, saved, interval, [Assumed("", *one) for one in assumed], avoidable)


BETTER, WORSE = (100, 10), (10, 100)


@pytest.mark.parametrize(
    ("expected", "saved", "interval", "assumed"),
    [
        (Sureness.SURE, (30, 30, 30), (80, 100), [BETTER] * 5),
        (Sureness.LIKELY, (30, 30, 30), (80, 100), [BETTER] * 3 + [WORSE, BETTER]),
        (Sureness.LIKELY, (60, 60, -1), (80, 100), [BETTER] * 5),
        (Sureness.LIKELY, (30, 30, 30), (-1, 100), [BETTER] * 5),
        (Sureness.UNSURE, (30, 30, 30), (80, 100), [BETTER, WORSE, *[BETTER] * 3]),
        (Sureness.UNSURE, (90, -1, -1), (80, 100), [BETTER] * 5),
        (Sureness.SAME, (1, 1, 1), (1, 5), [BETTER] * 5),
        (Sureness.SAME, (-9, 1, 1), (-9, 5), [BETTER] * 5),
    ],
)
def test_a_change_is_trusted_if_blocks_and_assumptions_agree(expected, saved, interval, assumed):
    assert sureness(saved, interval, *assumed) is expected


def test_the_present_policy_is_no_change():
    assert sureness((30, 30), (1, 2), BETTER, values=()) is Sureness.SAME
