"""The logs of a real stack: they contain no secrets, and a request's id in every process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx

from deploy.demo.ephemeral_stack import free_ports, wait_for
from deploy.programs import mongodb
from tests.deploy.programs import is_up, program
from tests.stack.running import RunningStack

PASSWORD = "pass-phrase-9f31"
EMAIL = "very.private@example.org"


def test_no_password_token_or_address_is_logged(running: RunningStack) -> None:
    """After valid, invalid and malformed requests with them, in queries and paths, and in an outage."""
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
    for path in ("schools", "students", "admin/breakers", "nowhere"):
        for address in (EMAIL, EMAIL.replace("@", "%2540"), EMAIL.replace("@", "%22@")):
            client.get(f"/{path}/%22{address}", headers=bearer)
        client.get(f"/{path}/very.private%2Fx@example.org", headers=bearer)
        client.get(f"/{path}/{EMAIL.replace('@', '%EF%BC%A0')}", headers=bearer)
        for glue in ("", "x", "token_"):
            client.get(f"/{path}/{glue}{session['access_token']}", headers=bearer)
            client.get(f"/{path}/{glue}{session['refresh_token']}", headers=bearer)
    client.get("/schools", headers={**bearer, "X-Request-ID": session["access_token"][:120]})
    client.get("/schools", headers={**bearer, "X-Request-ID": f"from-{EMAIL}"})
    client.post("/students", headers=bearer, json={**person, "email": EMAIL, "school_id": running.school})
    client.post("/admin/breakers/auth-database/reset", headers=running.bearer, json={"reason": "to see"})
    renewed = client.post("/auth/refresh", json={"refresh_token": session["refresh_token"]}).json()["data"]
    client.post("/auth/refresh", json={"refresh_token": session["refresh_token"]})
    running.stack.run("stop", "mongodb")
    for _ in range(7):
        client.post("/auth/login", json=person)
        client.post("/auth/refresh", json={"refresh_token": renewed["refresh_token"]})
    secrets = [
        PASSWORD,
        EMAIL.partition("@")[0],
        *session.values(),
        *renewed.values(),
        *running.bearer.values(),
    ]
    config = running.stack.config
    made = [*config.secrets.iterdir(), config.valkey_folder / "password"]
    secrets += [path.read_text().strip() for path in made]
    hidden = [one for one in secrets if isinstance(one, str)]
    assert len(hidden) == 14
    for name in running.stack.config.processes:
        log = running.stack.log(name)
        found = [line for line in log.splitlines() if any(part(one) in line for one in hidden)]
        assert found == [], name


def test_mongodb_logs_no_queries(running: RunningStack) -> None:
    """It logs the queries of slow operations, so no operation counts as slow."""
    with mongodb.connect(mongodb.own_uri(running.stack.config)) as client:
        assert client.auth.command("profile", -1)["slowms"] > 86_400_000


def test_credentials_of_a_uri_appear_nowhere(tmp_path: Path) -> None:
    """Not in the log, the pages or `just settings`, while MongoDB can't be reached."""
    secret = "p4ss-w0rd-of-the-database-0123456"
    uri = f"mongodb://root:{secret}@127.0.0.1:1/?replicaSet=rs0&authSource=admin"
    (port,) = free_ports(1)
    environment = {**os.environ, "AUTH_SERVICE_PORT": str(port), "MONGODB_URI": uri, "ADMIN_TOKEN": secret}
    log = tmp_path / "log"
    with (
        program([sys.executable, "-m", "services.auth"], log, env=environment) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client,
    ):
        assert wait_for(lambda: is_up(client), 20), log.read_text()
        for _ in range(6):
            body = {"email": EMAIL, "password": PASSWORD}
            assert client.post("/login", json=body, timeout=20).status_code == 503
        assert client.get(f"/x/{secret}").status_code == 404
        shown = [client.get(path).text for path in ("/health", "/breakers", "/metrics")]
        process.terminate()
        assert process.wait(15) == 0
    wide = {**environment, "COLUMNS": "1000"}  # so that no cell is folded
    listed = subprocess.run(
        [sys.executable, "-m", "deploy.settings"], env=wide, capture_output=True, text=True, check=True
    )
    assert "auth-database circuit breaker OPENED" in log.read_text()
    for text in (log.read_text(), *shown, listed.stdout, listed.stderr):
        assert not [one for one in (secret, EMAIL, PASSWORD) if one in text]


def part(secret: str) -> str:
    """The last characters of a secret; of a token, the end of its signature."""
    return secret.removeprefix("Bearer ")[-24:]


def test_gateway_and_service_log_the_requests_id(running: RunningStack) -> None:
    """With the breaker and the reason of a rejection."""
    stack = running.stack
    stack.run("stop", "mongodb")
    for _ in range(6):
        stack.login()
    time.sleep(1.1)  # of the rejections of a second, only the first is logged
    body = {"email": EMAIL, "password": PASSWORD}
    answer = stack.client.post("/auth/login", json=body, headers={"X-Request-ID": "follow-me"})
    assert answer.status_code == 503
    for name, expected in {
        "api-gateway": {"event": "request", "status": 503},
        "auth-service": {
            "event": "request",
            "status": 503,
            "breaker": "auth-database",
            "reason": "authentication service temporarily unavailable",
        },
    }.items():
        assert wait_for(lambda name=name, expected=expected: logged(stack.log(name), expected), 3), name  # type: ignore[misc]
    stack.run("stop", "auth-service")
    for _ in range(6):
        stack.client.post("/auth/login", json=body, headers={"X-Request-ID": "follow-me"})
    expected = {"error": "CIRCUIT_BREAKER_OPEN", "breaker": "auth-service-http", "status": 503}
    assert wait_for(lambda: logged(stack.log("api-gateway"), expected), 3)


def logged(log: str, expected: dict[str, Any]) -> bool:
    """Whether a line of this request contains all these keys and values."""
    lines = [json.loads(line) for line in log.splitlines() if '"follow-me"' in line]
    return any(expected.items() <= line.items() for line in lines)
