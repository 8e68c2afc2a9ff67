"""The goals of the adaptive strategy, in the simulation of `just bench adaptive`, on a seed of its own."""

from __future__ import annotations

import pytest

from benchmarks.adaptive import policies, proofs
from benchmarks.adaptive.simulator import Cost, simulate
from benchmarks.adaptive.traces import TRACES, draw

SEED = 4242


def costs(make: object, rate: float) -> dict[str, Cost]:
    return {trace.name: simulate(draw(trace, rate, SEED), make) for trace in TRACES}  # type: ignore[arg-type]


@pytest.mark.parametrize("rate", [5.0, 50.0])
def test_it_beats_semian_and_five_failures(rate: float) -> None:
    rivals = policies.rivals()
    ours = costs(policies.adaptive(), rate)
    total = sum(one.score for one in ours.values())
    for name in ("semian PID", "5 failures, 60 s", "go-zero", "go-zero, #5551", "Google SRE, K = 2"):
        theirs = sum(one.score for one in costs(rivals[name], rate).values())
        assert total <= 0.75 * theirs, name
    for trace in TRACES:
        if trace.healthy:
            assert ours[trace.name].good_lost <= 0.005 * ours[trace.name].good


def test_the_simulation_has_no_dice_of_its_own() -> None:
    offered = draw(TRACES[0], 5.0, SEED)
    assert simulate(offered, policies.adaptive()) == simulate(offered, policies.adaptive())


def test_no_policy_sends_everything_and_loses_nothing() -> None:
    outage = simulate(draw(TRACES[0], 5.0, SEED), policies.rivals()["none"])
    assert outage.good_lost == 0
    # A fifth of the trace fails, and the incident is never detected.
    assert outage.score == pytest.approx(20 + 2, abs=1.5)


def test_a_blip_at_a_high_rate_costs_less_than_it_failed() -> None:
    assert proofs.blip(policies.adaptive(), SEED) <= 0.14


@pytest.mark.parametrize("healthy", [0, 5, 100])
def test_a_rare_call_opens_within_seven_failures(healthy: int) -> None:
    assert proofs.rare(policies.adaptive(), healthy) <= 7


def test_after_an_outage_of_a_minute_all_are_admitted_within_a_second() -> None:
    def fails(now: float, number: int) -> bool:
        return 5 <= now < 65 or number % 100 == 0

    found = proofs.scene(policies.adaptive(), 500.0, 70.0, SEED, fails)
    later = [admitted for now, admitted in found if now >= 66]
    assert sum(later) >= 0.99 * len(later)
