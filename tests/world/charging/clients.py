"""Clients of a stack in which all is well: honest, slow, aborting and malicious ones, chosen at random.

Each is an async function of its Session. Its actions depend on the seed and its own number alone.
"""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import trio
from bson.errors import InvalidDocument
from pymongo.errors import DocumentTooLarge, OperationFailure

REFUSALS: dict[str, Exception] = {
    "refused by MongoDB": OperationFailure("scripted", code=2),
    "refused by a validator": OperationFailure("scripted", code=121),
    "refused by the driver": InvalidDocument("scripted"),
    "too large for the driver": DocumentTooLarge("scripted"),
    "too big a number for the driver": OverflowError("scripted"),
}
"""Values of one request that a store refuses while it serves all others."""

HOSTILE_VALUES = (
    *("9223372036854775807", "9223372036854775808", "-9223372036854775809", "1" + "0" * 400, "1e400", "-1"),
    *("NaN", "Infinity", "-Infinity", "null", "true", "[]", "{}", '{"$gt": ""}', '["a"]', "1.5", "0"),
    *('"\\u0000"', '"a\\u0000b"', '"\\ud800"', '"\\udc00x"', '"$where"', '"a.b"', '"\\uffff"', '""', '" "'),
    *('"0000-01-01"', '"2001-02-30"', '"9999-99-99"', '"abc"', '"\\ud835\\udcb3"', '"' + "x" * 2000 + '"'),
    *('"x", "_id": 7', '"x", "$set": {"a": 1}', '"x", "\\u0000": 1', '"\\u0130\\u0307@x.org"', '"x', ""),
)
"""Values in JSON, valid and invalid."""
HOSTILE_BODIES = (
    *(b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"a": NaN}', b"[" * 5000, b'"\\ud800"', b"{}" * 2),
    b'{"a": ' + b"9" * 5000 + b"}",
)
HOSTILE_IDS = (
    *("-1", "0", "9223372036854775807", "9223372036854775808", "abc", "1.0"),
    *("%00", "%ff", "1%00", "$where"),
)
OWN_PAGES = (
    *("/auth/health", "/auth/%68ealth", "/auth//health", "/auth/HEALTH", "/auth/health;x", "/auth/health/"),
    *("/auth/%2568ealth", "/auth/metrics", "/auth/breakers", "/auth/admin/breakers", "/auth/docs"),
    *("/schools/metrics", "/schools/health", "/students/health", "/students/admin/breakers"),
    *("/auth/./health", "/auth/livez"),
    *("/schools/../health", "/auth/openapi.json", "/auth/readyz%20", "/auth", "/schoolsx", "/nowhere"),
)
"""The services' own pages in spellings that could reach them, and paths that lead nowhere."""
FORGED_FIELDS = (
    ("X-Failure-Origin", "auth-database"),
    ("X-Failure-Origin", "school-service-http"),
    ("X-Handler-Failure", "1"),
    ("X-Forwarded-For", "198.51.100.{number}"),
    ("X-Forwarded-Host", "evil.example"),
    ("X-Forwarded-Proto", "gopher"),
    ("Forwarded", "for=198.51.100.{number};proto=https"),
    ("X-Request-ID", "id with spaces"),
    ("X-Request-ID", "x" * 500),
    ("X-Request-Timeout-Ms", "1"),
    ("X-Request-Timeout-Ms", "0"),
    ("Retry-After", "99"),
    ("Via", "1.1 api-gateway"),
    ("Max-Forwards", "0"),
)
FORGED_TOKENS = ("", "Bearer", "Bearer ", "Bearer x", "Bearer a.b.c", "Basic YTpi", "Bearer " + "x" * 3000)
METHODS = ("BREW", "PATCH", "TRACE", "OPTIONS", "PUT", "DELETE", "HEAD", "get", "PROPFIND")


@dataclass
class Session:
    """One client. answers: each request with its status. sent: how many names it has used."""

    http: httpx.AsyncClient
    rng: random.Random
    number: int
    answers: list[tuple[str, int]] = field(default_factory=list)
    sent: int = 0

    def name(self) -> str:
        """A text that no other request has."""
        self.sent += 1
        return f"{self.number}-{self.sent}"

    async def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        answer = await self.http.request(method, path, **more)
        self.answers.append((f"{method} {path} {str(more)[:300]}", answer.status_code))
        return answer

    async def expect(self, status: int, method: str, path: str, **more: Any) -> Any:
        """The data of an answer that has to have this status."""
        answer = await self.ask(method, path, **more)
        assert answer.status_code == status, (method, path, more, answer.status_code, answer.text)
        return answer.json().get("data")

    def school(self) -> dict[str, Any]:
        return {"registration_number": f"S-{self.name()}", "name": "North"}

    def student(self, school_id: int) -> dict[str, Any]:
        return {"roll_number": self.name(), "first_name": "Ada", "last_name": "L", "school_id": school_id}

    def account(self) -> dict[str, str]:
        email = f"ada{self.name()}@example.com"
        return {"email": email, "password": "lovelace", "first_name": "Ada", "last_name": "L"}


