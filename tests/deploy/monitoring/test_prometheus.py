"""The alert rules: valid, three of them word for word, and each tested with promtool's unit tests."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from actors import DURATION_BUCKETS, CircuitBreakerConfig, open_panel
from actors.adapters.metrics import negotiated
from actors.messages import Snapshot
from deploy.demo.ephemeral_stack import free_ports, wait_for
from protocols.topology import BREAKERS
from tests.deploy.programs import is_up, program
from tests.deploy.tools import DEPLOY, RULES, exported, promtool, rules, tool

SPECIFIED = {
    "CircuitBreakerOpen": ("circuit_breaker_state == 2", "5m", "warning"),
    "CircuitBreakerHighFailures": ("rate(circuit_breaker_failures_total[5m]) > 0.1", "2m", "critical"),
    "CircuitBreakerExtendedOutage": (
        "circuit_breaker_state == 2 and (time() - circuit_breaker_last_state_change) > 300",
        "1m",
        "critical",
    ),
}
FURTHER = {
    "CircuitBreakerOutage",
    "CircuitBreakerFlapping",
    "CircuitBreakerRejecting",
    "CircuitBreakerFailureShare",
    "CircuitBreakerSwitchedOff",
    "CircuitBreakerAbsent",
}
OF_THE_GATEWAY = {"GatewayErrors"}
OF_SHARING = {"CircuitBreakerSharingLost", "CircuitBreakerSharingUnsteady"}


async def test_promtool_accepts_the_names_and_types_of_all_metrics() -> None:
    text, _ = await exported()
    assert promtool("check", "metrics", given=text) == ""


def test_the_configuration_and_its_rules_are_valid() -> None:
    promtool("check", "config", DEPLOY / "prometheus" / "prometheus.yml")


def test_the_unit_tests_of_the_rules_pass() -> None:
    promtool("test", "rules", DEPLOY / "prometheus" / "circuit_breakers.test.yml")


@pytest.mark.parametrize("name", sorted({*SPECIFIED, *FURTHER, *OF_THE_GATEWAY, *OF_SHARING}))
def test_the_unit_tests_fail_for_a_rule_that_never_fires(name: str, tmp_path: Path) -> None:
    before, after = RULES.read_text().split(f"- alert: {name}\n")
    broken = re.sub(r"expr: (>-\n( {10}.*\n)+|.*\n)", "expr: vector(0) > 1\n", after, count=1)
    (tmp_path / RULES.name).write_text(f"{before}- alert: {name}\n{broken}")
    (tmp_path / "test.yml").write_text((DEPLOY / "prometheus" / "circuit_breakers.test.yml").read_text())
    with pytest.raises(AssertionError, match=name):
        promtool("test", "rules", tmp_path / "test.yml")


@pytest.mark.parametrize("name", SPECIFIED)
def test_the_specified_rules_are_unchanged(name: str) -> None:
    expression, duration, severity = SPECIFIED[name]
    text = rules()[name]
    assert f"\n        expr: {expression}\n        for: {duration}\n" in text
    assert f"\n          severity: {severity}\n" in text


def test_every_summary_names_the_breaker_the_route_or_the_process() -> None:
    found = rules()
    assert set(found) == {*SPECIFIED, *FURTHER, *OF_THE_GATEWAY, *OF_SHARING}
    for name, text in found.items():
        (summary,) = re.findall(r"summary: (.*)", text)
        label = "route" if name in OF_THE_GATEWAY else "job" if name in OF_SHARING else "service"
        assert f"{{{{ $labels.{label} }}}}" in summary


def test_the_absent_alert_covers_every_breaker() -> None:
    covered = re.findall(
        r'absent\(circuit_breaker_state\{service="([^"]+)"\}\)', rules()["CircuitBreakerAbsent"]
    )
    assert sorted(covered) == sorted(BREAKERS)


@pytest.mark.parametrize("name", sorted({*SPECIFIED, *FURTHER, *OF_THE_GATEWAY, *OF_SHARING}))
async def test_rules_use_exported_metrics(name: str) -> None:
    _, families = await exported()
    names = {sample.name for family in families for sample in family.samples}
    assert set(re.findall(r"(?:circuit_breaker|gateway)_\w+", rules()[name])) <= names


async def test_the_reference_lists_all_metrics() -> None:
    _, families = await exported()
    names = {f"{family.name}_total" if family.type == "counter" else family.name for family in families}
    reference = (DEPLOY.parent / "docs" / "reference" / "metrics.md").read_text()
    assert set(re.findall(r"^\| `((?:circuit_breaker|gateway)_\w+)`", reference, flags=re.MULTILINE)) == names


def test_the_guide_explains_every_alert() -> None:
    guide = (DEPLOY.parent / "docs" / "how-to" / "alerts.md").read_text()
    assert set(re.findall(r"^\| `(\w+)` \(", guide, flags=re.MULTILINE)) == set(rules())


@contextmanager
def serve_metrics(snapshots: list[Snapshot], formats: set[str]) -> Iterator[int]:
    """Serve the metrics of these snapshots, and yield the port. Adds each format sent to `formats`."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body, content_type = negotiated(snapshots, self.headers["Accept"])
            formats.add(content_type.partition(";")[0])
            self.send_response(200)
            self.send_header("Content-Type", content_type)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


