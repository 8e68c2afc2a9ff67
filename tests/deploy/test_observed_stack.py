"""A real stack, watched by a real Prometheus and a real collector: what breaks is seen from outside.

Times are shortened: minutes of the rules are seconds here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from deploy.config import StackError
from deploy.demo.ephemeral_stack import EphemeralStack, free_ports, wait_for
from deploy.mongodb import find_mongod
from tests.deploy.grafana import expressions, filled_in
from tests.deploy.programs import Receiver, is_up, program, receiver
from tests.deploy.tools import DEPLOY, RULES, promtool, tool

pytestmark = pytest.mark.resilience

RESET_TIMEOUT = 3.0
TOKEN = "an-admin-token-for-the-test"


@dataclass
class Watched:
    """The stack, what watches it, and a token of its first account."""

    stack: EphemeralStack
    prometheus: httpx.Client
    collector: Receiver
    bearer: dict[str, str]

    def ask(self, path: str, **parameters: str | float) -> Any:
        answer = self.prometheus.get(f"/api/v1/{path}", params=parameters)
        assert answer.json()["status"] == "success", answer.text
        return answer.json()["data"]

    def firing(self) -> set[tuple[str, str]]:
        """Alert and breaker of every alert that fires."""
        alerts = self.ask("alerts")["alerts"]
        return {(a["labels"]["alertname"], a["labels"]["service"]) for a in alerts if a["state"] == "firing"}

    def fires(self, *alerts: tuple[str, str], seconds: float = 20.0) -> bool:
        return wait_for(lambda: set(alerts) <= self.firing(), seconds)


def shortened(stack: EphemeralStack, folder: Path) -> Path:
    """The shipped configuration and rules for this stack's ports, with seconds for minutes."""
    rules = RULES.read_text().replace("> 300", "> 4")
    rules = re.sub(r"for: \d+m", "for: 1s", rules)
    rules = re.sub(r"\[\d+m\]", "[6s]", rules)
    (folder / RULES.name).write_text(rules)
    text = (DEPLOY / "prometheus" / "prometheus.yml").read_text()
    text = re.sub(r"_interval: \d+s", "_interval: 500ms", text)
    for setting, port in (
        ("GATEWAY", 8080),
        ("AUTH_SERVICE", 8081),
        ("SCHOOL_SERVICE", 8082),
        ("STUDENT_SERVICE", 8083),
    ):
        text = text.replace(f"127.0.0.1:{port}", f"127.0.0.1:{stack.config.ports[f'{setting}_PORT']}")
    (folder / "prometheus.yml").write_text(text)
    promtool("check", "config", folder / "prometheus.yml")
    return folder / "prometheus.yml"


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    binary = tool("prometheus")
    try:
        find_mongod()
    except StackError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("watched")
    (port,) = free_ports(1)
    with receiver(folder) as collector:
        settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint, "OTEL_BSP_SCHEDULE_DELAY": "100"}
        with EphemeralStack(RESET_TIMEOUT, ADMIN_TOKEN=TOKEN, **settings) as stack:
            command = [
                binary,
                f"--config.file={shortened(stack, folder)}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
                "--enable-feature=exemplar-storage",
            ]
            with (
                program(command, folder / "prometheus.log"),
                httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client,
            ):
                assert wait_for(lambda: is_up(client, "/-/ready"), 20), (
                    folder / "prometheus.log"
                ).read_text()
                yield Watched(stack, client, collector, stack.sign_up())


def test_everything_is_scraped_and_nothing_fires_while_all_is_well(watched: Watched) -> None:
    assert wait_for(lambda: len(watched.ask("query", query="circuit_breaker_state == 0")["result"]) == 7, 15)
    targets = watched.ask("targets")["activeTargets"]
    assert {target["lastError"] for target in targets} == {""}
    assert {target["labels"]["job"] for target in targets} == {
        "api-gateway",
        "auth-service",
        "school-service",
        "student-service",
    }
    assert wait_for(lambda: watched.firing() == set(), 15), watched.firing()


