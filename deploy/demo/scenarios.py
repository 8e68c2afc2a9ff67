"""`just demo`: outages and recoveries, step by step, on a stack of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import httpx
from rich.panel import Panel as Frame

from deploy.demo.console import DemoFailed, console, expect
from deploy.demo.ephemeral_stack import EphemeralStack, wait_for
from deploy.demo.sharing import run_sharing
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
"""Seconds that the demo's breakers stay open; the default is 60."""


@dataclass(frozen=True)
class OutageScenario:
    """One outage: stop a process, call until the breaker rejects, start the process, call again.

    breaker: the one that opens. owner: the process of that breaker. unaffected: a breaker that stays closed.
    request: the name of `call`. responses: (status, error code) of each call during the outage.
    recovered: the status of the call after it. still_works: calls that return 200 during the outage.
    """

    title: str
    process: str
    breaker: str
    owner: str
    unaffected: str
    request: str
    call: Callable[[], httpx.Response]
    responses: Sequence[tuple[int, str]]
    recovered: int
    still_works: Sequence[tuple[str, Callable[[], httpx.Response]]] = ()


class ScenarioRunner:
    """Runs scenarios on a stack, and prints each step. Raises DemoFailed at the first unexpected result."""

    def __init__(self, stack: EphemeralStack) -> None:
        self._stack = stack

    def run(self, scenario: OutageScenario) -> None:
        """Run one scenario. Takes some seconds longer than RESET_TIMEOUT."""
        console.rule(f"[bold]{scenario.title}")
        self._expect_unaffected(scenario)
        self._just("stop", scenario.process)
        self._call_until_rejected(scenario)
        self._wait_for_half_open(scenario)
        self._recover(scenario)

    def _call_until_rejected(self, scenario: OutageScenario) -> None:
        for number, expected in enumerate(scenario.responses, 1):
            name = f"{scenario.request} {number}"
            began = time.monotonic()
            response = scenario.call()
            body, wait = response.json(), response.headers.get("Retry-After")
            milliseconds = f"{(time.monotonic() - began) * 1000:.0f} ms"
            status, code = response.status_code, str(body.get("error"))
            console.print(
                f"  {name}: [bold]{status} {code}[/] “{body['message']}”"
                + (f", Retry-After {wait}" if wait else "")
                + f"  [dim]{milliseconds}[/]"
            )
            expect(name, expected, (status, code))
        limit = int(RESET_TIMEOUT) + 1
        is_in_range = bool(wait and wait.isdecimal() and 1 <= int(wait) <= limit)
        expect(f"Retry-After of the last response between 1 and {limit}", True, is_in_range)
        for name, call in scenario.still_works:
            expect(name, 200, call().status_code)
            console.print(f"  {name}: [bold green]200[/]; it doesn't need {scenario.process}")

    def _wait_for_half_open(self, scenario: OutageScenario) -> None:
        self._expect_state(scenario, "OPEN")
        status, data = self._stack.health()
        console.print(health.table(data, console.width))
        expect("status of GET /health", 503, status)
        self._expect_unaffected(scenario)
        console.print(f"  Only {scenario.breaker} is OPEN; {scenario.unaffected} is CLOSED.")
        console.print(f"  {scenario.breaker} stays OPEN for {RESET_TIMEOUT:.0f} s. The demo sends no calls.")
        half_open = lambda: self._stack.states().get(scenario.breaker) == "HALF_OPEN"  # noqa: E731
        changed = wait_for(half_open, RESET_TIMEOUT + 2)
        expect(f"{scenario.breaker} becomes HALF_OPEN without calls", True, changed)
        console.print(f"  {scenario.breaker} is [yellow]HALF_OPEN[/]: the next call is the probe.")

    def _recover(self, scenario: OutageScenario) -> None:
        self._just("start", scenario.process)
        response = scenario.call()
        status = response.status_code
        expect(f"{scenario.request} after the start ({response.text[:200]})", scenario.recovered, status)
        console.print(f"  {scenario.request}: [bold green]{status}[/] “{response.json()['message']}”")
        self._expect_state(scenario, "CLOSED")
        self._expect_unaffected(scenario)
        for transition in (
            "OPENED: max failures reached",
            "HALF_OPEN: attempting recovery",
            "CLOSED: recovery successful",
        ):
            line = f"[CIRCUIT_BREAKER] {scenario.breaker} circuit breaker {transition}"
            logged = wait_for(lambda line=line: line in self._stack.log(scenario.owner), 2)  # type: ignore[misc]
            expect(f"{line!r} in the log of {scenario.owner}", True, logged)
            console.print(f"  {scenario.owner}: {line}", style="dim", markup=False)

    def _expect_state(self, scenario: OutageScenario, state: str) -> None:
        # What /health has of the services may be a second old.
        seen = wait_for(lambda: self._stack.states().get(scenario.breaker) == state, 2)
        expect(f"{scenario.breaker} is {state}", True, seen)

    def _expect_unaffected(self, scenario: OutageScenario) -> None:
        state = self._stack.states().get(scenario.unaffected)
        expect(f"state of {scenario.unaffected}", "CLOSED", state)

    def _just(self, *words: str) -> None:
        console.print(f"[bold cyan]$ uv run just {' '.join(words)}[/]")
        self._stack.run(*words)


