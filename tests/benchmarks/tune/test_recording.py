"""The assumed outcomes of rejected calls, the incidents in a log, and where a log is cut."""

from __future__ import annotations

import pytest

from benchmarks.tune.incidents import Incident, cuts, incidents, judged, merged
from benchmarks.tune.log_reader import RecordedCall
from benchmarks.tune.recording import Ended, Recording


def assumed(pattern: str, shift: float = 0.0) -> str:
    """The outcomes of calls, one a second. + good, - bad, ? rejected."""
    calls = [
        RecordedCall(float(n), 0.1, {"+": False, "-": True, "?": None}[one]) for n, one in enumerate(pattern)
    ]
    return "".join("-" if one.failed else "+" for one in Recording("it", calls, 0.0).outcomes(shift))


def test_a_gap_between_equal_states_is_as_they_are():
    assert assumed("+++---????---") == "+++----------"


def test_a_dependency_recovers_within_the_gap():
    assert assumed("-----?????????++++") == "-----" + "-----++++" + "++++"


@pytest.mark.parametrize(("shift", "gap"), [(0.5, "-" * 9), (-0.5, "+" * 9), (0.25, "-------++")])
def test_a_shift_moves_the_recovery(shift, gap):
    assert assumed("-----?????????++++", shift) == f"-----{gap}++++"


def test_several_recoveries_are_spread_over_their_gaps():
    """Otherwise a wait half as long as the recorded one would meet every recovery at once."""
    gaps = assumed(("-" * 5 + "?" * 100 + "+" * 5) * 8)
    recovered = [gaps[n * 110 + 5 : n * 110 + 105].index("+") for n in range(8)]
    assert recovered[0] == 50
    assert sum(recovered) / 8 == pytest.approx(50, abs=6)
    assert max(recovered) > 90
    assert min(recovered) < 15


def test_a_gap_at_an_end_is_as_the_calls_beside_it():
    assert assumed("???---") == "------"
    assert assumed("+++???") == "++++++"


def test_calls_beyond_another_gap_say_nothing():
    """The probe between two gaps failed, so the first gap is assumed bad to its end."""
    assert assumed("-----?????-????++++++") == "-----------" + "--++" + "++++++"


def test_a_partial_failure_goes_on_in_a_gap_with_the_same_dice_for_each_shift():
    pattern = "+-+-+" + "?" * 200 + "-+-+-"
    outcomes = assumed(pattern)
    assert 60 < outcomes[5:205].count("-") < 140
    assert outcomes[5:205] != outcomes[5] * 200
    assert assumed(pattern, 0.5)[5:105] == outcomes[5:105]


def calls(pattern: str, each: float = 1.0) -> list[Ended]:
    return [Ended(n * each, n * each + 0.1, one == "-") for n, one in enumerate(pattern)]


def test_an_incident_goes_from_its_first_failure_to_the_return_of_what_is_usual():
    [found] = incidents(calls("+" * 200 + "-" * 30 + "+" * 200))
    assert found.start == 200
    assert 230 <= found.end <= 245


def test_unlucky_calls_of_a_failing_dependency_are_no_incident():
    """Three of ten usually fail, sometimes three in a row."""
    assert incidents(calls("---+++++++" * 60)) == []
    assert len(incidents(calls("---+++++++" * 60 + "-" * 40 + "---+++++++" * 60))) == 1


def test_an_incident_at_the_end_counts():
    assert incidents(calls("+" * 200 + "-" * 30)) == [Incident(200, 229)]


def test_incidents_near_each_other_are_one():
    near, far = Incident(0, 10), Incident(200, 210)
    assert merged([far, near, Incident(50, 60)]) == [Incident(0, 60), far]


def test_no_incident_is_cut():
    found = [Incident(n * 100.0, n * 100.0 + 10) for n in range(4)]
    assert cuts(found) == [55.0, 155.0, 255.0]


def test_many_incidents_are_shared_out_among_the_blocks():
    found = [Incident(n * 100.0, n * 100.0 + 10) for n in range(20)]
    at = cuts(found)
    assert len(at) == 9
    assert at == [155.0 + 200 * n for n in range(9)]


def test_the_judge_loses_usual_failures_and_successes_within_incidents():
    log = calls("+-+" + "-----+-" + "++-+")
    assert judged(log, [Incident(3, 9)], [10.0]) == [2, 1]
