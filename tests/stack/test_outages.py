"""Outages on the real stack: the opening breaker, the services that keep working, and the recovery."""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter

import pytest

from deploy.demo.ephemeral_stack import wait_for
from deploy.demo.scenarios import OutageScenario, ScenarioRunner, scenarios
from tests.stack.running import RunningStack

SCENARIOS = {"auth-service": 0, "mongodb": 1, "school-service": 2}


@pytest.mark.parametrize("process", SCENARIOS)
def test_the_demos_scenario_succeeds(running: RunningStack, process: str, monkeypatch) -> None:
    """Failures, rejections with Retry-After, HALF_OPEN without calls, recovery, three log lines."""
    monkeypatch.setattr("deploy.demo.scenarios.RESET_TIMEOUT", 2.0)
    before = {one["id"] for one in running.call("GET", "/students").json()["data"]}
    student = new_student(running, f"scenario-{process}")
    all_scenarios = scenarios(running.stack, running.bearer, student)
    scenario: OutageScenario = all_scenarios[SCENARIOS[process]]
    assert scenario.process == process
    ScenarioRunner(running.stack).run(scenario)
    after = {one["id"] for one in running.call("GET", "/students").json()["data"]}
    assert len(after - before) == (process == "school-service"), "rejected calls create no student"


def test_one_of_twenty_concurrent_calls_is_the_probe(running: RunningStack) -> None:
    """The probe waits for a frozen service; the other nineteen calls are rejected at once."""
    stack = running.stack
    stack.run("stop", "auth-service")
    assert [stack.login().status_code for _ in range(6)] == [502] * 5 + [503]
    stack.run("start", "auth-service")
    assert wait_for(lambda: stack.states().get("auth-service-http") == "HALF_OPEN", 5)
    before = logins_seen(running)
    answers: Counter[int] = Counter()
    pid = stack.pid("auth-service")
    os.kill(pid, signal.SIGSTOP)
    try:
        callers = [
            threading.Thread(target=lambda: answers.update([stack.login().status_code])) for _ in range(20)
        ]
        for caller in callers:
            caller.start()
        assert wait_for(lambda: answers.total() == 19, 5), answers
        assert answers == Counter({503: 19})
    finally:
        os.kill(pid, signal.SIGCONT)
        for caller in callers:
            caller.join(20)
    assert answers == Counter({503: 19, 200: 1})
    assert wait_for(lambda: logins_seen(running) == before + 1, 3)
    assert stack.states()["auth-service-http"] == "CLOSED"


def test_students_can_be_read_without_the_school_service(running: RunningStack) -> None:
    """A student contains its school_name, and the list of a school's students doesn't check the school."""
    made = running.call("POST", "/students", **new_student(running, "reader"))
    assert made.status_code == 201, made.text
    one = made.json()["data"]
    running.stack.run("stop", "school-service")
    assert running.call("GET", f"/students/{one['id']}").json()["data"] == one
    listed = running.call("GET", f"/students/school/{running.school}")
    assert listed.status_code == 200
    assert one in listed.json()["data"]
    assert running.call("GET", "/schools").status_code == 502


def new_student(running: RunningStack, roll_number: str) -> dict[str, object]:
    """The body that creates a student."""
    return {"roll_number": roll_number, "first_name": "Bo", "last_name": "Day", "school_id": running.school}


def logins_seen(running: RunningStack) -> int:
    """The number of logins in the auth service's log."""
    return sum('"/login"' in line for line in running.stack.log("auth-service").splitlines())
