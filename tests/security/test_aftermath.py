"""The checks that follow every attack find every damage."""

from __future__ import annotations

import pytest

from deploy.demo.ephemeral_stack import wait_for
from tests.security.attacked_stack import ADMIN_TOKEN, AttackedStack, attacked_stack


@pytest.mark.security
def test_what_is_broken_is_found() -> None:
    with attacked_stack() as broken:
        assert broken.problems() == []
        stack = broken.stack
        stack.kill("school-service")
        assert wait_for(lambda: is_replaced(broken.pids["school-service"], broken), 20)
        for text in ("Traceback (most recent call last)", ADMIN_TOKEN, "to someone@school.test"):
            with stack.config.log("auth-service").open("a") as log:
                log.write(f"{text}\n")
        stack.client.post("/admin/breakers/student-database/force_open", headers=broken.admin)
        assert stack.client.get("/students", headers=broken.admin).status_code == 503
        found = "\n".join(broken.problems())
        for expected in (
            "school-service is another process",
            "/health: ",
            "'student-database': 'OPEN'",
            'student-service: [\'circuit_breaker_calls_total{outcome="rejected"',
            "auth-service: ",
            f"auth-service has logged {ADMIN_TOKEN}",
            "auth-service has logged someone@school.test",
        ):
            assert expected in found, found


def is_replaced(pid: int, broken: AttackedStack) -> bool:
    """Whether supervisor has started the school service again."""
    try:
        return broken.stack.pid("school-service") != pid
    except LookupError:
        return False