async def some_calls() -> list[Snapshot]:
    async with open_panel(durations=DURATION_BUCKETS, exemplar=lambda: {"trace_id": "ab" * 16}) as panel:
        breaker = panel.breaker(CircuitBreakerConfig(name="it"))
        await breaker.execute(trio.sleep, 0)
        await breaker.trip()
        return list((await panel.snapshots()).values())


@contextmanager
def prometheus(folder: Path, target: int) -> Iterator[httpx.Client]:
    """A real Prometheus that scrapes one port all the time."""
    jobs = f"- job_name: it\n  static_configs: [targets: ['127.0.0.1:{target}']]\n"
    config = folder / "prometheus.yml"
    config.write_text(f"global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}\nscrape_configs:\n{jobs}")
    (port,) = free_ports(1)
    command = [
        tool("prometheus"),
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--enable-feature=exemplar-storage",
    ]
    with (
        program(command, folder / "log"),
        httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client,
    ):
        assert wait_for(lambda: is_up(client, "/-/ready"), 20), (folder / "log").read_text()
        yield client


def test_prometheus_reads_units_and_exemplars_of_openmetrics(tmp_path: Path) -> None:
    """In OpenMetrics, without errors, with types, units, help texts and exemplars."""
    formats: set[str] = set()
    with (
        serve_metrics(trio.run(some_calls), formats) as target,
        prometheus(tmp_path, target) as client,
    ):

        def query_api(path: str, **parameters: str | float) -> Any:
            return client.get(f"/api/v1/{path}", params=parameters).json()["data"]

        assert wait_for(lambda: bool(query_api("query", query="up == 1")["result"]), 15), query_api("targets")
        assert [one["lastError"] for one in query_api("targets")["activeTargets"]] == [""]
        state = query_api("query", query="circuit_breaker_state")["result"]
        assert [(one["metric"]["service"], one["value"][1]) for one in state] == [("it", "2")]
        kinds = {name: (one["type"], one["unit"]) for name, (one, *_) in query_api("metadata").items()}
        assert kinds["circuit_breaker_call_duration_seconds"] == ("histogram", "seconds")
        assert kinds["circuit_breaker_state"] == ("gauge", "")
        assert all(one["help"] for found in query_api("metadata").values() for one in found)
        [series] = query_api(
            "query_exemplars", query="circuit_breaker_call_duration_seconds_bucket", start=0, end=4e9
        )
        assert series["exemplars"][0]["labels"] == {"trace_id": "ab" * 16}
    assert formats == {"application/openmetrics-text"}