def test_an_outage_is_seen_through_its_alerts_and_on_the_dashboard(watched: Watched) -> None:
    stack = watched.stack
    stack.run("stop", "auth-service")
    for _ in range(14):
        stack.login()
    edge = "auth-service-http"
    assert watched.fires(("CircuitBreakerOpen", edge), ("CircuitBreakerHighFailures", edge)), watched.firing()
    assert watched.fires(("CircuitBreakerRejecting", edge), ("CircuitBreakerAbsent", "auth-database")), (
        watched.firing()
    )
    empty = [e for e in expressions() if not watched.ask("query", query=at_once(e))["result"]]
    assert empty == []
    # It probes all the while, and each probe would end the alerts that look at the state alone.
    assert wait_for(lambda: probed_in_vain(watched), 20), watched.firing()

    stack.run("start", "auth-service")
    assert wait_for(lambda: stack.login().is_success, 20)
    assert wait_for(lambda: watched.firing() == set(), 30), watched.firing()
    recovered = watched.ask("query", query=f'circuit_breaker_recovery_seconds_count{{service="{edge}"}}')
    assert float(recovered["result"][0]["value"][1]) >= 1


def probed_in_vain(watched: Watched) -> bool:
    watched.stack.login()
    return ("CircuitBreakerOutage", "auth-service-http") in watched.firing()


def test_an_operators_doing_is_seen_too(watched: Watched) -> None:
    """Held open, it doesn't probe; disabled, it is off; opened often, it flaps; the alerts end with it."""

    def steer(action: str) -> None:
        path = f"/admin/breakers/student-service-grpc/{action}"
        answer = watched.stack.client.post(path, headers={"Authorization": f"Bearer {TOKEN}"})
        assert answer.status_code == 200, answer.text

    it = "student-service-grpc"
    steer("force_open")
    assert watched.fires(("CircuitBreakerOpen", it), ("CircuitBreakerExtendedOutage", it)), watched.firing()
    steer("disable")
    assert watched.fires(("CircuitBreakerSwitchedOff", it)), watched.firing()
    steer("reset")
    assert wait_for(lambda: watched.firing() == set(), 20), watched.firing()
    for _ in range(4):
        steer("trip")
        steer("reset")
    assert watched.fires(("CircuitBreakerFlapping", it)), watched.firing()
    assert wait_for(lambda: watched.firing() == set(), 20), watched.firing()


def at_once(expression: str) -> str:
    """The expression over the last seconds, instead of minutes and hours."""
    filled = filled_in(expression)
    return re.sub(r"\[1[mh]\]", "[15s]", filled)


def test_one_trace_runs_through_all_processes(watched: Watched) -> None:
    client, trace = watched.stack.client, "4bf92f3577b34da6a3ce929d0e0e4736"
    school = client.post(
        "/schools", headers=watched.bearer, json={"registration_number": "T-1", "name": "Trace School"}
    ).json()["data"]
    body = {"roll_number": "T-1", "first_name": "Al", "last_name": "Go", "school_id": school["id"]}
    headers = {**watched.bearer, "traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
    answer = client.post("/students", headers=headers, json=body)
    assert answer.status_code == 201, answer.text
    spans = watched.collector.has("POST /students", "find schools", "insert students", trace=trace)
    known = {span["id"]: span for span in spans}

    def way(span: dict[str, Any]) -> list[str]:
        """Process and name of the span and all above it."""
        above = way(known[span["parent"]]) if span["parent"] in known else []
        return [*above, f"{span['process']}: {span['name']}"]

    entered = [
        "api-gateway: POST /students",
        "api-gateway: student-service-http",
        "student-service: POST /students",
    ]
    ways = [way(span) for span in spans]
    assert [
        *entered,
        "student-service: student-service-grpc",
        "school-service: school.SchoolService/ValidateSchool",
        "school-service: school-database",
        "school-service: find schools",
    ] in ways
    assert [*entered, "student-service: student-database", "student-service: insert students"] in ways
    request_id = answer.headers["x-request-id"]
    for process in ("api-gateway", "student-service"):
        lines = [json.loads(line) for line in watched.stack.log(process).splitlines() if request_id in line]
        assert {line["trace_id"] for line in lines} == {trace}


def test_prometheus_has_exemplars_that_lead_to_traces(watched: Watched) -> None:
    def found() -> list[str]:
        data = watched.ask(
            "query_exemplars", query="circuit_breaker_call_duration_seconds_bucket", start=0, end=4e9
        )
        return [exemplar["labels"]["trace_id"] for series in data for exemplar in series["exemplars"]]

    assert wait_for(
        lambda: {span["trace"] for span in watched.collector.spans()}.issuperset(found()[:1] or [""]), 15
    )
