"""Limits exclude the time in which the process was stalled."""

import time

import pytest
import trio

from runtime.serving.loop_time import STALL, LoopTime


@pytest.fixture
async def loop_time(nursery):
    """A LoopTime that runs."""
    found = LoopTime()
    await nursery.start(found.run)
    return found


async def test_a_limit_ends_its_block(loop_time):
    with loop_time.limit(0.1) as limit:
        await trio.sleep_forever()
    assert limit.expired


async def test_a_block_that_ends_in_time_is_not_cancelled(loop_time):
    with loop_time.limit(0.1) as limit:
        await trio.sleep(0.01)
    await trio.sleep(0.2)
    assert not limit.expired


async def test_a_limit_may_be_moved(loop_time):
    start = trio.current_time()
    with loop_time.limit(0.1) as limit:
        limit.deadline += 0.3
        await trio.sleep_forever()
    assert limit.expired
    assert trio.current_time() - start >= 0.4


async def test_a_limit_may_be_lifted(loop_time):
    with loop_time.limit(0.1) as limit:
        limit.deadline = float("inf")
        await trio.sleep(0.3)
    assert not limit.expired


async def test_time_of_a_freeze_does_not_count(loop_time):
    with loop_time.limit(0.3) as limit:
        await trio.sleep(0.1)
        time.sleep(0.6)  # noqa: ASYNC251 - the whole process stands still
        await trio.sleep(0.1)
    assert not limit.expired
    assert loop_time.stalled >= 0.5


async def test_a_stall_only_moves_the_limit(loop_time):
    start = trio.current_time()
    with loop_time.limit(0.3) as limit:
        await trio.sleep(0.1)
        time.sleep(0.6)  # noqa: ASYNC251 - the whole process stands still
        await trio.sleep_forever()
    assert limit.expired
    assert 0.8 < trio.current_time() - start < 1.5


async def test_a_jump_of_the_clock_is_no_stall(mock_clock, nursery):
    """A jump of a test's clock is no stall."""
    loop_time = LoopTime()
    await nursery.start(loop_time.run)
    expired = trio.Event()

    async def wait():
        with loop_time.limit(30) as limit:
            await trio.sleep_forever()
        assert limit.expired
        expired.set()

    nursery.start_soon(wait)
    await trio.testing.wait_all_tasks_blocked()
    mock_clock.jump(31)
    with trio.testing.assert_checkpoints():
        await expired.wait()
    assert loop_time.stalled == 0


async def test_a_stall_is_measured_before_the_next_check(loop_time):
    with loop_time.limit(10):
        await trio.sleep(0.01)
        before = loop_time.stalled
        time.sleep(STALL + 0.2)  # noqa: ASYNC251 - the whole process stands still
        assert loop_time.stalled_since(before) > STALL
