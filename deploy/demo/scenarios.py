"""`just demo`: break, reject, recover. The walk-through on a real stack of its own, told step by step."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import httpx
from rich.console import Console
from rich.panel import Panel as Frame

from deploy.demo.ephemeral_stack import EphemeralStack, wait_for
from deploy.terminal import health
from protocols.topology import (
    API_GATEWAY,
    AUTH_DATABASE,
    AUTH_SERVICE,
    AUTH_SERVICE_HTTP,
    MONGODB,
    SCHOOL_SERVICE,
    SCHOOL_SERVICE_HTTP,
    STUDENT_SERVICE,
    STUDENT_SERVICE_GRPC,
)

RESET_TIMEOUT = 4.0
"""Seconds the demo's breakers stay open; sixty by default."""

console = Console(highlight=False, soft_wrap=True)


class DemoFailed(Exception):
    """The stack did something else than the story says."""


@dataclass(frozen=True)
class OutageScenario:
    """One outage. `answers`: (status, code) of each call while it lasts; `then`: the status after it.

    guard: the process that owns the breaker. innocent: a breaker that must stay closed throughout.
    """

    title: str
    process: str
    breaker: str
    guard: str
    innocent: str
    what: str
    call: Callable[[], httpx.Response]
    answers: Sequence[tuple[int, str]]
    then: int
    still_works: Sequence[tuple[str, Callable[[], httpx.Response]]] = ()


class ScenarioRunner:
    """Tells the acts on a stack; raises DemoFailed at the first thing that goes otherwise."""

    def __init__(self, stack: EphemeralStack) -> None:
        self._stack = stack

    def play(self, act: OutageScenario) -> None:
        """Break it, see it rejected, see it recover."""
        console.rule(f"[bold]{act.title}")
        self._innocent(act)
        self._just("stop", act.process)
        self._reject(act)
        self._show(act)
        self._mend(act)

    def _reject(self, act: OutageScenario) -> None:
        for number, (status, code) in enumerate(act.answers, 1):
            began = time.monotonic()
            answer = act.call()
            body, wait = answer.json(), answer.headers.get("Retry-After")
            took = f"{(time.monotonic() - began) * 1000:.0f} ms"
            seen = (answer.status_code, str(body.get("error")))
            console.print(
                f"  {act.what} {number}: [bold]{seen[0]} {seen[1]}[/] “{body['message']}”"
                + (f", Retry-After {wait}" if wait else "")
                + f"  [dim]{took}[/]"
            )
            expect(f"{act.what} {number}", (status, code), seen)
        limit = int(RESET_TIMEOUT) + 1
        expect("Retry-After of the last", True, bool(wait and wait.isdecimal() and 1 <= int(wait) <= limit))
        for what, call in act.still_works:
            expect(what, 200, call().status_code)
            console.print(f"  {what}: [bold green]200[/], as ever")

    def _show(self, act: OutageScenario) -> None:
        status, data = self._stack.health()
        console.print(health.table(data, console.width))
        states = self._stack.states()
        expect("GET /health", 503, status)
        expect(f"state of {act.breaker}", "OPEN", states.get(act.breaker))
        self._innocent(act)
        console.print(f"  Charged to {act.breaker} alone; {act.innocent} is CLOSED.")
        console.print(f"  Nobody calls now; its {RESET_TIMEOUT:.0f} s pass…")
        half_open = lambda: self._stack.states().get(act.breaker) == "HALF_OPEN"  # noqa: E731 - a condition
        expect(f"{act.breaker} HALF_OPEN without any traffic", True, wait_for(half_open, RESET_TIMEOUT + 2))
        console.print(f"  {act.breaker} is [yellow]HALF_OPEN[/]: the next call is the probe.")

    def _mend(self, act: OutageScenario) -> None:
        self._just("start", act.process)
        answer = act.call()
        expect(f"{act.what} after the start ({answer.text[:200]})", act.then, answer.status_code)
        console.print(f"  {act.what}: [bold green]{answer.status_code}[/] “{answer.json()['message']}”")
        expect(f"state of {act.breaker}", "CLOSED", self._stack.states().get(act.breaker))
        self._innocent(act)
        for said in (
            "OPENED: max failures reached",
            "HALF_OPEN: attempting recovery",
            "CLOSED: recovery successful",
        ):
            line = f"[CIRCUIT_BREAKER] {act.breaker} circuit breaker {said}"
            logged = wait_for(lambda line=line: line in self._stack.log(act.guard), 2)  # type: ignore[misc]
            expect(f"{line!r} in the log of {act.guard}", True, logged)
            console.print(f"  {act.guard}: {line}", style="dim", markup=False)

    def _innocent(self, act: OutageScenario) -> None:
        expect(f"state of {act.innocent}", "CLOSED", self._stack.states().get(act.innocent))

    def _just(self, *words: str) -> None:
        console.print(f"[bold cyan]$ uv run just {' '.join(words)}[/]")
        self._stack.run(*words)


