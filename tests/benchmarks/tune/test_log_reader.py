"""The logs that the tuner reads, and its errors for those that it can't read."""

from __future__ import annotations

import json

import pytest

from benchmarks.tune.log_reader import BadLog, RecordedCall, read_log

NAME = "auth-service-http"
GOOD = {"time": 1000.5, "breaker": NAME, "outcome": "success", "duration": 0.5}


def written(path, *lines):
    path.write_text("".join(f"{one if isinstance(one, str) else json.dumps(one)}\n" for one in lines))
    return path


def test_calls_are_in_the_order_of_their_starts(tmp_path):
    later = {**GOOD, "time": 1000.4, "outcome": "failure", "duration": 0.1}
    rejected = {**GOOD, "time": 999.0, "outcome": "rejected", "duration": None}
    log = read_log(written(tmp_path / "log", later, GOOD, rejected), [NAME])
    assert log.calls == {
        NAME: [
            RecordedCall(999.0, None, None),
            RecordedCall(1000.0, 0.5, False),
            RecordedCall(pytest.approx(1000.3), 0.1, True),
        ]
    }


def test_the_rotated_half_is_read_too(tmp_path):
    written(tmp_path / "log.1", {**GOOD, "time": 1.0, "duration": 0.0})
    log = read_log(written(tmp_path / "log", GOOD), [NAME])
    assert [call.start for call in log.calls[NAME]] == [1.0, 1000.0]


def test_what_is_left_out_is_counted(tmp_path):
    lines = [
        {"dropped": 3},
        {"dropped": 4},
        {**GOOD, "outcome": "ignored"},
        {**GOOD, "outcome": "cancelled"},
        {**GOOD, "breaker": "unheard-of"},
        "",
        {**GOOD, "breaker": f"{NAME}:login"},
    ]
    log = read_log(written(tmp_path / "log", *lines), [NAME])
    assert (log.dropped, log.unknown, log.neutral[NAME], log.cut) == (7, 1, 2, False)
    assert list(log.calls) == [f"{NAME}:login"]


@pytest.mark.parametrize("cut", ['{"time": 10', "{}", '{"time": 1000.5, "breaker": "a'])
def test_a_cut_last_line_is_left_out_and_reported(tmp_path, cut):
    path = written(tmp_path / "log", GOOD)
    with path.open("a") as file:
        file.write(cut)
    log = read_log(path, [NAME])
    assert log.cut
    assert len(log.calls[NAME]) == 1


def test_a_whole_last_line_without_an_end_counts(tmp_path):
    path = tmp_path / "log"
    path.write_text(json.dumps(GOOD))
    log = read_log(path, [NAME])
    assert (len(log.calls[NAME]), log.cut) == (1, False)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("nonsense", "not JSON: "),
        ("[" * 900, "not JSON"),
        ("[]", "should be an object, got []"),
        ("NaN", "NaN is no number"),
        (json.dumps({**GOOD, "time": True}), "time should be seconds, 0 to 1e+11, got True"),
        (json.dumps({**GOOD, "time": "1"}), "time should be seconds"),
        (json.dumps({**GOOD, "time": -1}), "time should be seconds"),
        ('{"time": 1e400, "breaker": "a", "outcome": "success", "duration": 0}', "time should be seconds"),
        (json.dumps({**GOOD, "time": 10**400}), "time should be seconds"),
        (json.dumps({**GOOD, "duration": -0.1}), "duration should be seconds"),
        ('{"time": 1, "breaker": "a", "outcome": "success", "duration": NaN}', "NaN is no number"),
        (json.dumps({**GOOD, "breaker": 5}), "breaker should be a name, got 5"),
        (json.dumps({**GOOD, "outcome": "fine"}), "outcome should be one of success, failure, "),
        (json.dumps({**GOOD, "outcome": []}), "outcome should be one of"),
        ('{"time": 1, "breaker": "a", "outcome": "success"}', "duration is missing"),
        ('{"dropped": -1}', "dropped should be a number of lines, got -1"),
        ('{"dropped": true}', "dropped should be a number of lines"),
        (json.dumps({**GOOD, "more": "x" * 2000}), "longer than 1000 bytes"),
    ],
)
def test_a_bad_line_is_named_by_file_and_number(tmp_path, line, reason):
    path = written(tmp_path / "log", GOOD, line, GOOD)
    with pytest.raises(BadLog) as caught:
        read_log(path, [NAME])
    assert str(caught.value).startswith(f"{path}:2: {reason}")
    assert len(str(caught.value)) < 300


def test_bytes_that_are_no_text_are_named_too(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(json.dumps(GOOD).encode() + b"\n\xff\xfe\n")
    with pytest.raises(BadLog, match=r"log:2: not JSON: .*utf-8"):
        read_log(path, [NAME])


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(BadLog, match="can't be read: No such file or directory"):
        read_log(tmp_path / "missing", [NAME])
    with pytest.raises(BadLog, match="can't be read: Is a directory"):
        read_log(tmp_path, [NAME])
