"""The dependency: the response and the count for each outcome."""

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
from services.dependency import Dependency
from services.mongo.dependency import database_dependency

CONFIG = CircuitBreakerConfig(name="some-database", max_failures=3, reset_timeout=60)


@pytest.fixture
def dependency(panel: Panel) -> Dependency:
    return database_dependency(panel, CONFIG, "closed for now")


async def fail_with(error: Exception) -> None:
    raise error


async def answer(value: int) -> int:
    return value


async def refused(dependency: Dependency, error: Exception) -> ApiError:
    with pytest.raises(ApiError) as raised:
        await dependency.run(fail_with, error)
    return raised.value


async def test_a_result_is_returned(dependency: Dependency) -> None:
    assert await dependency.run(answer, 7) == 7


@pytest.mark.parametrize("error", [AutoReconnect("gone"), ExecutionTimeout("slow", 50)], ids=repr)
async def test_a_failure_is_a_database_error_that_names_its_breaker(
    dependency: Dependency, panel: Panel, error: Exception
) -> None:
    raised = await refused(dependency, error)
    assert raised.code == Code.DATABASE_ERROR
    assert raised.status == 503
    assert raised.failure_origin == "some-database"
    assert (await panel["some-database"].snapshot()).failure_count == 1


async def test_a_failure_is_logged_by_a_public_class(dependency: Dependency) -> None:
    """The base class of a driver's private class."""

    class _OperationCancelled(AutoReconnect):
        pass

    with capture_logs() as lines:
        await refused(dependency, _OperationCancelled("gone"))
    assert [line["kind"] for line in lines] == ["AutoReconnect"]


async def test_a_duplicate_key_error_is_raised_unchanged_and_is_a_success(
    dependency: Dependency, panel: Panel
) -> None:
    await refused(dependency, AutoReconnect("gone"))
    with pytest.raises(DuplicateKeyError):
        await dependency.run(fail_with, DuplicateKeyError("again", 11000))
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
    dependency: Dependency, panel: Panel, error: Exception
) -> None:
    """The response names the breaker, which has counted the failure."""
    raised = [await refused(dependency, error) for _ in range(4)]
    assert [one.code for one in raised] == [Code.DATABASE_ERROR] * 3 + [Code.SERVICE_UNAVAILABLE]
    assert {one.failure_origin for one in raised} == {"some-database"}
    snapshot = await panel["some-database"].snapshot()
    assert (snapshot.state, snapshot.counts["failure"]) == (State.OPEN, 3)


@pytest.mark.parametrize("code", [2, 14, 121])
async def test_a_refusal_of_one_requests_values_is_an_answer_and_our_own_error(
    dependency: Dependency, panel: Panel, code: int
) -> None:
    with pytest.raises(OperationFailure):
        await dependency.run(fail_with, OperationFailure("no", code))
    counts = (await panel["some-database"].snapshot()).counts
    assert (counts["failure"], counts["success"]) == (0, 1)


async def test_an_answer_closes_a_half_open_breaker(
    dependency: Dependency, panel: Panel, mock_clock: MockClock
) -> None:
    await panel["some-database"].trip()
    mock_clock.jump(60)
    with pytest.raises(DuplicateKeyError):
        await dependency.run(fail_with, DuplicateKeyError("again", 11000))
    assert panel["some-database"].state is State.CLOSED


async def test_what_counts_neither_way_leaves_a_breaker_half_open(
    dependency: Dependency, panel: Panel, mock_clock: MockClock
) -> None:
    await panel["some-database"].trip()
    mock_clock.jump(60)
    for error in (KeyError("bug"), InvalidDocument("no")):
        with pytest.raises(type(error)):
            await dependency.run(fail_with, error)
    await refused(dependency, WaitQueueTimeoutError("full"))
    snapshot = await panel["some-database"].snapshot()
    assert (snapshot.state, snapshot.in_flight, snapshot.counts["ignored"]) == (State.HALF_OPEN, 0, 3)


async def test_what_the_driver_refuses_to_send_counts_neither_way(
    dependency: Dependency, panel: Panel
) -> None:
    with pytest.raises(InvalidDocument):
        await dependency.run(fail_with, InvalidDocument("no"))
    counts = (await panel["some-database"].snapshot()).counts
    assert (counts["failure"], counts["success"], counts["ignored"]) == (0, 0, 1)


async def test_a_full_pool_is_answered_like_a_full_bulkhead(dependency: Dependency, panel: Panel) -> None:
    raised = await refused(dependency, WaitQueueTimeoutError("full"))
    assert (raised.status, raised.message) == (503, "closed for now")
    assert raised.headers() == {"Retry-After": "1", "X-Failure-Origin": "some-database"}
    counts = (await panel["some-database"].snapshot()).counts
    assert (counts["failure"], counts["success"]) == (0, 0)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.EADDRNOTAVAIL])
async def test_a_lack_of_files_or_ports_is_an_overload_and_no_failure(
    dependency: Dependency, panel: Panel, number: int
) -> None:
    error = AutoReconnect("it:27017")
    error.__cause__ = OSError(number, os.strerror(number))
    raised = await refused(dependency, error)
    assert (raised.status, raised.message) == (503, "closed for now")
    assert raised.headers() == {"Retry-After": "1"}
    counts = (await panel["some-database"].snapshot()).counts
    assert (counts["failure"], counts["success"]) == (0, 0)


