"""Outages as clients see them: a part fails, the rest goes on, and the part recovers by itself."""

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


async def test_five_failed_logins_open_the_breaker_and_one_probe_closes_it_after_60_s(
    stack: InProcessStack, mock_clock: MockClock
) -> None:
    """Schools go on meanwhile."""
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


async def test_a_failed_probe_opens_the_breaker_for_another_60_s(
    stack: InProcessStack, mock_clock: MockClock
) -> None:
    stack.lines["school"].cut()
    for _ in range(5):
        assert (await stack.client.get("/schools")).status_code == 502
    await advance(mock_clock, 60)
    assert (await stack.client.get("/schools")).status_code == 502
    rejected = await stack.client.get("/schools")
    assert (rejected.status_code, rejected.headers["Retry-After"]) == (503, "60")


async def test_one_of_twenty_calls_at_half_open_reaches_the_service(
    stack: InProcessStack, mock_clock: MockClock
) -> None:
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


async def test_a_database_outage_opens_the_databases_breaker_alone(
    stack: InProcessStack, mock_clock: MockClock
) -> None:
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


async def test_students_can_be_read_without_the_school_service(
    stack: InProcessStack, mock_clock: MockClock
) -> None:
    """Nothing is half-created. The breaker closes after 30 s."""
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


async def test_a_failure_of_the_schools_database_counts_on_no_breaker_between(
    stack: InProcessStack,
) -> None:
    """Neither on the student service's gRPC breaker nor on the gateway's."""
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
async def test_each_service_opens_its_own_breaker_alone(stack: InProcessStack, part: str) -> None:
    stack.lines[part].cut()
    for expected in [502] * 5 + [503]:
        assert (await stack.client.get(f"/{part}s")).status_code == expected
    other = "student" if part == "school" else "school"
    assert (await stack.client.get(f"/{other}s")).status_code == 200
    states = {name: stack.state(f"{name}-service-http") for name in ("auth", "school", "student")}
    assert [name for name, state in states.items() if state == "OPEN"] == [part]


async def test_leaving_cancels_the_calls_in_all_processes_and_counts_no_failure(
    stack: InProcessStack,
) -> None:
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


async def test_health_has_every_breaker_closed(stack: InProcessStack) -> None:
    status, health = await stack.health()
    assert status == 200
    assert health["gateway"] == {"status": "healthy"}
    assert {name: sorted(health[name]["dependencies"]) for name in ("auth", "school", "student")} == {
        "auth": ["auth-database"],
        "school": ["school-database"],
        "student": ["student-database", "student-service-grpc"],
    }
