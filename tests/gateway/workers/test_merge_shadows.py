"""The shadows of several workers' breakers, as one: counts are added, and the worst state is shown."""

from __future__ import annotations

import json
from dataclasses import replace

from actors import Adaptive, CircuitBreakerConfig, Machine, Outcome, Permit, ShadowPolicy, Snapshot
from actors.adapters.metrics import exposition
from actors.messages import State
from gateway.workers.counts import add_counts, at_least, without_counts
from gateway.workers.merge import merge_snapshots
from gateway.workers.reports import WorkerReport, decode, encode

OPENED = (State.CLOSED, State.OPEN)


TWO = ShadowPolicy(max_failures=2)


def worker(*outcomes: Outcome, shadow: ShadowPolicy | None = TWO) -> Snapshot:
    """The breaker of a worker after these calls."""
    machine = Machine(CircuitBreakerConfig(name="it", shadow=shadow))
    for outcome in outcomes:
        permit = machine.admit(0)
        assert isinstance(permit, Permit)
        machine.settle(permit, outcome, 0)
    return machine.snapshot(0)


OPEN = worker(*[Outcome.FAILURE] * 3, Outcome.SUCCESS)
CLOSED = worker(Outcome.SUCCESS, Outcome.FAILURE)
BARE = worker(Outcome.FAILURE, shadow=None)


def totals(one: Snapshot) -> tuple[int, int]:
    """The calls that the shadow has admitted, and those that it would have rejected."""
    assert one.shadow is not None
    admitted, rejected = one.shadow.calls["admitted"], one.shadow.calls["rejected"]
    return sum(admitted.values()), sum(rejected.values())


def test_the_worst_shadow_speaks_with_the_counts_of_all() -> None:
    for order in ([OPEN, CLOSED, CLOSED], [CLOSED, CLOSED, OPEN]):
        merged = merge_snapshots(order, order)
        assert merged.shadow is not None
        assert (merged.shadow.state, merged.shadow.transitions) == (State.OPEN, {OPENED: 1})
        assert totals(merged) == (6, 2)
        assert merged.state is State.CLOSED


def test_a_worker_that_has_died_leaves_its_counts_alone() -> None:
    merged = merge_snapshots([CLOSED], [CLOSED, OPEN])
    assert merged.shadow is not None
    assert merged.shadow.state is State.CLOSED
    assert totals(merged) == (4, 2)


def test_workers_without_a_shadow_show_none_though_others_had_one() -> None:
    assert merge_snapshots([BARE], [BARE, OPEN]).shadow is None
    assert add_counts(BARE, OPEN).shadow is None
    mixed = merge_snapshots([BARE, OPEN], [BARE, OPEN])
    assert totals(mixed) == totals(OPEN)


def test_a_sum_never_goes_back() -> None:
    assert totals(at_least(CLOSED, OPEN)) == (3, 2)
    assert totals(at_least(OPEN, CLOSED)) == (3, 2)
    assert totals(at_least(OPEN, BARE)) == totals(OPEN)
    assert at_least(BARE, OPEN).shadow is None
    nothing = without_counts(OPEN)
    assert totals(nothing) == (0, 0)
    assert nothing.shadow is not None
    assert (nothing.shadow.state, nothing.shadow.transitions) == (State.OPEN, {})
    assert without_counts(BARE).shadow is None
    assert totals(add_counts(OPEN, CLOSED)) == (4, 2)


def test_a_report_keeps_the_shadow_and_what_breakers_have_learned() -> None:
    """A report of an older version has no shadow."""
    adaptive = Machine(CircuitBreakerConfig(name="it", trip=Adaptive(), shadow=ShadowPolicy(trip=Adaptive())))
    adaptive.settle(Permit(1, 0, shadow=Permit(1, 0)), Outcome.FAILURE, 0)
    for one in (OPEN, BARE, adaptive.snapshot(0)):
        report = WorkerReport(1, {"it": one}, {})
        assert decode(encode(report)) == report
        assert exposition([decode(encode(report)).snapshots["it"]]) == exposition([one])
    older = json.loads(encode(WorkerReport(1, {"it": OPEN}, {})))
    del older["snapshots"]["it"]["shadow"]
    assert decode(json.dumps(older)).snapshots["it"] == replace(OPEN, shadow=None)