Client = Callable[[Session], Awaitable[None]]


async def signs_in(session: Session) -> None:
    person = session.account()
    await session.expect(201, "POST", "/auth/signup", json=person)
    held = await session.expect(200, "POST", "/auth/login", json=person)
    bearer = {"Authorization": f"Bearer {held['access_token']}"}
    await session.expect(200, "POST", "/auth/validate", headers=bearer)
    token = {"refresh_token": held["refresh_token"]}
    renewed = await session.expect(200, "POST", "/auth/refresh", json=token)
    token = {"refresh_token": renewed["refresh_token"]}
    await session.expect(200, "POST", "/auth/logout", json=token, headers=bearer)


async def keeps_records(session: Session) -> None:
    school = (await session.expect(201, "POST", "/schools", json=session.school()))["id"]
    student = (await session.expect(201, "POST", "/students", json=session.student(school)))["id"]
    await session.expect(200, "PUT", f"/schools/{school}", json={"name": "South"})
    await session.expect(200, "GET", f"/students/school/{school}")
    await session.expect(200, "GET", f"/students/{student}")
    await session.expect(200, "DELETE", f"/students/{student}")
    await session.expect(404, "GET", f"/students/{student}")


async def reads_lists(session: Session) -> None:
    for path in ("/schools", "/students", "/health", "/auth/.well-known/jwks.json"):
        await session.expect(200, "GET", path)


