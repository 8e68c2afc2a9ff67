"""The rules of the shared record, one by one: confirmation, leases, verdicts, lost data."""

from __future__ import annotations

from actors.sharing.evidence import WHOLE, Judgement, Rule
from actors.sharing.record import TURN, SharedRecord
from actors.sharing.requests import AcquireLease, Leave, Override, ProbeResult, Reply, Report

RULE = Rule(quorum=2, window=30_000, confirm=250)
NOW = 1_800_000_000_000


def report(
    record: SharedRecord, name: str, now: int, verdict: Judgement = Judgement.NONE, **known: int
) -> Reply:
    share = WHOLE if verdict is Judgement.BAD else 0
    request = Report(name, verdict, share, 0, 0, 5000, RULE)
    return record.apply(request._replace(**known), now)


def opened() -> SharedRecord:
    """Open for all, and its wait is over."""
    record = SharedRecord()
    record.apply(Override("operator", True, 0), NOW)
    return record


def acquire(record: SharedRecord, name: str, now: int, *, has_callers: bool = True) -> Reply:
    return record.apply(AcquireLease(name, 2000, has_callers), now)


def test_evidence_opens_after_it_has_stood() -> None:
    record = SharedRecord()
    assert report(record, "a", NOW, Judgement.BAD).confirm == 0
    assert report(record, "b", NOW + 10, Judgement.BAD).confirm == 250
    assert not report(record, "c", NOW + 259).is_open
    reply = report(record, "c", NOW + 260)
    assert (reply.is_open, reply.opened_by, reply.wait) == (True, 2, 5000)


def test_a_success_between_begins_the_confirmation_anew() -> None:
    record = SharedRecord()
    report(record, "a", NOW, Judgement.BAD)
    report(record, "b", NOW, Judgement.BAD)
    report(record, "b", NOW + 200, Judgement.GOOD)
    assert report(record, "b", NOW + 220, Judgement.BAD).confirm == 250
    assert not report(record, "a", NOW + 300).is_open


def test_an_instance_that_leaves_takes_its_evidence_with_it() -> None:
    record = SharedRecord()
    report(record, "ended", NOW, Judgement.GOOD)
    report(record, "ended too", NOW, Judgement.GOOD)
    report(record, "a", NOW, Judgement.BAD)
    assert report(record, "b", NOW, Judgement.BAD).confirm == 0
    record.apply(Leave("ended"), NOW)
    assert report(record, "b", NOW, Judgement.BAD).confirm == 250


def test_one_instance_has_the_lease_and_a_refused_attempt_does_not_prolong_it() -> None:
    record = opened()
    assert acquire(record, "a", NOW).accepted
    for late in range(0, 2000, 100):
        refused = acquire(record, "b", NOW + late)
        assert not refused.accepted
        assert refused.held
    assert record.lease_end == NOW + 2000
    assert acquire(record, "b", NOW + 2000).accepted


def test_a_verdict_needs_owner_generation_and_an_unexpired_lease() -> None:
    record = opened()
    generation = acquire(record, "a", NOW).generation
    for late in (
        ProbeResult("b", generation, True, 0),
        ProbeResult("a", generation - 1, True, 0),
    ):
        assert not record.apply(late, NOW + 1).accepted
    assert record.is_open
    assert not record.apply(ProbeResult("a", generation, True, 0), NOW + 2000).accepted
    assert record.is_open
    assert record.apply(ProbeResult("a", generation, True, 0), NOW + 1999).accepted
    assert not record.is_open


def test_an_instance_whose_probe_failed_waits_its_turn() -> None:
    record = opened()
    report(record, "b", NOW)
    granted = acquire(record, "a", NOW)
    assert granted.accepted
    assert record.apply(ProbeResult("a", granted.generation, False, 100), NOW + 10).accepted
    report(record, "b", NOW + 100)
    assert not acquire(record, "a", NOW + 110).accepted
    assert acquire(record, "b", NOW + 110).accepted


def test_an_instance_whose_probe_failed_probes_again_if_no_other_does() -> None:
    record = opened()
    granted = acquire(record, "a", NOW)
    assert granted.accepted
    assert record.apply(ProbeResult("a", granted.generation, False, 100), NOW + 10).accepted
    report(record, "b", NOW + 100)
    assert acquire(record, "a", NOW + 110 + TURN).accepted


def test_lost_data_are_restored_as_open_in_a_later_generation() -> None:
    record = SharedRecord()
    reply = report(
        record, "a", NOW, known_generation=NOW + 5, known_open=True, known_wait=700, known_attempt=2
    )
    assert (reply.is_open, reply.wait, reply.attempt, reply.generation) == (True, 700, 2, NOW + 6)
