"""The logs of a real run: nothing secret in them, and what an operator follows a request by."""

from __future__ import annotations

import json
from typing import Any

from deploy.private import wait_for
from tests.stack.running import Running

PASSWORD = "pass-phrase-9f31"
EMAIL = "very.private@example.org"


def test_no_password_token_or_address_is_logged(running: Running) -> None:
    """After everything that carries one: good, bad, malformed, in a query, and during an outage."""
    client = running.stack.client
    person = {"email": EMAIL, "password": PASSWORD, "first_name": "Pri", "last_name": "Vate"}
    client.post("/auth/signup", json=person)
    client.post("/auth/signup", json={**person, "role": ["x"]})
    client.post("/auth/signup", content=json.dumps(person)[:-1])
    client.post("/auth/login", json={**person, "password": f"{PASSWORD}x"})
    session = client.post("/auth/login", json=person).json()["data"]
    bearer = {"Authorization": f"Bearer {session['access_token']}"}
    client.post("/auth/validate", headers=bearer)
    client.get(f"/schools?email={EMAIL}&token={session['access_token']}", headers=bearer)
    client.get("/schools", headers={"Authorization": f"Basic {PASSWORD}"})
    client.get("/admin/breakers", headers=bearer)
    client.post("/admin/breakers/auth-database/reset", headers=running.bearer, json={"reason": "to see"})
    renewed = client.post("/auth/refresh", json={"refresh_token": session["refresh_token"]}).json()["data"]
    client.post("/auth/refresh", json={"refresh_token": session["refresh_token"]})
    running.stack.run("stop", "mongodb")
    for _ in range(7):
        client.post("/auth/login", json=person)
        client.post("/auth/refresh", json={"refresh_token": renewed["refresh_token"]})
    secrets = [PASSWORD, EMAIL, *session.values(), *renewed.values(), *running.bearer.values()]
    hidden = [one for one in secrets if isinstance(one, str)]
    assert len(hidden) == 7
    for name in running.stack.layout.processes:
        log = running.stack.log(name)
        found = [line for line in log.splitlines() if any(part(one) in line for one in hidden)]
        assert found == [], name


def part(secret: str) -> str:
    """Enough of a secret to know it by: a token's end, which is its signature."""
    return secret.removeprefix("Bearer ")[-24:]


def test_a_request_is_followed_by_its_id(running: Running) -> None:
    """In the gateway and in the service: which breaker, and why it was refused."""
    stack = running.stack
    stack.run("stop", "mongodb")
    for _ in range(6):
        stack.login()
    body = {"email": EMAIL, "password": PASSWORD}
    answer = stack.client.post("/auth/login", json=body, headers={"X-Request-ID": "follow-me"})
    assert answer.status_code == 503
    for name, said in {
        "api-gateway": {"event": "request", "status": 503},
        "auth-service": {
            "event": "request",
            "status": 503,
            "breaker": "auth-database",
            "reason": "authentication service temporarily unavailable",
        },
    }.items():
        assert wait_for(lambda name=name, said=said: logged(stack.log(name), said), 3), name  # type: ignore[misc]
    stack.run("stop", "auth-service")
    for _ in range(6):
        stack.client.post("/auth/login", json=body, headers={"X-Request-ID": "follow-me"})
    said = {"error": "CIRCUIT_BREAKER_OPEN", "breaker": "auth-service-http", "status": 503}
    assert wait_for(lambda: logged(stack.log("api-gateway"), said), 3)


def logged(log: str, said: dict[str, Any]) -> bool:
    """Whether a line of this request says all that."""
    lines = [json.loads(line) for line in log.splitlines() if '"follow-me"' in line]
    return any(said.items() <= line.items() for line in lines)