async def _trickled(content: bytes, pauses: list[float]) -> AsyncIterator[bytes]:
    size = -(-len(content) // len(pauses))
    for place, pause in enumerate(pauses):
        await trio.sleep(pause)
        yield content[place * size : (place + 1) * size]


def _content(session: Session, value: Any, slowest: float) -> dict[str, Any]:
    content = json.dumps(value).encode()
    pauses = [session.rng.uniform(0, slowest) for _ in range(session.rng.randint(1, 6))]
    headers = {"Content-Length": str(len(content))} if session.rng.random() < 0.5 else {}
    return {"content": _trickled(content, pauses), "headers": headers}


async def trickles_a_body(session: Session) -> None:
    """Each piece may take longer than a service has to answer."""
    await session.expect(201, "POST", "/schools", **_content(session, session.school(), 15))
    await session.expect(201, "POST", "/auth/signup", **_content(session, session.account(), 3))


async def leaves(session: Session) -> None:
    """It leaves at some moment of its request, or between two steps of the event loop."""
    for _ in range(session.rng.randint(1, 5)):
        method, path, more = session.rng.choice(
            [
                ("GET", "/schools", {}),
                ("GET", "/students/school/1", {}),
                ("POST", "/schools", {"json": session.school()}),
                ("POST", "/students", {"json": session.student(1)}),
                ("POST", "/auth/login", {"json": session.account()}),
                ("POST", "/students", _content(session, session.student(1), 3)),
                ("POST", "/auth/signup", _content(session, session.account(), 3)),
            ]
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_ask_until_cancelled, session, method, path, more, nursery)
            await trio.sleep(session.rng.choice([0.0, session.rng.uniform(0, 2)]))
            for _ in range(session.rng.randint(0, 60)):
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()


async def _ask_until_cancelled(
    session: Session, method: str, path: str, more: dict[str, Any], nursery: trio.Nursery
) -> None:
    await session.ask(method, path, **more)
    nursery.cancel_scope.cancel()


async def sends_hostile_values(session: Session) -> None:
    school, student, account = session.school(), session.student(1), session.account()
    for _ in range(session.rng.randint(1, 5)):
        method, path, body = session.rng.choice(
            [
                ("POST", "/schools", {**school, "address": "a", "phone": "1", "email": "n@x.org"}),
                ("PUT", "/schools/1", {"name": "x", "email": None}),
                ("POST", "/students", {**student, "date_of_birth": "2001-01-01", "status": "active"}),
                ("PUT", "/students/1", {"school_id": 1, "enrollment_date": "2020-01-01"}),
                ("POST", "/auth/signup", {**account, "role": "user"}),
                ("POST", "/auth/login", account),
                ("POST", "/auth/refresh", {"refresh_token": "x"}),
            ]
        )
        chosen = session.rng.choice(list(body))
        kept = json.dumps({key: value for key, value in body.items() if key != chosen})[1:-1]
        value = session.rng.choice(HOSTILE_VALUES)
        content = f'{{{kept}{", " if kept else ""}"{chosen}": {value}}}'.encode()
        await session.ask(method, path, content=content)


async def sends_hostile_bodies(session: Session) -> None:
    path = session.rng.choice(["/schools", "/students", "/auth/login", "/auth/signup", "/auth/refresh"])
    await session.expect(400, "POST", path, content=session.rng.choice(HOSTILE_BODIES))


async def asks_for_hostile_ids(session: Session) -> None:
    for _ in range(3):
        number = session.rng.choice(HOSTILE_IDS)
        path = session.rng.choice(
            [
                *(f"/schools/{number}", f"/students/{number}"),
                *(f"/students/school/{number}", f"/schools?after={number}"),
            ]
        )
        method = session.rng.choice(["GET", "GET", "DELETE", "PUT"])
        answer = await session.ask(method, path, **({"json": {"name": "x"}} if method == "PUT" else {}))
        assert answer.status_code in (200, 400, 404, 405), (method, path, answer.text)


async def spells_the_services_own_pages(session: Session) -> None:
    for path in session.rng.sample(OWN_PAGES, 4):
        answer = await session.ask(session.rng.choice(["GET", "POST"]), path)
        # httpx itself shortens this one to the page of the gateway.
        mine = path == "/schools/../health"
        assert mine or 400 <= answer.status_code < 500, (path, answer.status_code)


async def forges_fields(session: Session) -> None:
    for _ in range(3):
        chosen = session.rng.sample(FORGED_FIELDS, 3)
        fields = {name: value.format(number=session.rng.randrange(256)) for name, value in chosen}
        await session.expect(200, "GET", "/schools", headers=fields)


async def forges_tokens(session: Session) -> None:
    path = session.rng.choice(["/schools", "/students", "/students/school/1"])
    token = {"Authorization": session.rng.choice(FORGED_TOKENS)}
    await session.expect(401, session.rng.choice(["GET", "POST"]), path, headers=token)
    await session.expect(401, "POST", "/auth/validate", headers=token)


async def uses_unknown_methods(session: Session) -> None:
    # DELETE is among them, so the paths name no record of another client.
    path = session.rng.choice(["/schools", "/students/999999", "/auth/login", "/auth/signup", "/health"])
    answer = await session.ask(session.rng.choice(METHODS), path)
    assert answer.status_code < 500, (path, answer.text)


async def repeats_numbers(session: Session) -> None:
    school = session.school()
    number = (await session.expect(201, "POST", "/schools", json=school))["id"]
    await session.expect(409, "POST", "/schools", json=school)
    student = session.student(number)
    await session.expect(201, "POST", "/students", json=student)
    await session.expect(409, "POST", "/students", json=student)
    person = session.account()
    await session.expect(201, "POST", "/auth/signup", json=person)
    await session.expect(409, "POST", "/auth/signup", json={**person, "email": person["email"].upper()})


async def sends_what_stores_refuse(session: Session) -> None:
    """The contract has these answered with 500, as the handler's own error."""
    for _ in range(6):
        value = session.rng.choice(list(REFUSALS))
        fields = {"X-Forwarded-For": f"198.51.100.{session.rng.randrange(256)}"}
        school = {**session.school(), "name": value}
        await session.expect(500, "POST", "/schools", json=school, headers=fields)


HONEST: tuple[Client, ...] = (signs_in, keeps_records, reads_lists)
SLOW: tuple[Client, ...] = (trickles_a_body,)
ABORTING: tuple[Client, ...] = (leaves,)
MALICIOUS: tuple[Client, ...] = (
    *(sends_hostile_values, sends_hostile_bodies, asks_for_hostile_ids, spells_the_services_own_pages),
    *(forges_fields, forges_tokens, uses_unknown_methods, repeats_numbers, sends_what_stores_refuse),
)
CLIENTS = HONEST + SLOW + ABORTING + MALICIOUS


def choose(rng: random.Random) -> Client:
    """A client of any of the four kinds, each kind as often as the others."""
    return rng.choice(rng.choice([HONEST, SLOW, ABORTING, MALICIOUS]))
