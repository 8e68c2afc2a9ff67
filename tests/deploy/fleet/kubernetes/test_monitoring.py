"""deploy/kubernetes/monitoring: the operator scrapes every process, by the rules of deploy/prometheus."""

from __future__ import annotations

import yaml

from deploy.recipes.generated import files
from tests.deploy.fleet.kubernetes.manifests import (
    container,
    container_ports,
    kustomization,
    matches,
    name,
    of_kind,
    pods,
)
from tests.deploy.fleet.tools import ROOT

MONITORS = of_kind("production", "ServiceMonitor")


def test_generated_files_are_up_to_date() -> None:
    """`uv run python -m deploy.recipes.generated` writes them."""
    assert [path for path, text in files().items() if (ROOT / path).read_text() != text] == []


def test_the_operator_has_the_rules_of_prometheus() -> None:
    (rule,) = of_kind("production", "PrometheusRule")
    tested = yaml.safe_load((ROOT / "deploy/prometheus/circuit_breakers.rules.yml").read_text())
    assert rule["spec"] == tested
    assert len(rule["spec"]["groups"]) == 3


def test_every_process_is_scraped() -> None:
    """Once, on the port that has /metrics."""
    (pairs,) = [labels["pairs"] for labels in kustomization("base")["labels"]]
    scraped = [
        (name(one), endpoint["port"])
        for monitor in MONITORS
        for endpoint in monitor["spec"]["endpoints"]
        for one in of_kind("production", "Service")
        if matches(monitor["spec"]["selector"], {**one["metadata"]["labels"], **pairs})
    ]
    services = ("auth-service", "school-service", "student-service")
    assert sorted(scraped) == [("api-gateway", "operations"), *((one, "http") for one in services)]
    assert [pod for pod, port in scraped if port not in container_ports(pods("base")[pod])] == []
    assert {one["path"] for monitor in MONITORS for one in monitor["spec"]["endpoints"]} == {"/metrics"}


def test_the_operators_port_of_the_gateway_is_the_one_that_it_listens_on() -> None:
    gateway = pods("base")["api-gateway"]
    (given,) = [one["value"] for one in container(gateway)["env"] if one["name"] == "OPERATIONS_PORT"]
    assert container_ports(gateway)["operations"] == int(given)


def test_the_label_service_stays_the_breakers_name() -> None:
    """Otherwise the operator replaces it by the Kubernetes Service, and no alert names its breaker."""
    assert {one["honorLabels"] for monitor in MONITORS for one in monitor["spec"]["endpoints"]} == {True}


def test_the_label_job_is_the_process() -> None:
    (label,) = {monitor["spec"]["jobLabel"] for monitor in MONITORS}
    services = of_kind("production", "Service")
    assert {one["metadata"]["labels"][label] for one in services} == {name(one) for one in services}
