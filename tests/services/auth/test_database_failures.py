"""The auth service without its database: responses and counts."""

from __future__ import annotations

import trio

from actors import Panel
from protocols.topology import AUTH_DATABASE
from tests.services.auth.auth_client import ADA, CREDENTIALS, Service, bearer


async def test_five_database_failures_open_the_breaker_and_the_sixth_call_is_rejected(
    service: Service,
) -> None:
    await service.signup()
    service.repository.fault = service.breaks
    for _ in range(5):
        answer = await service.login()
        assert (answer.status, answer.error) == (503, "DATABASE_ERROR")
        assert answer.headers["X-Failure-Origin"] == "auth-database"
    service.repository.operations.clear()
    answer = await service.login()
    assert (answer.status, answer.error) == (503, "SERVICE_UNAVAILABLE")
    assert answer.body["message"] == "authentication service temporarily unavailable"
    assert 1 <= int(answer.headers["Retry-After"]) <= 60
    assert answer.headers["X-Failure-Origin"] == "auth-database"
    assert service.repository.operations == []
    health = await service.call("GET", "/health")
    assert (health.status, health.error) == (503, "PARTIAL_OUTAGE")
    assert health.data["auth-database"]["status"] == "unhealthy"
    assert health.data["auth-database"]["circuit_breaker"]["state"] == "OPEN"


async def test_each_operation_is_charged(service: Service, panel: Panel) -> None:
    """Every call that uses the database goes through its breaker; each failure counts once."""
    await service.signup()
    session = (await service.login()).data
    service.repository.fault = service.breaks
    body, token = {"refresh_token": session["refresh_token"]}, bearer(session["access_token"])
    for count, (path, sent) in enumerate(
        [("/signup", {**ADA}), ("/login", CREDENTIALS), ("/refresh", body), ("/logout", body)], start=1
    ):
        answer = await service.call("POST", path, sent, headers=token)
        assert (answer.status, answer.error) == (503, "DATABASE_ERROR")
        assert (await panel[AUTH_DATABASE].snapshot()).failure_count == count


async def test_a_token_is_validated_without_the_database(service: Service) -> None:
    await service.signup()
    token = (await service.login()).data["access_token"]
    service.repository.fault = service.breaks
    assert (await service.validate(token)).status == 200
    assert (await service.call._client.get("/.well-known/jwks.json")).status_code == 200


async def test_the_service_starts_without_a_database(service: Service, panel: Panel) -> None:
    """Health is answered. The keys are a database error that no breaker counts."""
    service.repository.fault = service.breaks
    assert (await service.call("GET", "/health")).status == 200
    for _ in range(10):
        answer = await service.call("GET", "/.well-known/jwks.json")
        assert (answer.status, answer.error) == (503, "DATABASE_ERROR")
        assert "X-Failure-Origin" not in answer.headers
    assert (await panel[AUTH_DATABASE].snapshot()).failure_count == 0
    service.repository.fault = trio.lowlevel.checkpoint
    assert (await service.signup()).status == 201


async def test_a_failed_request_for_the_keys_is_counted_by_the_breaker_that_it_names(
    service: Service, panel: Panel
) -> None:
    """This needs a deadline, which all requests from the gateway have."""
    service.repository.fault = service.breaks
    answers = [
        await service.call("GET", "/.well-known/jwks.json", headers={"X-Request-Timeout-Ms": "9500"})
        for _ in range(6)
    ]
    assert [answer.error for answer in answers] == ["DATABASE_ERROR"] * 5 + ["SERVICE_UNAVAILABLE"]
    assert {answer.headers["X-Failure-Origin"] for answer in answers} == {AUTH_DATABASE}
    assert (await panel[AUTH_DATABASE].snapshot()).counts["failure"] == 5


async def test_leaving_cancels_the_database_operation_and_counts_neither_way(
    service: Service, panel: Panel
) -> None:
    await service.signup()
    entered, cancelled = trio.Event(), trio.Event()

    async def hangs() -> None:
        entered.set()
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            cancelled.set()
            raise

    service.repository.fault = hangs
    async with trio.open_nursery() as nursery:
        nursery.start_soon(service.login)
        await entered.wait()
        nursery.cancel_scope.cancel()
    assert cancelled.is_set()
    counts = (await panel[AUTH_DATABASE].snapshot()).counts
    assert (counts["cancelled"], counts["failure"]) == (1, 0)
