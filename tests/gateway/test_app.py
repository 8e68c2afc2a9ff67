"""The gateway on a mock clock, with scripted services: breakers, limits and its own pages."""

import httpx
import trio
import trio.testing

from actors.messages import State
from tests.gateway.running_gateway import in_process_gateway
from tests.gateway.scripted_service import DEAD, error_code


async def test_five_failures_open_the_breaker_and_one_probe_closes_it_after_60_s(
    gateway, services, autojump_clock
):
    client, auth = gateway.client(), services["auth"]
    auth.answer = DEAD
    for _ in range(5):
        assert error_code(await client.post("/auth/login", json={})) == (502, "SERVICE_UNAVAILABLE")
    rejected = await client.post("/auth/login", json={})
    assert error_code(rejected) == (503, "CIRCUIT_BREAKER_OPEN")
    assert rejected.headers["retry-after"] == "60"
    assert (await client.get("/schools", headers=gateway.issuer.headers())).status_code == 200
    await trio.sleep(30.5)
    assert (await client.post("/auth/login", json={})).headers["retry-after"] == "30"
    assert len(auth.seen) == 5
    await trio.sleep(30)
    assert (await client.get("/health")).json()["data"]["auth"]["status"] == "recovering"
    auth.answer = httpx.Response(401, json={"error": "INVALID_CREDENTIALS", "message": "no"})
    assert error_code(await client.post("/auth/login", json={})) == (401, "INVALID_CREDENTIALS")
    assert (await client.get("/health")).json()["data"]["auth"]["status"] == "healthy"


async def test_a_failure_is_counted_before_the_last_byte_of_its_response(gateway, services, autojump_clock):
    client, auth = gateway.client(), services["auth"]
    auth.answer = httpx.Response(500, content=b"oh no")
    for _ in range(4):
        await client.get("/auth/x")
    states = []

    async def send(message):
        if message.get("body"):
            states.append(gateway.panel["auth-service-http"].state)

    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/auth/x",
        "raw_path": b"/auth/x",
        "query_string": b"",
        "headers": [(b"host", b"gateway")],
        "client": ("192.0.2.1", 1),
    }
    await gateway.app(scope, trio.sleep_forever, send)
    assert states == [State.OPEN]


async def test_a_rejection_during_a_probe_has_retry_after_1(gateway, services, autojump_clock):
    client, auth = gateway.client(), services["auth"]
    auth.answer = DEAD
    for _ in range(5):
        await client.get("/auth/x")
    auth.answer, auth.takes = httpx.Response(200), 5.0
    await trio.sleep(60)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.get, "/auth/x")
        await trio.sleep(1)
        rejected = await client.get("/auth/x")
    assert error_code(rejected) == (503, "CIRCUIT_BREAKER_OPEN")
    assert rejected.headers["retry-after"] == "1"
    assert len(auth.seen) == 6


async def test_thirty_seconds_without_a_head_are_504(gateway, services, autojump_clock):
    services["auth"].takes = 31
    assert error_code(await gateway.client().get("/auth/x")) == (504, "GATEWAY_TIMEOUT")
    assert await gateway.counts() == {"failure": 1}


async def test_a_full_bulkhead_is_503_with_retry_after_and_no_failure(services, autojump_clock):
    services["auth"].takes = 5
    async with (
        in_process_gateway(services, policy={"max_concurrent": 1}) as gateway,
        trio.open_nursery() as nursery,
    ):
        client = gateway.client()
        nursery.start_soon(client.get, "/auth/x")
        await trio.sleep(1)
        refused = await client.get("/auth/x")
        assert error_code(refused) == (503, "BULKHEAD_FULL")
        assert refused.headers["retry-after"] == "1"
        assert (await gateway.snapshot()).failure_count == 0


async def test_a_full_connection_pool_is_503_and_no_failure(gateway, services, autojump_clock):
    services["auth"].answer = httpx.PoolTimeout("full")
    refused = await gateway.client().get("/auth/x")
    assert error_code(refused) == (503, "BULKHEAD_FULL")
    assert await gateway.counts() == {"ignored": 1}


async def test_an_unexpected_error_is_500_without_details_and_no_failure(gateway, services):
    services["auth"].answer = ZeroDivisionError("secret detail")
    answer = await gateway.client().get("/auth/x")
    assert error_code(answer) == (500, "INTERNAL_ERROR")
    assert "secret" not in answer.text
    assert await gateway.counts() == {"ignored": 1}


async def test_livez_readyz_metrics_and_the_redirect_to_the_docs_exist(gateway, autojump_clock):
    """The names of the metrics are fixed."""
    client = gateway.client()
    for path in ("/livez", "/readyz"):
        answer = await client.get(path)
        assert answer.status_code == 200
    metrics = (await client.get("/metrics")).text
    for name in ("auth", "school", "student"):
        assert f'circuit_breaker_state{{service="{name}-service-http"}} 0.0' in metrics
    start = await client.get("/")
    assert (start.status_code, start.headers["location"]) == (302, "/docs")


async def test_a_request_is_one_log_line_with_its_id_and_without_its_query(gateway, capsys, autojump_clock):
    await gateway.client().get("/auth/x?password=hunter2", headers={"X-Request-ID": "mine"})
    lines = [line for line in capsys.readouterr().out.splitlines() if "mine" in line]
    assert len(lines) == 1
    assert "/auth/x" in lines[0]
    assert "200" in lines[0]
    assert "hunter2" not in lines[0]
