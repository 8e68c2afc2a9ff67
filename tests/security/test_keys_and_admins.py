"""Signing keys are rotated, and an admin is made, while clients call: no valid token is refused."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import jwt
import pytest

from deploy.demo.ephemeral_stack import wait_for
from services.auth.signing.key_ring import MAX_AGE_SECONDS
from tests.security.attacked_stack import AttackedStack

CALLS = (("GET", "/schools?limit=1"), ("GET", "/students?limit=1"), ("POST", "/auth/validate"))


@contextmanager
def calls(attacked: AttackedStack, *bearers: dict[str, str]) -> Iterator[Counter[int]]:
    """Call during the block with these tokens, and with those of new logins; yield the statuses."""
    statuses: Counter[int] = Counter()
    over = threading.Event()
    login = {"email": attacked.ann.email, "password": attacked.ann.password}

    def run(given: dict[str, str] | None) -> None:
        with attacked.client() as client:
            while not over.is_set():
                bearer = given or new_bearer(attacked, client.post("/auth/login", json=login).json())
                for method, path in CALLS:
                    statuses[client.request(method, path, headers=bearer).status_code] += 1
                time.sleep(0.02 if given else 0.2)

    with ThreadPoolExecutor(len(bearers) + 1) as pool:
        running = [pool.submit(run, one) for one in (*bearers, None)]
        try:
            yield statuses
        finally:
            over.set()
        for one in running:
            one.result()


def new_bearer(attacked: AttackedStack, login: Any) -> dict[str, str]:
    token = login["data"]["access_token"]
    attacked.secrets |= {token[-24:], login["data"]["refresh_token"]}
    return {"Authorization": f"Bearer {token}"}


def published(attacked: AttackedStack) -> list[str]:
    """The ids of the keys in the key set."""
    return [key["kid"] for key in attacked.stack.client.get("/auth/.well-known/jwks.json").json()["keys"]]


@pytest.mark.security
def test_a_rotation_refuses_no_token(attacked: AttackedStack) -> None:
    """The second key is published within 20 s, and doesn't sign yet: every process fetches it before."""
    (before,) = published(attacked)
    with calls(attacked, attacked.ann.bearer, attacked.admin) as statuses:
        time.sleep(1)
        shown = attacked.stack.run("rotate-keys", stdin="").stdout
        assert wait_for(lambda: len(published(attacked)) == 2, MAX_AGE_SECONDS + 10)
        time.sleep(2)
        # While a rotation goes on, the command adds no third key.
        attacked.stack.run("rotate-keys", stdin="")
        time.sleep(2)
    assert set(statuses) == {200}
    assert statuses[200] > 100
    assert published(attacked)[0] == before
    new = attacked.stack.login().json()["data"]["access_token"]
    assert jwt.get_unverified_header(new)["kid"] == before
    assert "A new key is published" in shown
    for process in ("school-service", "student-service"):
        path = "/schools" if process == "school-service" else "/students"
        with attacked.client(attacked.url(process)) as client:
            assert client.get(path, headers=attacked.ann.bearer).status_code == 200


def test_an_admin_is_made_while_clients_call(attacked: AttackedStack) -> None:
    email, password = "new.head@school.test", "a new head's pass-phrase"
    attacked.secrets |= {email, password}
    with calls(attacked, attacked.ben.bearer) as statuses:
        made = attacked.stack.run("create-admin", email, stdin=f"{password}\n")
    assert password not in made.stdout + made.stderr
    assert set(statuses) == {200}
    login = attacked.stack.client.post("/auth/login", json={"email": email, "password": password})
    bearer = new_bearer(attacked, login.json())
    assert attacked.stack.client.get("/admin/breakers", headers=bearer).status_code == 200


@pytest.mark.security
def test_a_promotion_ends_earlier_logins_with_the_address(attacked: AttackedStack) -> None:
    squatter = {"email": "next.head@school.test", "password": "the squatter's pass-phrase"}
    client = attacked.stack.client
    client.post("/auth/signup", json={**squatter, "first_name": "S", "last_name": "Q"})
    before = client.post("/auth/login", json=squatter).json()
    attacked.secrets |= set(squatter.values())
    new_bearer(attacked, before)
    attacked.stack.run("create-admin", squatter["email"], stdin="the owner's pass-phrase\n")
    assert client.post("/auth/login", json=squatter).status_code == 401
    body = {"refresh_token": before["data"]["refresh_token"]}
    assert client.post("/auth/refresh", json=body).status_code == 401
