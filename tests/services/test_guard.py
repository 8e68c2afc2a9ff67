"""The guard: which answer and which count each outcome gives."""

from __future__ import annotations

import errno
import os
from dataclasses import replace

import pytest
import trio
from bson.errors import InvalidDocument
from pymongo.errors import (
    AutoReconnect,
    DuplicateKeyError,
    ExecutionTimeout,
    NotPrimaryError,
    OperationFailure,
    WaitQueueTimeoutError,
)
from structlog.testing import capture_logs
from trio.testing import MockClock, wait_all_tasks_blocked

from actors import CircuitBreakerConfig, CircuitOpenError, Panel
from actors.messages import State
from protocols.http import Code
from runtime.web.errors import ApiError
from services.dependency import Dependency, guard_database

CONFIG = CircuitBreakerConfig(name="some-database", max_failures=3, reset_timeout=60)


@pytest.fixture
def guard(panel: Panel) -> Dependency:
    return guard_database(panel, CONFIG, "closed for now")


async def fail_with(error: Exception) -> None:
    raise error


async def answer(value: int) -> int:
    return value


async def refused(guard: Dependency, error: Exception) -> ApiError:
    with pytest.raises(ApiError) as raised:
        await guard.run(fail_with, error)
    return raised.value


async def test_a_result_comes_through(guard: Dependency) -> None:
    assert await guard.run(answer, 7) == 7


@pytest.mark.parametrize("error", [AutoReconnect("gone"), ExecutionTimeout("slow", 50)], ids=repr)
async def test_a_failure_is_a_database_error_that_names_its_breaker(
    guard: Dependency, panel: Panel, error: Exception
) -> None:
    raised = await refused(guard, error)
    assert (raised.code, raised.status, raised.failure_origin) == (
        Code.DATABASE_ERROR,
        503,
        "some-database",
    )
    assert (await panel["some-database"].snapshot()).failure_count == 1


async def test_a_failure_is_told_by_a_kind_that_can_be_looked_up(guard: Dependency) -> None:
    """Drivers have classes of their own that nobody else knows."""

    class _OperationCancelled(AutoReconnect):
        pass

    with capture_logs() as lines:
        await refused(guard, _OperationCancelled("gone"))
    assert [line["kind"] for line in lines] == ["AutoReconnect"]


async def test_a_duplicate_comes_out_as_itself_and_counts_as_success(guard: Dependency, panel: Panel) -> None:
    await refused(guard, AutoReconnect("gone"))
    with pytest.raises(DuplicateKeyError):
        await guard.run(fail_with, DuplicateKeyError("again", 11000))
    snapshot = await panel["some-database"].snapshot()
    assert (snapshot.failure_count, snapshot.counts["success"]) == (0, 1)


@pytest.mark.parametrize(
    "error",
    [
        OperationFailure("no", 13, {"code": 13, "codeName": "Unauthorized"}),
        OperationFailure("full", 14031, {"code": 14031, "codeName": "OutOfDiskSpace"}),
        NotPrimaryError("no", {"code": 10107, "codeName": "NotWritablePrimary"}),
    ],
    ids=repr,
)
async def test_a_server_that_refuses_everything_opens_the_breaker(
    guard: Dependency, panel: Panel, error: Exception
) -> None:
    """Whoever sends the origin has counted the failure."""
    raised = [await refused(guard, error) for _ in range(4)]
    assert [one.code for one in raised] == [Code.DATABASE_ERROR] * 3 + [Code.SERVICE_UNAVAILABLE]
    assert {one.failure_origin for one in raised} == {"some-database"}
    snapshot = await panel["some-database"].snapshot()
    assert (snapshot.state, snapshot.counts["failure"]) == (State.OPEN, 3)


