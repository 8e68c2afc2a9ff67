"""No call that needs a token accepts one that isn't ours: at the gateway, and at a service's own port."""

from __future__ import annotations

from collections.abc import Iterator

import httpx

from tests.security.attacked_stack import ADMIN_TOKEN, LONG, PYTHON_PROCESSES, AttackedStack
from tests.security.forged_tokens import forged_tokens, good_token
from tests.security.operations import operations

ADMIN_CALLS = (
    ("get", "/admin/breakers"),
    ("get", "/admin/breakers/auth-database"),
    ("post", "/admin/breakers/auth-database/force_open"),
    ("put", "/admin/breakers/auth-database/policy"),
    ("post", "/admin/breakers/reload"),
)
"""Every process has them; only the gateway documents them."""


SHARE = 1 if LONG else 4
"""In the short form each token tries a quarter of the doors, another one than the token before it."""


def doors(attacked: AttackedStack) -> Iterator[tuple[str, str, str]]:
    """URL, method and path of every call that needs a token."""
    for operation in operations(attacked.documents()):
        if operation.needs_token:
            yield operation.url, operation.method, operation.target()
    for process in PYTHON_PROCESSES:
        for method, path in ADMIN_CALLS:
            yield attacked.url(process), method, path


def test_every_forged_token_is_refused_at_every_door(attacked: AttackedStack) -> None:
    found = sorted(set(doors(attacked)))
    assert len(found) >= 46
    wrong = []
    for number, (name, token) in enumerate(forged_tokens(attacked.stack).items()):
        field = f"Bearer {token}".encode("latin-1")
        if len(token) > 40:
            attacked.secrets.add(token[-24:])
        # Each token comes from another client: bad tokens are limited.
        with attacked.client() as client:
            for url, method, path in found[number % SHARE :: SHARE]:
                answer = client.request(method, f"{url}{path}", headers={b"Authorization": field})
                if (answer.status_code, answer.json()["error"]) != (401, "INVALID_TOKEN"):
                    wrong.append((name, method, url, path, answer.status_code))
    assert wrong == []


def test_two_tokens_are_refused_at_every_door(attacked: AttackedStack) -> None:
    """Also if both are good: two readers of a request may take different ones."""
    name, good = "Authorization", attacked.admin["Authorization"]
    two = httpx.Headers([(name, good), (name, attacked.ann.bearer["Authorization"])])
    with attacked.client() as client:
        wrong = [
            (method, url, path)
            for url, method, path in sorted(set(doors(attacked)))
            if client.request(method, f"{url}{path}", headers=two).status_code != 401
        ]
    assert wrong == []


def test_a_token_made_in_the_same_way_without_a_fault_is_accepted(attacked: AttackedStack) -> None:
    """Otherwise the test above would prove nothing."""
    field = {"Authorization": f"Bearer {good_token(attacked.stack)}"}
    with attacked.client() as client:
        assert client.get("/admin/breakers", headers=field).status_code == 200
        assert client.get("/schools", headers=field).status_code == 200
        assert client.post("/auth/validate", headers=field).status_code == 200


def test_guesses_of_admin_tokens_are_limited_for_the_client_that_makes_them(attacked: AttackedStack) -> None:
    """At the gateway and at every service; other clients and other admins are served meanwhile."""
    right = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
    for process in PYTHON_PROCESSES:
        url = f"{attacked.url(process)}/admin/breakers"
        with attacked.client() as guesser, attacked.client() as operator:
            bad = {"Authorization": "Bearer a-guess-of-the-operators-token"}
            statuses = [guesser.get(url, headers=bad).status_code for _ in range(33)]
            assert statuses == [401] * 30 + [429] * 3, process
            assert guesser.get(url, headers=right).status_code == 429
            assert guesser.get(url, headers=attacked.admin).status_code == 200
            assert operator.get(url, headers=right).status_code == 200
