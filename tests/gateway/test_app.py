"""The gateway on a mock clock, its services scripted: stories about breakers, limits and pages."""

from collections.abc import AsyncIterator

import httpx
import pytest
import structlog
import trio
import trio.testing

from actors.messages import State
from gateway.pages.health import dependencies, is_outage
from gateway.routes import STUDENT
from gateway.settings import GatewaySettings
from runtime.auth import TokenVerifier
from runtime.config.settings import complaints
from tests.gateway.running_gateway import RunningGateway, in_process_gateway


class Scripted(httpx.AsyncBaseTransport):
    """A service that answers as its `answer` says: a response, or an exception to raise."""

    def __init__(self):
        self.answer = httpx.Response(200, json={"message": "ok", "data": None})
        self.documents = {}
        self.seen = []
        self.takes = 0.0

    async def handle_async_request(self, request):
        path = request.url.path
        if path in self.documents:
            return self._fresh(self.documents[path])
        if path in ("/health", "/openapi.json"):
            raise httpx.ConnectError("down")
        self.seen.append(request)
        await trio.sleep(self.takes)
        return self._fresh(self.answer)

    def _fresh(self, answer):
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(
            answer.status_code, headers=answer.headers, stream=httpx.ByteStream(answer.content)
        )


@pytest.fixture
def services():
    return {name: Scripted() for name in ("auth", "school", "student")}


@pytest.fixture
async def gateway(services, autojump_clock) -> AsyncIterator[RunningGateway]:
    async with in_process_gateway(services) as built:
        yield built


def code(response):
    return response.status_code, response.json()["error"]


DEAD = httpx.ConnectError("refused")


async def test_break_reject_recover(gateway, services, autojump_clock):
    """Fail five times, rejected; sixty seconds later one probe, and closed again."""
    client, auth = gateway.client(), services["auth"]
    auth.answer = DEAD
    for _ in range(5):
        assert code(await client.post("/auth/login", json={})) == (502, "SERVICE_UNAVAILABLE")
    rejected = await client.post("/auth/login", json={})
    assert code(rejected) == (503, "CIRCUIT_BREAKER_OPEN")
    assert rejected.headers["retry-after"] == "60"
    assert (await client.get("/schools", headers=gateway.issuer.headers())).status_code == 200
    await trio.sleep(30.5)
    assert (await client.post("/auth/login", json={})).headers["retry-after"] == "30"
    assert len(auth.seen) == 5
    await trio.sleep(30)
    assert (await client.get("/health")).json()["data"]["auth"]["status"] == "recovering"
    auth.answer = httpx.Response(401, json={"error": "INVALID_CREDENTIALS", "message": "no"})
    assert code(await client.post("/auth/login", json={})) == (401, "INVALID_CREDENTIALS")
    assert (await client.get("/health")).json()["data"]["auth"]["status"] == "healthy"


async def test_whoever_sees_the_end_sees_it_counted(gateway, services, autojump_clock):
    """The fifth failure has opened the breaker before the last byte of its answer is sent."""
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


async def test_half_open_rejections_say_when(gateway, services, autojump_clock):
    """While a probe is under way nobody knows how long it takes: Retry-After is 1."""
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
    assert code(rejected) == (503, "CIRCUIT_BREAKER_OPEN")
    assert rejected.headers["retry-after"] == "1"
    assert len(auth.seen) == 6


async def test_too_slow(gateway, services, autojump_clock):
    """Thirty seconds without a head: 504."""
    services["auth"].takes = 31
    assert code(await gateway.client().get("/auth/x")) == (504, "GATEWAY_TIMEOUT")
    assert await gateway.counts() == {"failure": 1}


async def test_bulkhead(services, autojump_clock):
    """All places taken: 503 BULKHEAD_FULL with Retry-After, and no failure."""
    services["auth"].takes = 5
    async with (
        in_process_gateway(services, policy={"max_concurrent": 1}) as gateway,
        trio.open_nursery() as nursery,
    ):
        client = gateway.client()
        nursery.start_soon(client.get, "/auth/x")
        await trio.sleep(1)
        refused = await client.get("/auth/x")
        assert code(refused) == (503, "BULKHEAD_FULL")
        assert refused.headers["retry-after"] == "1"
        assert (await gateway.snapshot()).failure_count == 0


async def test_full_transport_is_no_failure(gateway, services, autojump_clock):
    """That we have no connection left says nothing of the upstream."""
    services["auth"].answer = httpx.PoolTimeout("full")
    refused = await gateway.client().get("/auth/x")
    assert code(refused) == (503, "BULKHEAD_FULL")
    assert await gateway.counts() == {"ignored": 1}


async def test_a_bug_is_500_and_no_failure(gateway, services):
    """What nobody foresaw is answered without a trace of it, and not charged to the upstream."""
    services["auth"].answer = ZeroDivisionError("secret detail")
    answer = await gateway.client().get("/auth/x")
    assert code(answer) == (500, "INTERNAL_ERROR")
    assert "secret" not in answer.text
    assert await gateway.counts() == {"ignored": 1}


