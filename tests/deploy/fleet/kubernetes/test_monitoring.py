"""deploy/kubernetes/monitoring: the operator scrapes every process, by the rules of deploy/prometheus."""

from __future__ import annotations

import yaml

from deploy.generated import files
from tests.deploy.fleet.kubernetes.manifests import (
    container_ports,
    kustomization,
    matches,
    name,
    of_kind,
    pods,
)
from tests.deploy.fleet.tools import ROOT

(MONITOR,) = of_kind("production", "ServiceMonitor")
(ENDPOINT,) = MONITOR["spec"]["endpoints"]


def test_generated_files_are_up_to_date() -> None:
    """`uv run python -m deploy.generated` writes them."""
    assert [path for path, text in files().items() if (ROOT / path).read_text() != text] == []


def test_the_operator_has_the_rules_of_prometheus() -> None:
    (rule,) = of_kind("production", "PrometheusRule")
    tested = yaml.safe_load((ROOT / "deploy/prometheus/circuit_breakers.rules.yml").read_text())
    assert rule["spec"] == tested
    assert len(rule["spec"]["groups"]) == 2


def test_every_process_is_scraped() -> None:
    (pairs,) = [labels["pairs"] for labels in kustomization("base")["labels"]]
    scraped = {
        name(one)
        for one in of_kind("production", "Service")
        if matches(MONITOR["spec"]["selector"], {**one["metadata"]["labels"], **pairs})
    }
    assert scraped == {"api-gateway", "auth-service", "school-service", "student-service"}
    assert [pod for pod in scraped if ENDPOINT["port"] not in container_ports(pods("base")[pod])] == []
    assert ENDPOINT["path"] == "/metrics"


def test_the_label_service_stays_the_breakers_name() -> None:
    """Otherwise the operator replaces it by the Kubernetes Service, and no alert names its breaker."""
    assert ENDPOINT["honorLabels"] is True


def test_the_label_job_is_the_process() -> None:
    label = MONITOR["spec"]["jobLabel"]
    services = of_kind("production", "Service")
    assert {one["metadata"]["labels"][label] for one in services} == {name(one) for one in services}