@pytest.mark.parametrize("code", [2, 14, 121])
async def test_a_refusal_of_one_requests_values_is_an_answer_and_our_own_error(
    guard: Dependency, panel: Panel, code: int
) -> None:
    with pytest.raises(OperationFailure):
        await guard.run(fail_with, OperationFailure("no", code))
    counts = (await panel["some-database"].snapshot()).counts
    assert (counts["failure"], counts["success"]) == (0, 1)


async def test_an_answer_closes_a_half_open_breaker(
    guard: Dependency, panel: Panel, mock_clock: MockClock
) -> None:
    await panel["some-database"].trip()
    mock_clock.jump(60)
    with pytest.raises(DuplicateKeyError):
        await guard.run(fail_with, DuplicateKeyError("again", 11000))
    assert panel["some-database"].state is State.CLOSED


async def test_what_counts_neither_way_leaves_a_breaker_half_open(
    guard: Dependency, panel: Panel, mock_clock: MockClock
) -> None:
    await panel["some-database"].trip()
    mock_clock.jump(60)
    for error in (KeyError("bug"), InvalidDocument("no")):
        with pytest.raises(type(error)):
            await guard.run(fail_with, error)
    await refused(guard, WaitQueueTimeoutError("full"))
    snapshot = await panel["some-database"].snapshot()
    assert (snapshot.state, snapshot.in_flight, snapshot.counts["ignored"]) == (State.HALF_OPEN, 0, 3)


async def test_what_the_driver_refuses_to_send_counts_neither_way(guard: Dependency, panel: Panel) -> None:
    with pytest.raises(InvalidDocument):
        await guard.run(fail_with, InvalidDocument("no"))
    counts = (await panel["some-database"].snapshot()).counts
    assert (counts["failure"], counts["success"], counts["ignored"]) == (0, 0, 1)


async def test_a_full_pool_is_as_a_full_bulkhead(guard: Dependency, panel: Panel) -> None:
    raised = await refused(guard, WaitQueueTimeoutError("full"))
    assert (raised.status, raised.message) == (503, "closed for now")
    assert raised.headers() == {"Retry-After": "1", "X-Failure-Origin": "some-database"}
    counts = (await panel["some-database"].snapshot()).counts
    assert (counts["failure"], counts["success"]) == (0, 0)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.EADDRNOTAVAIL])
async def test_without_files_or_ports_this_process_is_unwell_and_nothing_else(
    guard: Dependency, panel: Panel, number: int
) -> None:
    error = AutoReconnect("it:27017")
    error.__cause__ = OSError(number, os.strerror(number))
    raised = await refused(guard, error)
    assert (raised.status, raised.message) == (503, "closed for now")
    assert raised.headers() == {"Retry-After": "1"}
    counts = (await panel["some-database"].snapshot()).counts
    assert (counts["failure"], counts["success"]) == (0, 0)


async def test_a_group_fails_if_any_of_it_does_and_is_answered_so(guard: Dependency, panel: Panel) -> None:
    raised = await refused(guard, ExceptionGroup("both", [KeyError("bug"), AutoReconnect("gone")]))
    assert raised.failure_origin == "some-database"
    assert (await panel["some-database"].snapshot()).failure_count == 1


async def test_a_group_without_a_failure_comes_out_and_counts_neither_way(
    guard: Dependency, panel: Panel
) -> None:
    with pytest.raises(ExceptionGroup):
        await guard.run(
            fail_with, ExceptionGroup("both", [KeyError("bug"), DuplicateKeyError("again", 11000)])
        )
    counts = (await panel["some-database"].snapshot()).counts
    assert (counts["failure"], counts["success"], counts["ignored"]) == (0, 0, 1)


async def test_what_a_guard_raises_itself_counts_for_no_other_breaker(
    guard: Dependency, panel: Panel, mock_clock: MockClock
) -> None:
    """A rejection by another breaker, inside of the operation."""
    raised = await refused(guard, CircuitOpenError("another", State.OPEN, 7.0))
    assert raised.headers()["Retry-After"] == "7"
    counts = (await panel["some-database"].snapshot()).counts
    assert (counts["failure"], counts["ignored"]) == (0, 1)