async def test_the_log_says_why_a_token_is_refused_and_names_no_breaker(gateway, autojump_clock):
    with structlog.testing.capture_logs() as logs:
        answer = await gateway.client().get("/schools", headers={"Authorization": "Bearer x.y.z"})
        await trio.testing.wait_all_tasks_blocked()
    assert code(answer) == (401, "INVALID_TOKEN")
    [line] = [one for one in logs if one["event"] == "request"]
    assert (line["error"], line["reason"]) == ("INVALID_TOKEN", "malformed")
    assert "breaker" not in line


@pytest.mark.parametrize("path", ["/schools", "/schools/1", "/students", "/students/school/1"])
async def test_tokens_are_needed(gateway, services, path, autojump_clock):
    """Schools and students need an access token; the service gets it too."""
    client = gateway.client()
    missing = await client.get(path)
    assert (code(missing), missing.headers["www-authenticate"]) == ((401, "MISSING_TOKEN"), "Bearer")
    for bad in ("Bearer x.y.z", f"Bearer {gateway.issuer.token(lifetime=-1)}"):
        invalid = await client.get(path, headers={"Authorization": bad})
        assert code(invalid) == (401, "INVALID_TOKEN")
    twice = [("Authorization", gateway.issuer.headers()["Authorization"])] * 2
    assert code(await client.get(path, headers=twice)) == (401, "INVALID_TOKEN")
    good = gateway.issuer.headers()
    assert (await client.get(path, headers=good)).status_code == 200
    [seen] = services["school"].seen + services["student"].seen
    assert seen.headers["authorization"] == good["Authorization"]
    assert seen.url.path == path


async def test_no_keys_yet(gateway, autojump_clock):
    """Before the auth service was ever reached no token can be checked: 503, not 401."""
    gateway.issuer.keys._keys = TokenVerifier()._keys
    answer = await gateway.client().get("/schools", headers=gateway.issuer.headers())
    assert code(answer) == (503, "SERVICE_UNAVAILABLE")
    assert answer.headers["retry-after"] == "1"


async def test_limit_by_address(services, autojump_clock):
    """So many requests a minute from an address; others aren't concerned, nor are the gateway's own pages."""
    async with in_process_gateway(services, rate_limit_per_minute=3) as gateway:
        client = gateway.client()
        assert [(await client.get("/auth/x")).status_code for _ in range(3)] == [200] * 3
        refused = await client.get("/auth/x")
        assert code(refused) == (429, "RATE_LIMITED")
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        assert refused.headers["ratelimit-limit"] == "3"
        assert refused.headers["ratelimit-remaining"] == "0"
        assert refused.headers["ratelimit-reset"] == refused.headers["retry-after"]
        assert refused.headers["ratelimit-policy"] == "3;w=60"
        assert (await gateway.client("192.0.2.2").get("/auth/x")).status_code == 200
        assert (await client.get("/livez")).status_code == 200
        assert len(services["auth"].seen) == 4


async def test_limit_by_user(services, autojump_clock):
    """So many requests an hour of a user, from whichever address."""
    async with in_process_gateway(services, rate_limit_per_hour=2) as gateway:
        headers = gateway.issuer.headers()
        answers = [await gateway.client(f"192.0.2.{n}").get("/schools", headers=headers) for n in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert answers[2].headers["ratelimit-policy"] == "2;w=3600"


@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        "/openapi.json",
        "/auth",
        "/health/x",
        "/docs/assets/x.js",
        "/docs/assets/",
    ],
)
async def test_not_found(gateway, path, autojump_clock):
    """Anything else: an envelope with 404."""
    answer = await gateway.client().get(path, headers={"X-Request-ID": "mine"})
    assert code(answer) == (404, "NOT_FOUND")
    assert (answer.headers["content-type"], answer.headers["x-request-id"]) == ("application/json", "mine")


async def test_wrong_method(gateway, autojump_clock):
    """The gateway's own pages are there to be read."""
    assert code(await gateway.client().post("/health")) == (405, "METHOD_NOT_ALLOWED")


async def test_own_pages(gateway, autojump_clock):
    """livez, readyz, metrics with the fixed names, and the way to the documentation."""
    client = gateway.client()
    for path in ("/livez", "/readyz"):
        answer = await client.get(path)
        assert answer.status_code == 200
    metrics = (await client.get("/metrics")).text
    for name in ("auth", "school", "student"):
        assert f'circuit_breaker_state{{service="{name}-service-http"}} 0.0' in metrics
    start = await client.get("/")
    assert (start.status_code, start.headers["location"]) == (302, "/docs")


REPORT = {"status": "healthy", "circuit_breaker": {"state": "CLOSED", "failure_count": 0}}
BROKEN = {"status": "unhealthy", "circuit_breaker": {"state": "OPEN", "failure_count": 5}}


async def test_health(gateway, services, autojump_clock):
    """Every part with its own status; what a service doesn't say is unknown; nothing is counted."""
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