def main() -> bool:
    """Run the demo on a new stack. Returns False, and keeps the logs, after an unexpected result."""
    console.print(
        Frame(
            "This demo runs a stack of its own, on other ports and in a temporary folder. Its breakers probe "
            f"after {RESET_TIMEOUT:.0f} s instead of 60 s. It stops three processes, one after the other. "
            "In the last act two gateways share what they see."
        ),
        soft_wrap=False,
    )
    with console.status("Starting the stack"):
        stack = EphemeralStack(RESET_TIMEOUT).__enter__()
    with stack:
        try:
            run_scenarios(stack)
        except (DemoFailed, RuntimeError, LookupError, httpx.HTTPError) as error:
            stack.keep = True
            console.print(f"\n[bold red]The demo failed.[/] {error or repr(error)}", soft_wrap=True)
            console.print(f"The logs are kept in {stack.config.logs}", soft_wrap=True)
            return False
    console.print("[bold green]\nEach outage opened the breaker nearest to it, and each closed again.")
    return True


def run_scenarios(stack: EphemeralStack) -> None:
    """Run all scenarios on a running stack. Raises DemoFailed."""
    bearer = stack.sign_up()
    client = stack.client
    school = client.post(
        "/schools", headers=bearer, json={"registration_number": "R-1", "name": "Hill School"}
    )
    expect(f"status of POST /schools ({school.text[:200]})", 201, school.status_code)
    student = {
        "roll_number": "1",
        "first_name": "Bo",
        "last_name": "Day",
        "school_id": school.json()["data"]["id"],
    }
    first = client.post("/students", headers=bearer, json=student)
    expect(f"status of POST /students ({first.text[:200]})", 201, first.status_code)
    runner = ScenarioRunner(stack)
    for scenario in scenarios(stack, bearer, {**student, "roll_number": "2"}):
        runner.run(scenario)
    found = client.get("/students", headers=bearer).json()["data"]
    numbers = [one["roll_number"] for one in found]
    expect("roll numbers of all students, none of a rejected call", ["1", "2"], numbers)
    run_sharing(stack, RESET_TIMEOUT)


def scenarios(
    stack: EphemeralStack, bearer: dict[str, str], student: dict[str, object]
) -> list[OutageScenario]:
    """The three outages. student: the body of the POST /students that the last one sends."""
    client = stack.client
    read_schools = ("GET /schools", lambda: client.get("/schools", headers=bearer))
    read_students = ("GET /students", lambda: client.get("/students", headers=bearer))
    unavailable = (503, "SERVICE_UNAVAILABLE")
    return [
        OutageScenario(
            title="The auth service stops",
            process=AUTH_SERVICE,
            breaker=AUTH_SERVICE_HTTP,
            owner=API_GATEWAY,
            unaffected=SCHOOL_SERVICE_HTTP,
            request="login",
            call=stack.login,
            responses=[(502, "SERVICE_UNAVAILABLE")] * 5 + [(503, "CIRCUIT_BREAKER_OPEN")],
            recovered=200,
            still_works=[read_schools, read_students],
        ),
        OutageScenario(
            title="MongoDB stops",
            process=MONGODB,
            breaker=AUTH_DATABASE,
            owner=AUTH_SERVICE,
            unaffected=AUTH_SERVICE_HTTP,
            request="login",
            call=stack.login,
            responses=[(503, "DATABASE_ERROR")] * 5 + [unavailable],
            recovered=200,
        ),
        OutageScenario(
            title="The school service stops: gRPC from the student service",
            process=SCHOOL_SERVICE,
            breaker=STUDENT_SERVICE_GRPC,
            owner=STUDENT_SERVICE,
            unaffected=SCHOOL_SERVICE_HTTP,
            request="new student",
            call=lambda: client.post("/students", headers=bearer, json=student),
            responses=[(503, "SCHOOL_SERVICE_ERROR")] * 3 + [unavailable],
            recovered=201,
            still_works=[read_students],
        ),
    ]