def main() -> bool:
    """Tell the whole story; False where it didn't go as told, and then the stack's logs are kept."""
    console.print(
        Frame(
            "A stack of its own: other ports, a folder that goes away, and breakers that probe after "
            f"{RESET_TIMEOUT:.0f} s instead of 60. Three parts will be stopped, one after the other."
        ),
        soft_wrap=False,
    )
    with console.status("Starting the stack"):
        stack = EphemeralStack(RESET_TIMEOUT).__enter__()
    with stack:
        try:
            tell(stack)
        except (DemoFailed, RuntimeError, LookupError, httpx.HTTPError) as error:
            stack.keep = True
            console.print(f"\n[bold red]Not as told.[/] {error or repr(error)}", soft_wrap=True)
            console.print(f"The logs are kept in {stack.layout.logs}", soft_wrap=True)
            return False
    console.print(
        "[bold green]\nEverything went as told: each fault was charged to one breaker, and each recovered."
    )
    return True


def tell(stack: EphemeralStack) -> None:
    """All acts on a running stack. Raises DemoFailed."""
    bearer = stack.sign_up()
    client = stack.client
    school = client.post(
        "/schools", headers=bearer, json={"registration_number": "R-1", "name": "Hill School"}
    )
    expect(f"creating a school ({school.text[:200]})", 201, school.status_code)
    pupil = {
        "roll_number": "1",
        "first_name": "Bo",
        "last_name": "Day",
        "school_id": school.json()["data"]["id"],
    }
    first = client.post("/students", headers=bearer, json=pupil)
    expect(f"creating a student ({first.text[:200]})", 201, first.status_code)
    story = ScenarioRunner(stack)
    for act in acts(stack, bearer, {**pupil, "roll_number": "2"}):
        story.play(act)
    found = client.get("/students", headers=bearer).json()["data"]
    expect(
        "the students' roll numbers: nothing half-created", ["1", "2"], [one["roll_number"] for one in found]
    )


def acts(stack: EphemeralStack, bearer: dict[str, str], pupil: dict[str, object]) -> list[OutageScenario]:
    """The three outages of the story."""
    client = stack.client
    read_schools = ("GET /schools", lambda: client.get("/schools", headers=bearer))
    read_students = ("GET /students", lambda: client.get("/students", headers=bearer))
    unavailable = (503, "SERVICE_UNAVAILABLE")
    return [
        OutageScenario(
            title="The auth service stops",
            process=AUTH_SERVICE,
            breaker=AUTH_SERVICE_HTTP,
            guard=API_GATEWAY,
            innocent=SCHOOL_SERVICE_HTTP,
            what="login",
            call=stack.login,
            answers=[(502, "SERVICE_UNAVAILABLE")] * 5 + [(503, "CIRCUIT_BREAKER_OPEN")],
            then=200,
            still_works=[read_schools, read_students],
        ),
        OutageScenario(
            title="MongoDB stops",
            process=MONGODB,
            breaker=AUTH_DATABASE,
            guard=AUTH_SERVICE,
            innocent=AUTH_SERVICE_HTTP,
            what="login",
            call=stack.login,
            answers=[(503, "DATABASE_ERROR")] * 5 + [unavailable],
            then=200,
        ),
        OutageScenario(
            title="The school service stops: gRPC from the student service",
            process=SCHOOL_SERVICE,
            breaker=STUDENT_SERVICE_GRPC,
            guard=STUDENT_SERVICE,
            innocent=SCHOOL_SERVICE_HTTP,
            what="new student",
            call=lambda: client.post("/students", headers=bearer, json=pupil),
            answers=[(503, "SCHOOL_SERVICE_ERROR")] * 3 + [unavailable],
            then=201,
            still_works=[read_students],
        ),
    ]


def expect(what: str, wanted: object, came: object) -> None:
    """Raise DemoFailed where `came` isn't what was wanted."""
    if wanted != came:
        raise DemoFailed(f"{what}: expected {wanted!r}, came {came!r}")
