"""A real stack observed by a real Prometheus and a collector: alerts, dashboard, traces, exemplars.

The rules' minutes are seconds here.
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
from deploy.programs.mongodb import find_mongod
from tests.deploy.monitoring.grafana import expressions, filled_in
from tests.deploy.programs import Receiver, is_up, program, receiver
from tests.deploy.tools import DEPLOY, RULES, promtool, tool

pytestmark = pytest.mark.resilience

RESET_TIMEOUT = 3.0
TOKEN = "an-admin-token-for-the-test-of-32-characters"
OPT_IN = ("bulkhead_limit", "breaker_evidence", "breaker_usual_", "breaker_shadow_")
"""In the names of metrics that no breaker of this stack has: bulkheads, adaptive thresholds and shadows."""


@dataclass
class ObservedStack:
    """The stack, its observers, and a token of its first account."""

    stack: EphemeralStack
    prometheus: httpx.Client
    collector: Receiver
    bearer: dict[str, str]

    def query(self, path: str, **parameters: str | float) -> Any:
        answer = self.prometheus.get(f"/api/v1/{path}", params=parameters)
        assert answer.json()["status"] == "success", answer.text
        return answer.json()["data"]

    def firing(self) -> set[tuple[str, str]]:
        """(alert, breaker) of every alert that fires; an alert about requests has no breaker."""
        alerts = self.query("alerts")["alerts"]
        return {
            (a["labels"]["alertname"], a["labels"].get("service", ""))
            for a in alerts
            if a["state"] == "firing"
        }

    def fires(self, *alerts: tuple[str, str], seconds: float = 20.0) -> bool:
        """Whether all these alerts fire within `seconds`."""
        return wait_for(lambda: set(alerts) <= self.firing(), seconds)


def shortened(stack: EphemeralStack, folder: Path) -> Path:
    """The configuration and rules in deploy/ with this stack's ports, and with seconds for minutes."""
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
def observed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObservedStack]:
    binary = tool("prometheus")
    try:
        find_mongod()
    except StackError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("observed")
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
                yield ObservedStack(stack, client, collector, stack.sign_up())


def test_all_processes_are_scraped_and_no_alert_fires(observed: ObservedStack) -> None:
    assert wait_for(
        lambda: len(observed.query("query", query="circuit_breaker_state == 0")["result"]) == 7, 15
    )
    targets = observed.query("targets")["activeTargets"]
    assert {target["lastError"] for target in targets} == {""}
    assert {target["labels"]["job"] for target in targets} == {
        "api-gateway",
        "auth-service",
        "school-service",
        "student-service",
    }
    assert wait_for(lambda: observed.firing() == set(), 15), observed.firing()


def test_an_outage_fires_its_alerts_and_fills_the_dashboard(observed: ObservedStack) -> None:
    stack = observed.stack
    stack.run("stop", "auth-service")
    for _ in range(14):
        stack.login()
    edge = "auth-service-http"
    assert observed.fires(("CircuitBreakerOpen", edge), ("CircuitBreakerHighFailures", edge)), (
        observed.firing()
    )
    assert observed.fires(("CircuitBreakerRejecting", edge), ("CircuitBreakerAbsent", "auth-database")), (
        observed.firing()
    )
    shown = [one for one in expressions() if not any(name in one for name in OPT_IN)]
    empty = [one for one in shown if not observed.query("query", query=at_once(one))["result"]]
    assert empty == []
    # The breaker goes on probing. Each probe ends alerts that go by the state alone.
    assert wait_for(lambda: outage_alert_fires(observed), 20), observed.firing()

    stack.run("start", "auth-service")
    assert wait_for(lambda: stack.login().is_success, 20)
    assert wait_for(lambda: observed.firing() == set(), 30), observed.firing()
    recovered = observed.query("query", query=f'circuit_breaker_recovery_seconds_count{{service="{edge}"}}')
    assert float(recovered["result"][0]["value"][1]) >= 1


def outage_alert_fires(observed: ObservedStack) -> bool:
    observed.stack.login()
    return ("CircuitBreakerOutage", "auth-service-http") in observed.firing()


def test_an_operators_commands_fire_alerts(observed: ObservedStack) -> None:
    """Forced open, disabled, and flapping. The alerts end after a reset."""

    def command(action: str) -> None:
        path = f"/admin/breakers/student-service-grpc/{action}"
        answer = observed.stack.client.post(path, headers={"Authorization": f"Bearer {TOKEN}"})
        assert answer.status_code == 200, answer.text

    breaker = "student-service-grpc"
    command("force_open")
    assert observed.fires(("CircuitBreakerOpen", breaker), ("CircuitBreakerExtendedOutage", breaker)), (
        observed.firing()
    )
    command("disable")
    assert observed.fires(("CircuitBreakerSwitchedOff", breaker)), observed.firing()
    command("reset")
    assert wait_for(lambda: observed.firing() == set(), 20), observed.firing()
    for _ in range(4):
        command("trip")
        command("reset")
    assert observed.fires(("CircuitBreakerFlapping", breaker)), observed.firing()
    assert wait_for(lambda: observed.firing() == set(), 20), observed.firing()


def at_once(expression: str) -> str:
    """The expression over the last seconds instead of minutes or hours."""
    filled = filled_in(expression)
    return re.sub(r"\[1[mh]\]", "[15s]", filled)


def test_one_trace_runs_through_all_processes(observed: ObservedStack) -> None:
    client, trace = observed.stack.client, "4bf92f3577b34da6a3ce929d0e0e4736"
    school = client.post(
        "/schools", headers=observed.bearer, json={"registration_number": "T-1", "name": "Trace School"}
    ).json()["data"]
    body = {"roll_number": "T-1", "first_name": "Al", "last_name": "Go", "school_id": school["id"]}
    headers = {**observed.bearer, "traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
    answer = client.post("/students", headers=headers, json=body)
    assert answer.status_code == 201, answer.text
    spans = observed.collector.has("POST /students", "find schools", "insert students", trace=trace)
    known = {span["id"]: span for span in spans}

    def path(span: dict[str, Any]) -> list[str]:
        """Process and name of the span and of all its ancestors, the outermost first."""
        above = path(known[span["parent"]]) if span["parent"] in known else []
        return [*above, f"{span['process']}: {span['name']}"]

    entered = [
        "api-gateway: POST /students",
        "api-gateway: student-service-http",
        "student-service: POST /students",
    ]
    paths = [path(span) for span in spans]
    assert [
        *entered,
        "student-service: student-service-grpc",
        "school-service: school.SchoolService/ValidateSchool",
        "school-service: school-database",
        "school-service: find schools",
    ] in paths
    assert [*entered, "student-service: student-database", "student-service: insert students"] in paths
    request_id = answer.headers["x-request-id"]
    for process in ("api-gateway", "student-service"):
        lines = [json.loads(line) for line in observed.stack.log(process).splitlines() if request_id in line]
        assert {line["trace_id"] for line in lines} == {trace}


def test_prometheus_has_exemplars_that_lead_to_traces(observed: ObservedStack) -> None:
    def found() -> list[str]:
        data = observed.query(
            "query_exemplars", query="circuit_breaker_call_duration_seconds_bucket", start=0, end=4e9
        )
        return [exemplar["labels"]["trace_id"] for series in data for exemplar in series["exemplars"]]

    assert wait_for(
        lambda: {span["trace"] for span in observed.collector.spans()}.issuperset(found()[:1] or [""]), 15
    )
