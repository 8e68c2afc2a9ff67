"""Tokens, rate limits, and paths and methods that the gateway refuses."""

import pytest
import structlog
import trio
import trio.testing

from runtime.auth import TokenVerifier
from tests.gateway.running_gateway import in_process_gateway
from tests.gateway.scripted_service import error_code


async def test_a_refused_token_is_logged_with_its_reason_and_no_breaker(gateway, autojump_clock):
    with structlog.testing.capture_logs() as logs:
        answer = await gateway.client().get("/schools", headers={"Authorization": "Bearer x.y.z"})
        await trio.testing.wait_all_tasks_blocked()
    assert error_code(answer) == (401, "INVALID_TOKEN")
    [line] = [one for one in logs if one["event"] == "request"]
    assert (line["error"], line["reason"]) == ("INVALID_TOKEN", "malformed")
    assert "breaker" not in line


@pytest.mark.parametrize("path", ["/schools", "/schools/1", "/students", "/students/school/1"])
async def test_schools_and_students_need_an_access_token(gateway, services, path, autojump_clock):
    """The service gets it too."""
    client = gateway.client()
    missing = await client.get(path)
    assert (error_code(missing), missing.headers["www-authenticate"]) == ((401, "MISSING_TOKEN"), "Bearer")
    for bad in ("Bearer x.y.z", f"Bearer {gateway.issuer.token(lifetime=-1)}"):
        invalid = await client.get(path, headers={"Authorization": bad})
        assert error_code(invalid) == (401, "INVALID_TOKEN")
    twice = [("Authorization", gateway.issuer.headers()["Authorization"])] * 2
    assert error_code(await client.get(path, headers=twice)) == (401, "INVALID_TOKEN")
    good = gateway.issuer.headers()
    assert (await client.get(path, headers=good)).status_code == 200
    [seen] = services["school"].seen + services["student"].seen
    assert seen.headers["authorization"] == good["Authorization"]
    assert seen.url.path == path


async def test_a_token_before_the_first_keys_is_503(gateway, autojump_clock):
    gateway.issuer.keys._keys = TokenVerifier()._keys
    answer = await gateway.client().get("/schools", headers=gateway.issuer.headers())
    assert error_code(answer) == (503, "SERVICE_UNAVAILABLE")
    assert answer.headers["retry-after"] == "1"


async def test_the_rate_limit_per_minute_is_for_one_address(services, autojump_clock):
    """Other addresses aren't affected. The gateway's own pages are counted apart."""
    async with in_process_gateway(services, rate_limit_per_minute=3) as gateway:
        client = gateway.client()
        assert [(await client.get("/auth/x")).status_code for _ in range(3)] == [200] * 3
        refused = await client.get("/auth/x")
        assert error_code(refused) == (429, "RATE_LIMITED")
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        assert refused.headers["ratelimit-limit"] == "3"
        assert refused.headers["ratelimit-remaining"] == "0"
        assert refused.headers["ratelimit-reset"] == refused.headers["retry-after"]
        assert refused.headers["ratelimit-policy"] == "3;w=60"
        assert (await gateway.client("192.0.2.2").get("/auth/x")).status_code == 200
        assert (await client.get("/livez")).status_code == 200
        assert len(services["auth"].seen) == 4


async def test_the_rate_limit_per_hour_is_for_one_user(services, autojump_clock):
    """From any address."""
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
async def test_an_unknown_path_is_404_with_the_error_body(gateway, path, autojump_clock):
    answer = await gateway.client().get(path, headers={"X-Request-ID": "mine"})
    assert error_code(answer) == (404, "NOT_FOUND")
    assert (answer.headers["content-type"], answer.headers["x-request-id"]) == ("application/json", "mine")


async def test_post_to_a_page_of_the_gateway_is_405(gateway, autojump_clock):
    assert error_code(await gateway.client().post("/health")) == (405, "METHOD_NOT_ALLOWED")