async def test_health_of_a_partial_outage(gateway, services, autojump_clock):
    """A service's broken dependency makes the whole answer 503, though the gateway's breaker is closed."""
    body = {"error": "PARTIAL_OUTAGE", "message": "m", "data": {"school-database": BROKEN}}
    services["school"].documents["/health"] = httpx.Response(503, json=body)
    answer = await gateway.client().get("/health")
    assert (code(answer), answer.json()["message"]) == (
        (503, "PARTIAL_OUTAGE"),
        "Some services are unhealthy",
    )
    school = answer.json()["data"]["school"]
    assert (school["status"], school["dependencies"]) == ("healthy", {"school-database": BROKEN})


async def test_health_waits_a_second_for_all(services, autojump_clock):
    """Services that hang are asked side by side, and given up together."""

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
def test_unusable_reports(report):
    """Whatever a service sends in the place of its health, the keys are there."""
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
def test_is_outage(status, below, outage):
    """Unhealthy anywhere; recovering and unknown are neither."""
    data = {
        "gateway": {"status": "healthy"},
        "auth": {"status": status, "dependencies": {"x": {"status": below}}},
    }
    assert is_outage(data) is outage


def document(path, schema):
    """An OpenAPI document with one operation."""
    answer = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Item"}}}}
    paths = {path: {"get": {"responses": {"200": answer}}}, "/livez": {"get": {"responses": {}}}}
    return {"openapi": "3.1.0", "paths": paths, "components": {"schemas": {"Item": {"title": schema}}}}


async def test_docs(gateway, services, autojump_clock):
    """Every path is there as it is outside, and each reference leads to its own service's schema."""
    for name, path in (("auth", "/login"), ("school", "/schools/{id}"), ("student", "/students")):
        services[name].documents["/openapi.json"] = httpx.Response(200, json=document(path, name))
    merged = (await gateway.client().get("/docs/openapi.json")).json()
    assert sorted(merged["paths"]) == ["/auth/livez", "/auth/login", "/schools/{id}", "/students"]
    for path, name, needs_token in (("/auth/login", "auth", False), ("/students", "student", True)):
        operation = merged["paths"][path]["get"]
        schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
        assert schema == {"$ref": f"#/components/schemas/{name}.Item"}
        assert merged["components"]["schemas"][f"{name}.Item"] == {"title": name}
        assert ("security" in operation) is needs_token


async def test_docs_survive_a_service(gateway, services, autojump_clock):
    """What was fetched once is still shown while its service is down, and renewed when it is back."""
    client, school = gateway.client(), services["school"]
    school.documents["/openapi.json"] = httpx.Response(200, json=document("/schools", "old"))
    await client.get("/docs/openapi.json")
    school.documents["/openapi.json"] = DEAD
    await trio.sleep(120)
    assert "/schools" in (await client.get("/docs/openapi.json")).json()["paths"]
    school.documents["/openapi.json"] = httpx.Response(200, json=document("/schools/new", "new"))
    await trio.sleep(120)
    assert "/schools/new" in (await client.get("/docs/openapi.json")).json()["paths"]


async def test_docs_page_needs_nothing_from_elsewhere(gateway, autojump_clock):
    """The page and all it refers to come from here."""
    client = gateway.client()
    page = await client.get("/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "http://" not in page.text
    assert "https://" not in page.text
    references = [part.split('"')[0] for part in page.text.replace('href="', 'src="').split('src="')[1:]]
    assert len(references) == 5
    for reference in references:
        asset = await client.get(reference)
        assert asset.status_code == 200
        assert len(asset.content) > 100


async def test_request_lines_in_the_log(gateway, capsys, autojump_clock):
    """One line a request, with its id and without its query."""
    await gateway.client().get("/auth/x?password=hunter2", headers={"X-Request-ID": "mine"})
    lines = [line for line in capsys.readouterr().out.splitlines() if "mine" in line]
    assert len(lines) == 1
    assert "/auth/x" in lines[0]
    assert "200" in lines[0]
    assert "hunter2" not in lines[0]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GATEWAY_PORT", "x"),
        ("GATEWAY_PORT", "70000"),
        ("GATEWAY_WORKERS", "0"),
        ("RATE_LIMIT_PER_MINUTE", "0"),
        ("RATE_LIMIT_PER_HOUR", "many"),
        ("UPSTREAM_TIMEOUT", "0"),
        ("UPSTREAM_TIMEOUT", "nan"),
        ("UPSTREAM_IDLE_TIMEOUT", "-1"),
        ("MAX_BODY_BYTES", "0"),
        ("MAX_HEADER_BYTES", "100"),
        ("MAX_CONNECTIONS", "0"),
        ("CLIENT_HEADER_TIMEOUT", "0"),
        ("CLIENT_BODY_TIMEOUT", "-1"),
        ("CLIENT_WRITE_TIMEOUT", "x"),
        ("CLIENT_IDLE_TIMEOUT", "inf"),
        ("TRUSTED_PROXIES", "localhost"),
    ],
)
def test_bad_settings(monkeypatch, name, value):
    """A value that can't be used stops the start and names the variable."""
    monkeypatch.setenv(name, value)
    with pytest.raises(ValueError) as caught:
        GatewaySettings()
    [line] = complaints(GatewaySettings, caught.value)
    assert line.startswith(f"setting {name}: ")