async def test_a_group_fails_if_any_of_it_does_and_is_answered_so(
    dependency: Dependency, panel: Panel
) -> None:
    raised = await refused(dependency, ExceptionGroup("both", [KeyError("bug"), AutoReconnect("gone")]))
    assert raised.failure_origin == "some-database"
    assert (await panel["some-database"].snapshot()).failure_count == 1


async def test_a_group_without_a_failure_is_raised_and_its_answer_is_a_success(
    dependency: Dependency, panel: Panel
) -> None:
    with pytest.raises(ExceptionGroup):
        await dependency.run(
            fail_with, ExceptionGroup("both", [KeyError("bug"), DuplicateKeyError("again", 11000)])
        )
    counts = (await panel["some-database"].snapshot()).counts
    assert (counts["failure"], counts["success"], counts["ignored"]) == (0, 1, 0)


async def test_a_rejection_by_another_breaker_is_no_failure(
    dependency: Dependency, panel: Panel, mock_clock: MockClock
) -> None:
    """A rejection by another breaker, inside of the operation."""
    raised = await refused(dependency, CircuitOpenError("another", State.OPEN, 7.0))
    assert raised.headers()["Retry-After"] == "7"
    counts = (await panel["some-database"].snapshot()).counts
    assert (counts["failure"], counts["ignored"]) == (0, 1)


async def test_a_call_timeout_is_a_failure_that_names_its_breaker(
    panel: Panel, autojump_clock: MockClock
) -> None:
    dependency = database_dependency(panel, replace(CONFIG, call_timeout=1), "closed for now")
    with pytest.raises(ApiError) as raised:
        await dependency.run(trio.sleep_forever)
    assert raised.value.failure_origin == "some-database"
    assert (await panel["some-database"].snapshot()).failure_count == 1


async def test_log_and_breaker_have_the_reason_and_quote_nothing(
    dependency: Dependency, panel: Panel
) -> None:
    details = {"code": 14031, "codeName": "OutOfDiskSpace", "errmsg": "no room for ada@example.org"}
    with capture_logs() as lines:
        await refused(dependency, OperationFailure("no room for ada@example.org", 14031, details))
    [line] = lines
    assert (line["event"], line["kind"]) == ("a dependency failed", "OperationFailure")
    assert line["reason"] == "OperationFailure: OutOfDiskSpace (14031)"
    assert (await panel["some-database"].snapshot()).last_failure == f"mongodb: {line['reason']}"


async def test_a_programming_error_is_raised_unchanged(dependency: Dependency, panel: Panel) -> None:
    with pytest.raises(KeyError):
        await dependency.run(fail_with, KeyError("bug"))
    assert (await panel["some-database"].snapshot()).failure_count == 0


async def test_an_open_breaker_is_unavailable_for_as_long_as_it_will_be(
    dependency: Dependency, panel: Panel, mock_clock: MockClock
) -> None:
    for _ in range(3):
        await refused(dependency, AutoReconnect("gone"))
    mock_clock.jump(20.5)
    raised = await refused(dependency, AutoReconnect("gone"))
    assert (raised.code, raised.message) == (Code.SERVICE_UNAVAILABLE, "closed for now")
    assert raised.headers() == {"Retry-After": "40", "X-Failure-Origin": "some-database"}


async def test_the_log_has_the_reason_of_a_rejection(panel: Panel, mock_clock: MockClock) -> None:
    """The response has the same message in each case."""
    config = replace(CONFIG, max_concurrent=1)
    dependency, breaker = database_dependency(panel, config, "closed for now"), panel["some-database"]

    async def why() -> tuple[str, str | None]:
        raised = await refused(dependency, AutoReconnect("gone"))
        assert raised.log_fields()["breaker"] == "some-database"
        return raised.message, raised.log_fields().get("rejected")

    assert await why() == ("database error", None)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(dependency.run, trio.sleep_forever)
        await wait_all_tasks_blocked()
        assert await why() == ("closed for now", "bulkhead")
        nursery.cancel_scope.cancel()
    await breaker.trip()
    assert await why() == ("closed for now", "open")
    await breaker.force_open()
    assert await why() == ("closed for now", "forced")


async def test_a_rejection_beside_a_probe_has_a_short_retry_after(
    dependency: Dependency, panel: Panel, mock_clock: MockClock
) -> None:
    for _ in range(3):
        await refused(dependency, AutoReconnect("gone"))
    mock_clock.jump(60)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(dependency.run, trio.sleep_forever)
        await trio.testing.wait_all_tasks_blocked()
        raised = await refused(dependency, AutoReconnect("gone"))
        assert (raised.code, raised.headers()["Retry-After"]) == (Code.SERVICE_UNAVAILABLE, "1")
        nursery.cancel_scope.cancel()
    assert (await panel["some-database"].snapshot()).state is State.HALF_OPEN


async def test_a_cancelled_operation_counts_neither_way(dependency: Dependency, panel: Panel) -> None:
    with trio.move_on_after(0):
        await dependency.run(trio.sleep_forever)
    counts = (await panel["some-database"].snapshot()).counts
    assert (counts["cancelled"], counts["failure"], counts["success"]) == (1, 0, 0)
