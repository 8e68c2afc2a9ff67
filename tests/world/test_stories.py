"""Outages as their victims see them: a part fails, the rest goes on, and it mends by itself."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import structlog
import trio
from pymongo.errors import AutoReconnect
from structlog.testing import capture_logs
from trio.testing import MockClock, wait_all_tasks_blocked

from actors.testing import advance
from tests.world.in_process_stack import InProcessStack, open_in_process_stack


@pytest.fixture
async def stack(mock_clock: MockClock) -> AsyncIterator[InProcessStack]:
    structlog.reset_defaults()
    async with open_in_process_stack() as opened:
        await opened.sign_in()
        yield opened


def lines(logs: list[dict[str, object]]) -> list[object]:
    return [entry["event"] for entry in logs if str(entry["event"]).startswith("[CIRCUIT_BREAKER]")]


async def test_the_auth_service_stops_and_comes_back(stack: InProcessStack, mock_clock: MockClock) -> None:
    """Five logins fail, the sixth is rejected, schools go on; 60 s later one probe closes it."""
    with capture_logs() as logs:
        stack.lines["auth"].cut()
        answers = [await stack.login() for _ in range(6)]
        assert [answer.status_code for answer in answers] == [502] * 5 + [503]
        assert answers[0].json() == {
            "error": "SERVICE_UNAVAILABLE",
            "message": "Target service is unavailable",
        }
        assert answers[5].json() == {
            "error": "CIRCUIT_BREAKER_OPEN",
            "message": "Service is temporarily unavailable due to circuit breaker",
        }
        assert answers[5].headers["Retry-After"] == "60"
        assert (await stack.client.get("/schools")).status_code == 200
        status, health = await stack.health()
        assert (status, health["auth"]["status"], health["school"]["status"]) == (503, "unhealthy", "healthy")
        assert health["auth"]["circuit_breaker"]["state"] == "OPEN"
        assert health["auth"]["dependencies"]["auth-database"]["status"] == "unknown"
        await advance(mock_clock, 60)
        status, health = await stack.health()
        assert (status, health["auth"]["status"]) == (200, "recovering")
        stack.lines["auth"].mend()
        assert (await stack.login()).status_code == 200
        assert stack.state("auth-service-http") == "CLOSED"
        await wait_all_tasks_blocked()
    assert lines(logs) == [
        "[CIRCUIT_BREAKER] auth-service-http circuit breaker OPENED: max failures reached",
        "[CIRCUIT_BREAKER] auth-service-http circuit breaker HALF_OPEN: attempting recovery",
        "[CIRCUIT_BREAKER] auth-service-http circuit breaker CLOSED: recovery successful",
    ]


async def test_a_failed_probe_opens_again_for_as_long(stack: InProcessStack, mock_clock: MockClock) -> None:
    """The first call after the wait decides; nobody else is risked."""
    stack.lines["school"].cut()
    for _ in range(5):
        assert (await stack.client.get("/schools")).status_code == 502
    await advance(mock_clock, 60)
    assert (await stack.client.get("/schools")).status_code == 502
    rejected = await stack.client.get("/schools")
    assert (rejected.status_code, rejected.headers["Retry-After"]) == (503, "60")


async def test_of_twenty_at_half_open_one_reaches_the_service(
    stack: InProcessStack, mock_clock: MockClock
) -> None:
    """The other nineteen are told to come back."""
    stack.lines["auth"].cut()
    for _ in range(5):
        await stack.login()
    stack.lines["auth"].mend()
    await advance(mock_clock, 60)
    passed = stack.lines["auth"].passed
    statuses = []

    async def one() -> None:
        statuses.append((await stack.login()).status_code)

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(one)
    assert sorted(statuses) == [200] + [503] * 19
    assert stack.lines["auth"].passed == passed + 1


async def test_a_database_outage_is_charged_to_its_own_breaker(
    stack: InProcessStack, mock_clock: MockClock
) -> None:
    """Six logins without MongoDB open auth-database; the gateway's breaker stays closed."""

    async def down() -> None:
        raise AutoReconnect("gone")

    works, stack.accounts.fault = stack.accounts.fault, down
    answers = [await stack.login() for _ in range(6)]
    assert [answer.status_code for answer in answers] == [503] * 6
    assert [answer.json()["error"] for answer in answers] == ["DATABASE_ERROR"] * 5 + ["SERVICE_UNAVAILABLE"]
    assert answers[5].json()["message"] == "authentication service temporarily unavailable"
    assert answers[5].headers["Retry-After"] == "60"
    assert not any("X-Failure-Origin" in answer.headers for answer in answers)
    assert (stack.state("auth-database"), stack.state("auth-service-http")) == ("OPEN", "CLOSED")
    status, health = await stack.health()
    assert (status, health["auth"]["status"]) == (503, "healthy")
    assert health["auth"]["dependencies"]["auth-database"]["circuit_breaker"]["state"] == "OPEN"
    await advance(mock_clock, 60)
    stack.accounts.fault = works
    assert (await stack.login()).status_code == 200
    assert stack.state("auth-database") == "CLOSED"


