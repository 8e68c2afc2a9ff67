"""deploy/kubernetes: pods reach the pods that they call, and nothing else."""

from __future__ import annotations

import pytest

from tests.deploy.fleet.kubernetes.manifests import matches, of_kind, pods
from tests.deploy.fleet.kubernetes.network import connections

SERVICES = ("auth-service", "school-service", "student-service")
OWN = {
    ("ingress controller", "api-gateway", 8080),
    # The gateway's own pages, metrics among them, are on a port that no ingress controller reaches.
    ("prometheus", "api-gateway", 9080),
    ("prometheus", "auth-service", 8081),
    ("prometheus", "school-service", 8082),
    ("prometheus", "student-service", 8083),
    ("api-gateway", "auth-service", 8081),
    ("api-gateway", "school-service", 8082),
    ("api-gateway", "student-service", 8083),
    # The public keys of tokens.
    ("school-service", "auth-service", 8081),
    ("student-service", "auth-service", 8081),
    ("student-service", "school-service", 50051),
}
DATABASES = {
    *((source, "mongodb", 27017) for source in (*SERVICES, "mongodb-initiate")),
    *((source, "valkey", 6380) for source in (*SERVICES, "api-gateway")),
}


@pytest.mark.parametrize(("folder", "expected"), [("base", OWN), ("local", OWN | DATABASES)])
def test_these_connections_are_allowed_and_no_others(folder: str, expected: set[object]) -> None:
    assert connections(folder) == expected


@pytest.mark.parametrize("folder", ["base", "local"])
def test_every_pod_begins_with_nothing_allowed(folder: str) -> None:
    (deny,) = [one for one in of_kind(folder, "NetworkPolicy") if one["metadata"]["name"] == "deny-all"]
    assert deny["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_in_production_the_databases_are_reached_by_their_callers_alone() -> None:
    policies = {one["metadata"]["name"]: one["spec"] for one in of_kind("production", "NetworkPolicy")}
    callers = {"to-mongodb": ({*SERVICES}, 27017), "to-valkey": ({*SERVICES, "api-gateway"}, 6380)}
    for policy, (names, port) in callers.items():
        labels = {pod: template["metadata"]["labels"] for pod, template in pods("production").items()}
        selected = {pod for pod in labels if matches(policies[policy]["podSelector"], labels[pod])}
        (rule,) = policies[policy]["egress"]
        assert (selected, [one["port"] for one in rule["ports"]]) == (names, [port])
        assert [one["ipBlock"]["cidr"].endswith("/0") for one in rule["to"]] == [False]
