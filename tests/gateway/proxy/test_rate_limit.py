"""Rate limits counted in one file by several processes."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import pytest
from limits import RateLimitItemPerMinute
from limits.strategies import SlidingWindowCounterRateLimiter

from gateway.proxy import rate_limit
from gateway.proxy.rate_limit import Counters, SharedCounters

SPAWN = multiprocessing.get_context("spawn")
LIMIT, HITS, PROCESSES = 1000, 700, 3


class FakeTime:
    """In the place of the module `time`, here and in the library."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def time(self) -> float:
        return self.now

    monotonic = time


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeTime:
    """Time as the counters see it."""
    found = FakeTime()
    monkeypatch.setattr(rate_limit, "time", found)
    monkeypatch.setattr("limits.storage.memory.time", found)
    monkeypatch.setattr("limits.strategies.time", found)
    return found


def hit_all(path: Path, key: str) -> int:
    """How many of HITS requests a process admits; its windows are so long that no test sees one end."""
    shared = SharedCounters(path)
    return sum(shared.acquire_sliding_window_entry(key, LIMIT, 10**9) for _ in range(HITS))


def test_several_processes_together_admit_exactly_the_limit(tmp_path):
    with SPAWN.Pool(PROCESSES) as pool:
        admitted = pool.starmap(hit_all, [(tmp_path / "rates", "somebody")] * PROCESSES)
    assert sum(admitted) == LIMIT < HITS * PROCESSES
    assert SharedCounters(tmp_path / "rates").get_sliding_window("somebody else", 60)[2] == 0


def die_in_a_transaction(path: Path) -> None:
    transaction = SharedCounters(path)._file.begin(write=True)
    transaction.put(b"12345678" + b"half", b"written")
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_process_leaves_no_lock(tmp_path):
    shared = SharedCounters(tmp_path / "rates")
    dying = SPAWN.Process(target=die_in_a_transaction, args=(tmp_path / "rates",))
    dying.start()
    dying.join(20)
    assert dying.exitcode == -signal.SIGKILL
    begun = time.monotonic()
    assert shared.acquire_sliding_window_entry("somebody", 1, 60)
    assert time.monotonic() - begun < 1
    assert shared.reset() == 1


@pytest.mark.parametrize("seed", range(5))
def test_admissions_and_figures_equal_those_of_the_librarys_memory_storage(tmp_path, clock, seed):
    chance = random.Random(seed)
    item = RateLimitItemPerMinute(20)
    shared, alone = (
        SlidingWindowCounterRateLimiter(one) for one in (SharedCounters(tmp_path / "rates"), Counters())
    )
    seen = set()
    for _ in range(500):
        clock.now += chance.choice((0, 0.1, 1, 5, 70 * chance.random() ** 8))
        who = chance.choice("ab")
        admitted = shared.hit(item, who)
        assert admitted == alone.hit(item, who)
        assert shared.get_window_stats(item, who) == pytest.approx(alone.get_window_stats(item, who))
        seen.add(admitted)
    assert seen == {True, False}


def test_expired_entries_are_deleted(tmp_path, clock):
    shared = SharedCounters(tmp_path / "rates")
    for number in range(1000):
        shared.acquire_sliding_window_entry(f"visitor {number}", 10, 60)
    clock.now += 180
    for number in range(200):
        shared.acquire_sliding_window_entry(f"later {number}", 10, 60)
    assert shared.reset() == 200


def test_a_full_file_is_emptied(tmp_path):
    shared = SharedCounters(tmp_path / "rates", file_bytes=128 * 1024)
    for number in range(5000):
        assert shared.acquire_sliding_window_entry(f"visitor {number}", 10, 10**9)
    assert 0 < (shared.reset() or 0) < 5000
