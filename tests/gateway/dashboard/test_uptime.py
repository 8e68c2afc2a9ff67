"""The starts of a process, and the gaps in its reports."""

from __future__ import annotations

from gateway.dashboard.uptime import GAPS, SPAN_SECONDS, STARTS, ProcessUptime

# Starts and gaps.


def test_a_silent_process_has_a_gap_until_it_answers_again() -> None:
    """From the time of its last answer."""
    uptime = ProcessUptime()
    uptime.record_report(90, 100)
    uptime.record_silence(101)
    uptime.record_silence(105)
    assert uptime.gaps == [(100, 105)]
    uptime.record_report(90, 107)
    uptime.record_report(90, 108)
    assert (uptime.starts, uptime.gaps) == ([90], [(100, 107)])


def test_a_gap_ends_at_the_start_of_the_new_process() -> None:
    """Also if no poll found it silent."""
    uptime = ProcessUptime()
    uptime.record_report(90, 100)
    uptime.record_report(100.5, 101)
    uptime.record_silence(102)
    uptime.record_report(104, 107)
    assert uptime.starts == [90, 100.5, 104]
    assert uptime.gaps == [(100, 100.5), (101, 104)]


def test_a_process_that_never_answered_has_a_gap_from_the_first_poll() -> None:
    """Until its start, or, if it started before, until its answer."""
    for started, end in ((103, 103), (50, 105)):
        uptime = ProcessUptime()
        uptime.record_silence(100)
        uptime.record_report(started, 105)
        assert (uptime.starts, uptime.gaps) == ([started], [(100, end)])


def test_the_gaps_that_are_kept_are_bounded() -> None:
    """By the shown time span, and by a number."""
    uptime = ProcessUptime()
    uptime.record_report(0, 0)
    for n in range(1, 1000):
        uptime.record_report(n - 0.5, n)
    assert (len(uptime.starts), len(uptime.gaps)) == (STARTS, GAPS)
    uptime.record_silence(2000)
    uptime.record_report(0, 2000 + SPAN_SECONDS)
    uptime.record_silence(2001 + 3 * SPAN_SECONDS)
    assert uptime.gaps == [(2000 + SPAN_SECONDS, 2001 + 3 * SPAN_SECONDS)]
