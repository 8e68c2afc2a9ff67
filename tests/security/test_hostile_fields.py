"""No value of a body, a path or a query leads to anything but a documented 4xx."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.security.attacked_stack import LONG, AttackedStack
from tests.security.operations import Operation, operations

TEXTS = {
    "NUL": "a\0b",
    "right to left": "a\u202eb",
    "zero width": "a\u200bb",
    "half a pair": "a\ud800b",
    "the other half": "\udc00",
    "huge": "x" * 100_000,
    "an operator": {"$ne": None},
    "a list": ["a"],
    "nested": {"a": [[[[[[[[{}]]]]]]]]},
    "a number": 7,
    "a truth": True,
    "a large number": 10**400,
}
"""Texts that are hostile in every field."""
DATES = ("0000-01-01", "2001-02-30", "9999-99-99", "20010230", "2001-02-03T00:00:00Z", "-001-01-01")
IDS = (0, -1, 2**63, 10**30, 1.5, "1", "abc")
SECRETS = ("password", "refresh_token")
"""These fields are compared and never shown: any text is accepted, and is wrong."""
BODIES: dict[str, bytes] = {
    "nothing": b"",
    "not JSON": b"{",
    "a list": b"[]",
    "null": b"null",
    "no UTF-8": b'{"name": "\xff\xfe"}',
    "UTF-16": '{"name": "x"}'.encode("utf-16"),
    "NaN": b'{"name": NaN}',
    "Infinity": b'{"name": -Infinity}',
    "a key twice": b'{"reason": "a", "reason": "b", "name": "c", "name": "d"}',
    "a key twice, deep": b'{"name": {"a": 1, "a": 2}}',
    "deep": b'{"name": ' + b"[" * 20_000 + b"]" * 20_000 + b"}",
    "deep and open": b"[" * 100_000,
    "a long number": b'{"name": ' + b"9" * 5_000 + b"}",
    "two": b"{}{}",
    "a form": b"name=x&email=y",
}
PATH_VALUES = (
    *("0", "-1", "9223372036854775808", "abc", "1.0", "1e9", "%00", "1%00", "%ff", "$where", "%D9%A3"),
    *("..%2f..%2fhealth", "1%2f2", "1;x", "%20", "1%0d%0aX-Injected:%20y", "x" * 4000),
)
QUERIES = ("limit=0", "limit=1001", "limit=1e3", "limit=-1", "limit=%00", "after=x", "after=-1", "limit=")
SHARE = 1 if LONG else 3
"""In the short form each field gets a third of the values, and the next field the next third."""


@pytest.fixture(scope="module")
def school(attacked: AttackedStack) -> int:
    return attacked.new_school(attacked.ben)


@pytest.fixture(scope="module")
def found(attacked: AttackedStack) -> list[Operation]:
    return list(operations(attacked.documents()))


def hostile_values(name: str, schema: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    types = {schema.get("type"), *(one.get("type") for one in schema.get("anyOf", ()))}
    formats = {schema.get("format"), *(one.get("format") for one in schema.get("anyOf", ()))}
    for about, value in TEXTS.items():
        is_number = isinstance(value, int) and not isinstance(value, bool)
        if not (is_number and types & {"integer", "number"}) and not (name in SECRETS and about == "NUL"):
            yield about, value
    if "date" in formats:
        yield from ((f"date {value}", value) for value in DATES)
    if "integer" in types:
        yield from ((f"id {value}", value) for value in IDS)


def ask(client: httpx.Client, operation: Operation, attacked: AttackedStack, **more: Any) -> httpx.Response:
    target = more.pop("target", None) or operation.target()
    headers = attacked.admin if operation.needs_token else {}
    return client.request(operation.method, f"{operation.url}{target}", headers=headers, **more)


def is_refused(answer: httpx.Response, operation: Operation) -> bool:
    """Whether it is a documented 4xx in the envelope of a failure."""
    return (
        400 <= answer.status_code < 500
        and answer.status_code in operation.statuses
        and answer.headers["content-type"] == "application/json"
        and set(answer.json()) == {"error", "message"}
    )


def test_a_hostile_value_of_any_field_is_refused(
    attacked: AttackedStack, found: list[Operation], school: int
) -> None:
    wrong, tried = [], 0
    with attacked.client() as client:
        for operation in found:
            for number, (name, schema) in enumerate(operation.fields().items()):
                values = list(hostile_values(name, schema))
                for about, value in values[number % SHARE :: SHARE]:
                    body = json.dumps({**valid(operation, school), name: value})
                    answer = ask(client, operation, attacked, content=body)
                    tried += 1
                    if not is_refused(answer, operation):
                        wrong.append((str(operation), name, about, answer.status_code, answer.text[:200]))
    assert wrong == []
    assert tried > 300


def valid(operation: Operation, school: int) -> dict[str, Any]:
    """A body that is accepted, or refused only because its account doesn't exist."""
    known = {
        "email": "hostile@school.test",
        "password": "pass-phrase",
        "first_name": "A",
        "last_name": "B",
        "refresh_token": "no token",
        "registration_number": "R-2",
        "roll_number": "2",
        "name": "N",
        "school_id": school,
        "reason": "to see",
    }
    return {name: known[name] for name in operation.fields() if name in known}


def test_a_hostile_body_is_refused(attacked: AttackedStack, found: list[Operation]) -> None:
    wrong = []
    with attacked.client() as client:
        for operation in (one for one in found if one.fields()):
            for about, body in BODIES.items():
                answer = ask(client, operation, attacked, content=body)
                # The body of a command may be missing.
                is_allowed = about == "nothing" and "/admin/" in operation.path and answer.is_success
                if not (is_refused(answer, operation) or is_allowed):
                    wrong.append((str(operation), about, answer.status_code, answer.text[:200]))
    assert wrong == []


def test_a_hostile_path_is_refused(attacked: AttackedStack, found: list[Operation]) -> None:
    """With the answer that the document has, or with that for a path that doesn't exist."""
    wrong = []
    with attacked.client() as client:
        for operation in (one for one in found if "{" in one.path):
            for value in PATH_VALUES:
                target = operation.target(**dict.fromkeys(("number", "school", "name", "action"), value))
                answer = ask(client, operation, attacked, target=target, content=b"{}")
                known = operation.statuses | {404, 405}
                if not (400 <= answer.status_code < 500 and answer.status_code in known):
                    wrong.append((str(operation), value, answer.status_code, answer.text[:200]))
                assert "x-injected" not in answer.headers
    assert wrong == []


def test_a_hostile_query_is_refused(attacked: AttackedStack, found: list[Operation], school: int) -> None:
    wrong = []
    lists = [one for one in found if one.takes("limit")]
    with attacked.client() as client:
        for operation in lists:
            for query in QUERIES:
                target = f"{operation.target(school=school)}?{query}"
                answer = ask(client, operation, attacked, target=target)
                if not is_refused(answer, operation):
                    wrong.append((str(operation), query, answer.status_code, answer.text[:200]))
    assert wrong == []
    assert len(lists) == 6
