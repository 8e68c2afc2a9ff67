"""The health of the gateway, of its services, and of their dependencies."""

import httpx
import pytest
import trio
import trio.testing

from gateway.pages.health import dependencies, is_outage
from gateway.routes import STUDENT
from tests.gateway.running_gateway import in_process_gateway
from tests.gateway.scripted_service import error_code

REPORT = {"status": "healthy", "circuit_breaker": {"state": "CLOSED", "failure_count": 0}}


BROKEN = {"status": "unhealthy", "circuit_breaker": {"state": "OPEN", "failure_count": 5}}


async def test_health_has_every_service_and_its_dependencies(gateway, services, autojump_clock):
    """A dependency that the service doesn't report is unknown. Nothing is counted."""
    services["auth"].documents["/health"] = httpx.Response(
        200, json={"message": "m", "data": {"auth-database": REPORT}}
    )
    answer = await gateway.client().get("/health")
    assert (answer.status_code, answer.json()["message"]) == (200, "All services are healthy")
    data = answer.json()["data"]
    assert list(data) == ["gateway", "auth", "school", "student"]
    assert data["gateway"] == {"status": "healthy"}
    assert data["auth"]["dependencies"] == {"auth-database": REPORT}
    assert (data["auth"]["status"], data["auth"]["circuit_breaker"]["state"]) == ("healthy", "CLOSED")
    assert data["student"]["dependencies"] == {
        "student-database": {"status": "unknown"},
        "student-service-grpc": {"status": "unknown"},
    }
    assert await gateway.counts() == {}


async def test_an_unhealthy_dependency_makes_health_503(gateway, services, autojump_clock):
    """Although the gateway's breaker is closed."""
    body = {"error": "PARTIAL_OUTAGE", "message": "m", "data": {"school-database": BROKEN}}
    services["school"].documents["/health"] = httpx.Response(503, json=body)
    answer = await gateway.client().get("/health")
    assert error_code(answer) == (503, "PARTIAL_OUTAGE")
    assert answer.json()["message"] == "Some services are unhealthy"
    school = answer.json()["data"]["school"]
    assert (school["status"], school["dependencies"]) == ("healthy", {"school-database": BROKEN})


async def test_health_waits_a_second_for_all_services_together(services, autojump_clock):
    class Hanging(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request):
            await trio.sleep_forever()

    async with in_process_gateway(dict.fromkeys(services, Hanging())) as gateway:
        start = trio.current_time()
        answer = await gateway.client().get("/health")
        assert (answer.status_code, trio.current_time() - start) == (200, 1.0)


@pytest.mark.parametrize(
    "report",
    [
        None,
        [],
        {},
        {"data": 3},
        {"data": {"student-database": "up"}},
        {"data": {"student-database": {"status": "fine"}}},
    ],
)
def test_an_invalid_report_leaves_all_dependencies_unknown(report):
    assert dependencies(STUDENT, report) == {
        "student-database": {"status": "unknown"},
        "student-service-grpc": {"status": "unknown"},
    }


@pytest.mark.parametrize(
    ("status", "below", "outage"),
    [
        ("healthy", "healthy", False),
        ("recovering", "unknown", False),
        ("unhealthy", "healthy", True),
        ("healthy", "unhealthy", True),
    ],
)
def test_only_an_unhealthy_part_is_an_outage(status, below, outage):
    data = {
        "gateway": {"status": "healthy"},
        "auth": {"status": status, "dependencies": {"x": {"status": below}}},
    }
    assert is_outage(data) is outage
