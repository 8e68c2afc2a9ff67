"""The starts of a process, and the gaps in its reports."""

from __future__ import annotations

from gateway.dashboard.uptime import GAPS, SPAN_SECONDS, STARTS, ProcessUptime

# Who was there, and when.


def test_a_silence_is_a_gap() -> None:
    """From when the process was last heard of until it answers again."""
    uptime = ProcessUptime()
    uptime.record_report(90, 100)
    uptime.record_silence(101)
    uptime.record_silence(105)
    assert uptime.gaps == [(100, 105)]
    uptime.record_report(90, 107)
    uptime.record_report(90, 108)
    assert (uptime.starts, uptime.gaps) == ([90], [(100, 107)])


def test_a_gap_ends_with_a_new_start() -> None:
    """What was since then the process knows; also where nobody has seen it silent."""
    uptime = ProcessUptime()
    uptime.record_report(90, 100)
    uptime.record_report(100.5, 101)
    uptime.record_silence(102)
    uptime.record_report(104, 107)
    assert uptime.starts == [90, 100.5, 104]
    assert uptime.gaps == [(100, 100.5), (101, 104)]


def test_a_process_never_heard_of_is_silent_since_it_was_asked() -> None:
    """Until its start, or its answer, when it was there all the time."""
    for started, end in ((103, 103), (50, 105)):
        uptime = ProcessUptime()
        uptime.record_silence(100)
        uptime.record_report(started, 105)
        assert (uptime.starts, uptime.gaps) == ([started], [(100, end)])


def test_what_is_kept_of_presence_is_bounded() -> None:
    """By the span on show, and by a number."""
    uptime = ProcessUptime()
    uptime.record_report(0, 0)
    for n in range(1, 1000):
        uptime.record_report(n - 0.5, n)
    assert (len(uptime.starts), len(uptime.gaps)) == (STARTS, GAPS)
    uptime.record_silence(2000)
    uptime.record_report(0, 2000 + SPAN_SECONDS)
    uptime.record_silence(2001 + 3 * SPAN_SECONDS)
    assert uptime.gaps == [(2000 + SPAN_SECONDS, 2001 + 3 * SPAN_SECONDS)]
