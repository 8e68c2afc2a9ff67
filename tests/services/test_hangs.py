"""A hang costs a known time: each process waits less for its dependency than its caller waits for it."""

from __future__ import annotations

from pathlib import Path

from gateway.settings import GatewaySettings
from services.deadlines import CALLER_SHARE
from services.mongo.client import OPERATION_SECONDS
from services.student.school_client import CALL_SECONDS

GUIDE = (Path(__file__).parents[2] / "docs/how-to/break-and-mend.md").read_text()
GATEWAY_SHARE = 0.95
"""Of UPSTREAM_TIMEOUT, in X-Request-Timeout-Ms: gateway/proxy/forward.py."""


def test_each_wait_is_shorter_than_its_callers() -> None:
    gateway = GatewaySettings.model_fields["upstream_timeout"].default
    assert gateway <= 10
    assert gateway * GATEWAY_SHARE * CALLER_SHARE > OPERATION_SECONDS
    # Creating a student calls the school service, and then writes.
    assert gateway * GATEWAY_SHARE * CALLER_SHARE > CALL_SECONDS + OPERATION_SECONDS
    # The school service calls MongoDB within the caller's deadline.
    assert CALL_SECONDS * CALLER_SHARE < OPERATION_SECONDS


def test_the_guide_has_the_same_numbers() -> None:
    gateway = GatewaySettings.model_fields["upstream_timeout"].default
    idle = GatewaySettings.model_fields["upstream_idle_timeout"].default
    for seconds, failures in ((gateway, 5), (OPERATION_SECONDS, 5), (CALL_SECONDS, 3)):
        assert f"| {seconds:g} s" in GUIDE
        assert f"| {failures} × {seconds:g} s = {failures * seconds:g} s |" in GUIDE
    assert f"`UPSTREAM_IDLE_TIMEOUT` ({idle:g} s)" in GUIDE
