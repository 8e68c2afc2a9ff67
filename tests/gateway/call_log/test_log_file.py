"""The file of the call log: its lines, its mode, its size, and several processes that write to it."""

from __future__ import annotations

import json
import os
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest

from gateway.call_log.log_file import CallLogFile, LoggedCall, UnusableCallLog, rotated

CALL = LoggedCall(1_800_000_000.1234567, "auth-service-http", "success", 0.0123456789)


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_line_has_time_breaker_outcome_and_duration_and_nothing_else(tmp_path):
    path = tmp_path / "calls.jsonl"
    file = CallLogFile(path)
    file.append([CALL, CALL._replace(outcome="rejected", duration=None)])
    file.close()
    known = {"time": 1_800_000_000.123457, "breaker": "auth-service-http"}
    assert lines(path) == [
        {**known, "outcome": "success", "duration": 0.012346},
        {**known, "outcome": "rejected", "duration": None},
    ]


def test_dropped_lines_are_counted_before_those_that_follow_them(tmp_path):
    file = CallLogFile(tmp_path / "calls.jsonl")
    file.append([CALL], dropped=3)
    assert lines(tmp_path / "calls.jsonl")[0] == {"dropped": 3}


@pytest.mark.parametrize("existing", [False, True])
def test_only_its_owner_reads_it(tmp_path, existing):
    path = tmp_path / "calls.jsonl"
    if existing:
        path.write_text("")
        path.chmod(0o644)
    CallLogFile(path).append([CALL])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_full_file_is_rotated_once(tmp_path):
    path = tmp_path / "calls.jsonl"
    file = CallLogFile(path, limit=1)
    for n in range(4):
        file.append([CALL._replace(time=float(n))])
    assert [line["time"] for line in lines(path)] == [3.0]
    assert [line["time"] for line in lines(rotated(path))] == [2.0]
    assert sorted(one.name for one in tmp_path.iterdir()) == ["calls.jsonl", "calls.jsonl.1"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_second_process_follows_the_rotation_of_the_first(tmp_path):
    path = tmp_path / "calls.jsonl"
    first, second = CallLogFile(path, limit=200), CallLogFile(path, limit=200)
    for n in range(4):
        first.append([CALL._replace(time=float(n))])
    second.append([CALL._replace(time=4.0)])
    assert [one["time"] for one in lines(rotated(path))] == [0.0, 1.0, 2.0]
    assert [one["time"] for one in lines(path)] == [3.0, 4.0]


def test_lines_of_several_writers_do_not_mix_and_none_is_lost(tmp_path):
    """Eight files open at once, as of eight workers, with a rotation in the middle."""
    path = tmp_path / "calls.jsonl"

    def worker(n):
        file = CallLogFile(path, limit=80_000)
        for batch in range(25):
            file.append([CALL._replace(time=float(batch), breaker=f"{n}")] * 8)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(worker, range(8)))
    found = lines(rotated(path)) + lines(path)
    assert rotated(path).stat().st_size >= 80_000
    counts = {n: sum(one["breaker"] == f"{n}" for one in found) for n in range(8)}
    assert counts == dict.fromkeys(range(8), 200)


def test_a_file_that_was_deleted_is_made_again(tmp_path):
    path = tmp_path / "calls.jsonl"
    file = CallLogFile(path)
    path.unlink()
    file.append([CALL])
    assert len(lines(path)) == 1


def test_a_cut_line_does_not_spoil_the_next(tmp_path):
    path = tmp_path / "calls.jsonl"
    path.write_text('{"time": 18')
    CallLogFile(path).append([CALL])
    assert json.loads(path.read_text().splitlines()[1])["outcome"] == "success"


def test_a_path_that_cannot_be_written_is_refused_with_the_settings_name(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UnusableCallLog, match=r"^setting CALL_LOG: can't be written: .+ \(got '.+'\)$"):
        CallLogFile(tmp_path / "file" / "calls.jsonl")
    with pytest.raises(UnusableCallLog, match="No such file or directory"):
        CallLogFile(tmp_path / "missing" / "calls.jsonl")


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UnusableCallLog, match="not a regular file"):
        CallLogFile(tmp_path / "pipe")
