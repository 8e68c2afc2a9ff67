"""Random mixtures of clients on a healthy real stack: no breaker counts a failure."""

from __future__ import annotations

import re
import sys
from collections import Counter

import httpx
import pytest
import trio

from deploy.config import HOST
from deploy.demo.ephemeral_stack import EphemeralStack
from tests.world.charging.wire_clients import (
    STALL_SECONDS,
    WIRE_CLIENTS,
    WireClient,
    play,
    sends_what_stores_refuse,
)

pytestmark = [
    pytest.mark.resilience,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the stack's tests read /proc"),
]

SEEDS = 20
AT_ONCE = 5
AMONG = tuple(client for client in WIRE_CLIENTS if client is not sends_what_stores_refuse)
"""All clients except the one with values that only the fake repositories refuse."""
PORTS = ("GATEWAY_PORT", "AUTH_SERVICE_PORT", "SCHOOL_SERVICE_PORT", "STUDENT_SERVICE_PORT")


def failures_and_rejections(stack: EphemeralStack) -> dict[str, float]:
    """By breaker, the number of its failures and rejections."""
    found: Counter[str] = Counter()
    for port in PORTS:
        text = httpx.get(f"http://{HOST}:{stack.config.ports[port]}/metrics", trust_env=False).text
        for labels, value in re.findall(r"^circuit_breaker_calls_total\{(.*)\} (\S+)$", text, re.MULTILINE):
            if 'outcome="failure"' in labels or 'outcome="rejected"' in labels:
                found[re.findall(r'service="(.*?)"', labels)[0]] += float(value)
    return dict(found)


async def test_no_mixture_of_clients_makes_a_breaker_count_a_failure() -> None:
    with EphemeralStack(CLIENT_BODY_TIMEOUT=str(STALL_SECONDS)) as stack:
        bearer = stack.sign_up()
        for number in range(100):
            school = {"registration_number": f"N-{number}", "name": "x" * 100, "address": "\N{SNOWMAN}" * 150}
            made = stack.client.post("/schools", headers=bearer, json=school)
            assert made.status_code == 201, made.text
        assert stack.client.get("/schools/1", headers=bearer).status_code == 200
        before = failures_and_rejections(stack)
        ran: Counter[WireClient] = Counter()
        token = bearer["Authorization"].removeprefix("Bearer ")
        for first in range(0, SEEDS, AT_ONCE):
            async with trio.open_nursery() as nursery:
                for seed in range(first, first + AT_ONCE):
                    nursery.start_soon(play, stack.config.ports["GATEWAY_PORT"], token, seed, ran, AMONG)
            assert set(stack.states().values()) == {"CLOSED"}, f"seeds from {first}"
        assert set(ran) == set(AMONG)
        assert len(before) == 7
        assert failures_and_rejections(stack) == before
