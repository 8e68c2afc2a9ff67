"""Since when the breakers of several workers are open, probing or closed, as one."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import pytest
from prometheus_client import CollectorRegistry

from actors.adapters.health import PLAIN
from actors.adapters.metrics import SnapshotCollector
from actors.messages import Exemplar, HistogramSnapshot, RejectReason, Snapshot, State
from gateway.workers.merge import merge_snapshots

CLOSED, HALF_OPEN, OPEN, FORCED_OPEN, DISABLED, _ = State


class Worker(NamedTuple):
    """One worker's breaker. since, outage: Unix seconds, as in a Snapshot."""

    state: State
    since: float
    outage: float
    failures: int = 0

    def snapshot(self) -> Snapshot:
        return Snapshot(
            name="auth-service-http",
            state=self.state,
            generation=1,
            failure_count=self.failures,
            opened_at=None,
            retry_after=None,
            last_failure=None,
            last_reason=None,
            in_flight=0,
            counts={"failure": 0},
            rejections=dict.fromkeys(RejectReason, 0),
            late=0,
            would_reject=0,
            transitions={},
            changed_at=0.0,
            unix_changed_at=self.since,
            unix_opened_at=self.outage,
        )


STORY = {
    "one opens": (Worker(OPEN, 5, 5), Worker(CLOSED, 1, 0, 2), (OPEN, 5, 5)),
    "so does the other": (Worker(OPEN, 5, 5), Worker(OPEN, 8, 8, 9), (OPEN, 5, 5)),
    "the one probes": (Worker(HALF_OPEN, 65, 5), Worker(OPEN, 8, 8), (OPEN, 8, 5)),
    "and the other": (Worker(HALF_OPEN, 65, 5), Worker(HALF_OPEN, 68, 8), (HALF_OPEN, 68, 5)),
    "in vain": (Worker(OPEN, 66, 5), Worker(HALF_OPEN, 68, 8), (OPEN, 66, 5)),
    "the other closes": (Worker(OPEN, 66, 5), Worker(CLOSED, 70, 0, 1), (OPEN, 66, 5)),
    "the one probes alone": (Worker(HALF_OPEN, 75, 5), Worker(CLOSED, 80, 0), (HALF_OPEN, 80, 5)),
    "all are closed": (Worker(CLOSED, 126, 0), Worker(CLOSED, 70, 0, 1), (CLOSED, 126, 0)),
    "one is forced open": (Worker(FORCED_OPEN, 130, 130), Worker(OPEN, 131, 131), (OPEN, 130, 130)),
    "one is disabled": (Worker(DISABLED, 140, 0), Worker(CLOSED, 135, 0), (CLOSED, 140, 0)),
}


@pytest.mark.parametrize("moment", STORY)
def test_one_outage_has_one_start_and_each_state_its_time(moment: str) -> None:
    """An alert on the start fires once, whichever worker's state is shown and however probes end."""
    *workers, told = STORY[moment]
    for order in (workers, workers[::-1]):
        snapshots = [one.snapshot() for one in order]
        whole = merge_snapshots(snapshots, snapshots)
        assert (PLAIN[whole.state], whole.unix_changed_at, whole.unix_opened_at) == told


def shown(workers: list[Worker]) -> dict[str, dict[str, float]]:
    """The samples of the gauges of the state, by the label `state` if there is one."""
    snapshots = [one.snapshot() for one in workers]
    registry = CollectorRegistry()
    registry.register(SnapshotCollector([merge_snapshots(snapshots, snapshots)]))
    families = {family.name: family.samples for family in registry.collect()}
    names = ("circuit_breaker_state", "circuit_breaker_state_info")
    return {name: {s.labels.get("state", ""): s.value for s in families[name]} for name in names}


@pytest.mark.parametrize("moment", STORY)
def test_several_workers_are_in_one_exact_state(moment: str) -> None:
    """It is the state of one worker, agrees with `circuit_breaker_state`, and is not added up."""
    *workers, (plain, _, _) = STORY[moment]
    for order in (workers, workers[::-1]):
        found = shown(order)
        exact = found["circuit_breaker_state_info"]
        (told,) = (state for state in State if exact[state.name.lower()])
        assert exact == {state.name.lower(): state is told for state in State}
        assert told in {one.state for one in workers}
        assert found["circuit_breaker_state"] == {"": PLAIN[told]} == {"": plain}


@pytest.mark.parametrize("state", State)
def test_workers_in_the_same_state_are_in_it_together(state: State) -> None:
    found = shown([Worker(state, 1, 0), Worker(state, 2, 0)])
    assert found["circuit_breaker_state_info"] == {one.name.lower(): one is state for one in State}


def test_among_equal_states_the_one_with_more_failures_or_slow_calls_speaks() -> None:
    few, slow = Worker(CLOSED, 1, 0, 2).snapshot(), replace(Worker(CLOSED, 2, 0).snapshot(), slow_count=3)
    for order in ([few, slow], [slow, few]):
        seen = merge_snapshots(order, order)
        assert (seen.failure_count, seen.slow_count) == (0, 3)


def test_of_each_bucket_the_last_exemplar_is_shown() -> None:
    """The exemplar may come from any worker."""
    old, new, other = (Exemplar(0.5, {"trace_id": name}, at) for name, at in (("a", 1), ("b", 2), ("c", 1)))
    shares = [
        replace(
            Worker(CLOSED, since, 0).snapshot(), durations=HistogramSnapshot((1.0,), (1, 1), 2.0, exemplars)
        )
        for since, exemplars in ((1, {0: old, 1: other}), (2, {0: new}))
    ]
    for order in (shares, shares[::-1]):
        durations = merge_snapshots(order, order).durations
        assert durations is not None
        assert durations.exemplars == {0: new, 1: other}
