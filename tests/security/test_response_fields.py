"""Every page and every answer keeps browsers and caches from misusing it."""

from __future__ import annotations

import re

import httpx
import pytest

from tests.security.attacked_stack import AttackedStack
from tests.security.operations import Operation, operations

CACHED = ("text/html", "text/css", "text/javascript", "image/")
"""Pages, scripts, styles and pictures are the same for all users, and contain no user's data."""
UNSAFE = re.compile(r"unsafe-inline|unsafe-eval|\*|https?:")


def problems(answer: httpx.Response) -> list[str]:
    """The fields that are missing in the response."""
    policy = answer.headers.get("content-security-policy", "")
    kind = answer.headers.get("content-type", "")
    caches = answer.headers.get("cache-control", "")
    checks = {
        "nosniff": answer.headers.get("x-content-type-options") == "nosniff",
        "a policy": "default-src 'none'" in policy and not UNSAFE.search(policy),
        "frame-ancestors": "frame-ancestors 'none'" in policy,
        "no-referrer": answer.headers.get("referrer-policy") == "no-referrer",
        "no-store": "no-store" in caches or (answer.is_success and kind.startswith(CACHED)),
        "no name of a server": "server" not in answer.headers and "x-powered-by" not in answer.headers,
    }
    return [name for name, holds in checks.items() if not holds]


@pytest.fixture(scope="module")
def pages(attacked: AttackedStack) -> list[Operation]:
    """All calls but the stream, which has no end."""
    return [one for one in operations(attacked.documents()) if one.path != "/dashboard/events"]


@pytest.mark.parametrize("account", ["nobody", "user", "admin"])
def test_every_answer_has_the_fields(attacked: AttackedStack, pages: list[Operation], account: str) -> None:
    """Successes and refusals alike."""
    bearer = {"nobody": {}, "user": attacked.ann.bearer, "admin": attacked.admin}[account]
    with attacked.client() as client:
        found = {}
        for page in pages:
            target = f"{page.url}{page.target(name='docs.js')}"
            answer = client.request(page.method, target, headers=bearer, json={})
            if missing := problems(answer):
                found[str(page), answer.status_code] = missing
        assert found == {}


def test_the_pages_of_people_and_their_files_have_the_fields(attacked: AttackedStack) -> None:
    with attacked.client() as client:
        for page in ("/docs", "/dashboard"):
            text = client.get(page).text
            files = re.findall(r'(?:src|href)="(/[^"]+)"', text)
            assert len(files) >= 2, page
            for path in (page, *files):
                answer = client.get(path)
                assert answer.is_success, path
                assert problems(answer) == [], path


def test_the_stream_has_the_fields(attacked: AttackedStack) -> None:
    with attacked.client() as client, client.stream("GET", "/dashboard/events") as answer:
        assert answer.status_code == 200
        assert problems(answer) == []


def test_errors_of_the_protocol_have_the_fields(attacked: AttackedStack) -> None:
    """Answers of the server itself, for which no app has been called."""
    with attacked.client() as client:
        answers = [
            client.get("/nowhere"),
            client.request("BREW", "/health"),
            client.get("/schools", headers={"X-Long": "x" * 40_000}),
            client.post("/schools", headers=attacked.ann.bearer, content=bytes(11 * 2**20)),
            client.get("/health", headers={"Upgrade": "websocket", "Connection": "Upgrade"}),
        ]
        for answer in answers:
            assert "server" not in answer.headers
        assert [one.status_code for one in answers] == [404, 501, 431, 413, 426]
        wrong = {(one.request.url.path, one.status_code): problems(one) for one in answers}
        assert not any(wrong.values()), wrong
