"""The queue for password hashes: bounded, and fair among clients."""

from __future__ import annotations

import math
import statistics

import pytest
import trio
import trio.lowlevel
from argon2 import PasswordHasher
from trio.testing import MockClock, wait_all_tasks_blocked

from actors import Panel
from protocols.topology import AUTH_DATABASE
from services.auth.limits.fair_queue import FairQueue, QueueFull
from services.auth.passwords import Passwords
from tests.services.auth.auth_client import Service

WORK = 0.02


class Work:
    """Calls that take WORK seconds each, and the order in which they ended."""

    def __init__(self, queue: FairQueue) -> None:
        self.queue = queue
        self.done: list[str] = []
        self.refused: list[str] = []
        self.running = self.most_running = 0

    async def __call__(self, client: str) -> None:
        try:
            async with self.queue.turn(client):
                self.running += 1
                self.most_running = max(self.most_running, self.running)
                await trio.sleep(WORK)
                self.running -= 1
            self.done.append(client)
        except QueueFull:
            self.refused.append(client)

    async def start(self, nursery: trio.Nursery, *clients: str) -> None:
        for client in clients:
            nursery.start_soon(self, client)
            await wait_all_tasks_blocked()


async def test_no_more_run_than_allowed_and_all_are_done(autojump_clock: MockClock) -> None:
    work = Work(FairQueue(2))
    async with trio.open_nursery() as nursery:
        await work.start(nursery, *"abcabcabc")
    assert (sorted(work.done), work.most_running) == (sorted("abcabcabc"), 2)
    assert trio.current_time() == pytest.approx(5 * WORK)


async def test_clients_take_turns(autojump_clock: MockClock) -> None:
    work = Work(FairQueue(1))
    async with trio.open_nursery() as nursery:
        await work.start(nursery, *"aaaaabcb")
    assert "".join(work.done) == "aabcabaa"


async def test_one_call_among_thirty_floods_waits_for_one_of_each(autojump_clock: MockClock) -> None:
    work = Work(FairQueue(2, waiting=256, share=64, wait_seconds=math.inf))
    async with trio.open_nursery() as nursery:
        for flooder in range(30):
            for _ in range(20):
                nursery.start_soon(work, f"flood {flooder}")
        await wait_all_tasks_blocked()
        began = trio.current_time()
        await work("quick")
        waited = trio.current_time() - began
    assert work.done.count("quick") == 1
    assert waited <= (30 / 2 + 2) * WORK


async def test_a_client_has_its_share_of_places_alone(autojump_clock: MockClock) -> None:
    work = Work(FairQueue(1, waiting=10, share=3))
    async with trio.open_nursery() as nursery:
        await work.start(nursery, *"aaaaaab")
        assert work.refused == ["a", "a"]
    assert sorted(work.done) == sorted("aaaab")


async def test_the_longest_queue_gives_a_place_to_a_client_with_less(autojump_clock: MockClock) -> None:
    work = Work(FairQueue(1, waiting=4, share=4))
    async with trio.open_nursery() as nursery:
        await work.start(nursery, *"xaaaab")
        assert work.refused == ["a"]
        await work.start(nursery, "c", "d")
        assert work.refused == ["a", "a", "a"]
        await work.start(nursery, "e")
        assert work.refused[3:] == ["e"]
    assert sorted(work.done) == sorted("xabcd")


async def test_a_call_whose_turn_does_not_come_in_time_is_refused(autojump_clock: MockClock) -> None:
    work = Work(FairQueue(1, wait_seconds=2.5 * WORK))
    async with trio.open_nursery() as nursery:
        await work.start(nursery, *"aaaaa")
    assert (len(work.done), len(work.refused)) == (3, 2)
    assert trio.current_time() < 4 * WORK


async def test_a_cancelled_call_leaves_its_place_and_no_turn_is_lost(autojump_clock: MockClock) -> None:
    work = Work(FairQueue(1, waiting=2))
    async with trio.open_nursery() as nursery:
        await work.start(nursery, "a")
        with trio.move_on_after(WORK / 2):
            await work("b")
        assert work.done == []
        await work.start(nursery, "c", "d")
        assert work.refused == []
    assert work.done == ["a", "c", "d"]
    await work("e")
    assert (work.done[-1], work.queue._waiting, work.queue._free) == ("e", 0, 1)


async def test_a_call_that_is_cancelled_as_its_turn_comes_passes_it_on(autojump_clock: MockClock) -> None:
    queue = FairQueue(1)
    scope = trio.CancelScope()
    reached: list[str] = []

    async def cancelled() -> None:
        with scope:
            async with queue.turn("b"):
                reached.append("b")
                await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        async with queue.turn("a"):
            nursery.start_soon(cancelled)
            await wait_all_tasks_blocked()
        scope.cancel()
    async with queue.turn("c"):
        reached.append("c")
    assert reached[-1] == "c"
    assert (queue._free, queue._waiting) == (1, 0)


async def test_a_failing_body_passes_its_turn_on(autojump_clock: MockClock) -> None:
    queue = FairQueue(1)
    with pytest.raises(RuntimeError, match="bug"):
        async with queue.turn("a"):
            raise RuntimeError("bug")
    async with queue.turn("a"):
        pass


async def test_a_full_queue_is_429_and_counts_on_no_breaker(service: Service, panel: Panel) -> None:
    hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    service.accounts._passwords = Passwords(hasher, queue=FairQueue(1, waiting=0, share=0))
    async with service.accounts._passwords._queue.turn("someone"):
        for answer in (await service.login(), await service.signup()):
            assert (answer.status, answer.error) == (429, "RATE_LIMITED")
            assert answer.headers["Retry-After"] == "1"
            assert "X-Failure-Origin" not in answer.headers
    counts = (await panel[AUTH_DATABASE].snapshot()).counts
    assert counts["failure"] == 0
    assert (await service.login()).status == 401


async def test_real_hashes_of_a_quiet_client_are_quick_during_floods() -> None:
    """Thirty clients want five hashes each; without turns another one would wait for all of them."""
    hasher = PasswordHasher(time_cost=2, memory_cost=4096, parallelism=1)
    passwords = Passwords(hasher, max_concurrent=2, queue=FairQueue(2, wait_seconds=math.inf))
    finished = 0
    waits: list[int] = []

    async def flood(client: str) -> None:
        nonlocal finished
        await passwords.verify("wrong", None, client)
        finished += 1

    async with trio.open_nursery() as nursery:
        for number in range(150):
            nursery.start_soon(flood, f"flooder {number % 30}")
        await trio.lowlevel.checkpoint()
        for _ in range(3):
            before = finished
            await passwords.verify("right", None, "quiet")
            waits.append(finished - before)
    assert finished == 150
    assert statistics.median(waits) <= 34