async def test_without_the_school_service_students_stay_readable(
    stack: InProcessStack, mock_clock: MockClock
) -> None:
    """Three checks fail, then the breaker answers; nothing is half-created; 30 s later it mends."""
    school = await stack.add_school()
    assert (await stack.add_student(school, "R-1")).status_code == 201
    stack.grpc.up = False
    answers = [await stack.add_student(school, f"X-{number}") for number in range(4)]
    assert [answer.status_code for answer in answers] == [503] * 4
    assert [(answer.json()["error"], answer.json()["message"]) for answer in answers] == [
        *[("SCHOOL_SERVICE_ERROR", "failed to validate school")] * 3,
        ("SERVICE_UNAVAILABLE", "school service temporarily unavailable"),
    ]
    assert answers[3].headers["Retry-After"] == "30"
    assert (stack.state("student-service-grpc"), stack.state("student-service-http")) == ("OPEN", "CLOSED")
    for path in ("/students", "/students/1", f"/students/school/{school}"):
        assert (await stack.client.get(path)).status_code == 200
    assert len(stack.students.records) == 1
    await advance(mock_clock, 30)
    assert stack.state("student-service-grpc") == "HALF_OPEN"
    stack.grpc.up = True
    assert (await stack.add_student(school, "R-2")).status_code == 201
    assert stack.state("student-service-grpc") == "CLOSED"


async def test_a_fault_behind_the_school_service_is_charged_to_nobody_on_the_way(
    stack: InProcessStack,
) -> None:
    """The school service's database fails: neither the student's gRPC breaker nor any gateway's counts it."""
    school = await stack.add_school()
    stack.schools.faults.fail()
    answers = [await stack.add_student(school, f"X-{number}") for number in range(6)]
    assert [answer.json()["error"] for answer in answers] == ["SCHOOL_SERVICE_ERROR"] * 6
    assert stack.state("school-database") == "OPEN"
    for breaker in ("student-service-grpc", "student-service-http", "school-service-http"):
        assert stack.state(breaker) == "CLOSED", breaker
    assert (await stack.panels["student"]["student-service-grpc"].snapshot()).counts["ignored"] == 6


async def test_schools_and_students_work_while_the_auth_service_is_down(stack: InProcessStack) -> None:
    """Tokens are verified with the keys at hand."""
    stack.lines["auth"].cut()
    school = await stack.add_school()
    assert (await stack.add_student(school, "R-1")).status_code == 201


@pytest.mark.parametrize("part", ["school", "student"])
async def test_any_service_trips_its_own_breaker_only(stack: InProcessStack, part: str) -> None:
    """The others stay closed and go on answering."""
    stack.lines[part].cut()
    for expected in [502] * 5 + [503]:
        assert (await stack.client.get(f"/{part}s")).status_code == expected
    other = "student" if part == "school" else "school"
    assert (await stack.client.get(f"/{other}s")).status_code == 200
    states = {name: stack.state(f"{name}-service-http") for name in ("auth", "school", "student")}
    assert [name for name, state in states.items() if state == "OPEN"] == [part]


async def test_a_client_that_leaves_cancels_everything_behind_it(stack: InProcessStack) -> None:
    """Gateway, service and database operation end with the caller; no breaker counts it."""
    stack.schools.faults.delay = 1000
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stack.client.get, "/schools")
            while not stack.schools.faults.running:
                await trio.lowlevel.checkpoint()
            scope.cancel()
    await wait_all_tasks_blocked()
    assert stack.schools.faults.running == 0
    for panel, breaker in (("gateway", "school-service-http"), ("school", "school-database")):
        snapshot = await stack.panels[panel][breaker].snapshot()
        assert (snapshot.counts["failure"], snapshot.counts["cancelled"], snapshot.in_flight) == (0, 1, 0)


async def test_all_is_well_says_health(stack: InProcessStack) -> None:
    """Every breaker of the stack is there, closed."""
    status, health = await stack.health()
    assert status == 200
    assert health["gateway"] == {"status": "healthy"}
    assert {name: sorted(health[name]["dependencies"]) for name in ("auth", "school", "student")} == {
        "auth": ["auth-database"],
        "school": ["school-database"],
        "student": ["student-database", "student-service-grpc"],
    }