async def test_a_call_timeout_is_a_failure_that_names_its_breaker(
    panel: Panel, autojump_clock: MockClock
) -> None:
    guard = guard_database(panel, replace(CONFIG, call_timeout=1), "closed for now")
    with pytest.raises(ApiError) as raised:
        await guard.run(trio.sleep_forever)
    assert raised.value.failure_origin == "some-database"
    assert (await panel["some-database"].snapshot()).failure_count == 1


async def test_log_and_breaker_say_why_but_quote_nothing(guard: Dependency, panel: Panel) -> None:
    details = {"code": 14031, "codeName": "OutOfDiskSpace", "errmsg": "no room for ada@example.org"}
    with capture_logs() as lines:
        await refused(guard, OperationFailure("no room for ada@example.org", 14031, details))
    [line] = lines
    assert (line["event"], line["kind"]) == ("a dependency failed", "OperationFailure")
    assert line["reason"] == "OperationFailure: OutOfDiskSpace (14031)"
    assert (await panel["some-database"].snapshot()).last_failure == line["reason"]


async def test_a_bug_comes_out_as_itself(guard: Dependency, panel: Panel) -> None:
    with pytest.raises(KeyError):
        await guard.run(fail_with, KeyError("bug"))
    assert (await panel["some-database"].snapshot()).failure_count == 0


async def test_an_open_breaker_is_unavailable_for_as_long_as_it_will_be(
    guard: Dependency, panel: Panel, mock_clock: MockClock
) -> None:
    for _ in range(3):
        await refused(guard, AutoReconnect("gone"))
    mock_clock.jump(20.5)
    raised = await refused(guard, AutoReconnect("gone"))
    assert (raised.code, raised.message) == (Code.SERVICE_UNAVAILABLE, "closed for now")
    assert raised.headers() == {"Retry-After": "40", "X-Failure-Origin": "some-database"}


async def test_the_log_is_told_why_the_breaker_rejected(panel: Panel, mock_clock: MockClock) -> None:
    """The caller is told the same words in each case."""
    config = replace(CONFIG, max_concurrent=1)
    guard, breaker = guard_database(panel, config, "closed for now"), panel["some-database"]

    async def why() -> tuple[str, str | None]:
        raised = await refused(guard, AutoReconnect("gone"))
        assert raised.log_fields()["breaker"] == "some-database"
        return raised.message, raised.log_fields().get("rejected")

    assert await why() == ("database error", None)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(guard.run, trio.sleep_forever)
        await wait_all_tasks_blocked()
        assert await why() == ("closed for now", "bulkhead")
        nursery.cancel_scope.cancel()
    await breaker.trip()
    assert await why() == ("closed for now", "open")
    await breaker.force_open()
    assert await why() == ("closed for now", "forced")


async def test_beside_a_probe_a_caller_is_told_to_come_back_soon(
    guard: Dependency, panel: Panel, mock_clock: MockClock
) -> None:
    for _ in range(3):
        await refused(guard, AutoReconnect("gone"))
    mock_clock.jump(60)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(guard.run, trio.sleep_forever)
        await trio.testing.wait_all_tasks_blocked()
        raised = await refused(guard, AutoReconnect("gone"))
        assert (raised.code, raised.headers()["Retry-After"]) == (Code.SERVICE_UNAVAILABLE, "1")
        nursery.cancel_scope.cancel()
    assert (await panel["some-database"].snapshot()).state is State.HALF_OPEN


async def test_a_cancelled_operation_counts_neither_way(guard: Dependency, panel: Panel) -> None:
    with trio.move_on_after(0):
        await guard.run(trio.sleep_forever)
    counts = (await panel["some-database"].snapshot()).counts
    assert (counts["cancelled"], counts["failure"], counts["success"]) == (1, 0, 0)
