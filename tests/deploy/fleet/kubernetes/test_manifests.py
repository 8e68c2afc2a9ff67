"""deploy/kubernetes: everything that the manifests name exists, and every pod is run as it should be."""

from __future__ import annotations

import re
from typing import Any

import pytest

from deploy.settings import settings
from protocols.topology import MODULES, PORTS
from tests.deploy.fleet.kubernetes.manifests import (
    FOLDERS,
    WORKLOADS,
    Manifest,
    container,
    container_ports,
    generated,
    kustomization,
    manifests,
    matches,
    name,
    of_kind,
    pods,
    settings_of,
)
from tests.deploy.fleet.settings import longest_stop, unknown
from tests.deploy.fleet.tools import KUBERNETES, ROOT

OVERLAYS = ("local", "production")
PODS = [(folder, pod) for folder in ("base", "local") for pod in pods(folder)]
PROCESSES = list(pods("base"))


def secret_keys() -> set[str]:
    text = (KUBERNETES / "secrets.env.example").read_text()
    return set(re.findall(r"^([A-Z_]+)=$", text, re.MULTILINE))


def environment(template: Manifest) -> set[str]:
    return {one["name"] for one in container(template).get("env", [])}


def secrets(template: Manifest) -> list[tuple[str, str]]:
    refs = [
        one["valueFrom"]["secretKeyRef"] for one in container(template).get("env", []) if "valueFrom" in one
    ]
    return [(ref["name"], ref["key"]) for ref in refs]


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_kustomization_names_every_file_of_its_folder(folder: str) -> None:
    found = kustomization(folder)
    named = [one for one in found["resources"] if not one.startswith("../")]
    for generator in found.get("configMapGenerator", []):
        named += generator.get("files", []) + generator.get("envs", [])
    there = {file.name for file in (KUBERNETES / folder).iterdir()} - {"kustomization.yaml"}
    assert sorted(named) == sorted(there)
    others = [one for one in found["resources"] if one.startswith("../")]
    assert [one for one in others if one.removeprefix("../") not in FOLDERS] == []


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_two_manifests_have_one_name(folder: str) -> None:
    names = [(one["kind"], name(one)) for one in manifests(folder)]
    assert sorted(names) == sorted(set(names))


def test_no_secret_is_committed() -> None:
    """The example has names alone. The Secret is made from a copy that git ignores."""
    assert [one for folder in FOLDERS for one in of_kind(folder, "Secret")] == []
    assert not [folder for folder in FOLDERS if "secretGenerator" in kustomization(folder)]
    lines = (KUBERNETES / "secrets.env.example").read_text().splitlines()
    assert [line for line in lines if not line.startswith("#") and not re.fullmatch(r"[A-Z_]+=", line)] == []
    assert "/deploy/kubernetes/secrets.env\n" in (ROOT / ".gitignore").read_text()


@pytest.mark.parametrize(("folder", "pod"), PODS)
def test_every_reference_of_a_pod_exists(folder: str, pod: str) -> None:
    template = pods(folder)[pod]
    assert [
        ref for ref in secrets(template) if ref[0] != "school-secrets" or ref[1] not in secret_keys()
    ] == []
    maps = {one["configMapRef"]["name"] for one in container(template).get("envFrom", [])}
    volumes = {one["name"]: one for one in template["spec"]["volumes"]}
    maps |= {one["configMap"]["name"] for one in volumes.values() if "configMap" in one}
    assert maps <= generated(folder)
    claims = {
        claim["metadata"]["name"]
        for one in of_kind(folder, "StatefulSet")
        if name(one) == pod
        for claim in one["spec"].get("volumeClaimTemplates", [])
    }
    mounted = {one["name"] for one in container(template)["volumeMounts"]}
    assert mounted == volumes.keys() | claims


def test_the_secret_has_no_key_that_nothing_reads() -> None:
    assert {key for pod in pods("local").values() for _, key in secrets(pod)} == secret_keys()


@pytest.mark.parametrize("folder", ["base", "local"])
def test_selectors_select_the_pods_of_their_workload_alone(folder: str) -> None:
    labels = {pod: template["metadata"]["labels"] for pod, template in pods(folder).items()}
    selectors = [(name(one), one["spec"]["selector"]) for one in of_kind(folder, "Deployment", "StatefulSet")]
    selectors += [(name(one), one["spec"]["selector"]) for one in of_kind(folder, "PodDisruptionBudget")]
    selectors += [(name(one), {"matchLabels": one["spec"]["selector"]}) for one in of_kind(folder, "Service")]
    assert {owner for owner, _ in selectors} == labels.keys() - {"mongodb-initiate"}
    for owner, selector in selectors:
        assert [pod for pod in labels if matches(selector, labels[pod])] == [owner]
    for owner in PROCESSES:
        (spread,) = pods(folder)[owner]["spec"]["topologySpreadConstraints"]
        assert matches(spread["labelSelector"], labels[owner])


@pytest.mark.parametrize("folder", ["base", "local"])
def test_a_service_leads_to_a_port_of_its_pods(folder: str) -> None:
    for service in of_kind(folder, "Service"):
        ports = container_ports(pods(folder)[name(service)])
        assert {one["targetPort"]: one["port"] for one in service["spec"]["ports"]} == ports


def test_the_processes_run_with_their_commands_on_their_ports() -> None:
    for pod in PROCESSES:
        assert container(pods("base")[pod])["command"] == ["python", "-m", MODULES[pod]]
        ports = [port for owner, port in PORTS.values() if owner == pod]
        ports += [9080] if pod == "api-gateway" else []
        assert list(container_ports(pods("base")[pod]).values()) == ports
    assert sorted(PROCESSES) == sorted(MODULES)


@pytest.mark.parametrize("folder", OVERLAYS)
def test_the_processes_read_their_variables(folder: str) -> None:
    assert unknown(settings_of(folder)) == set()
    for pod in PROCESSES:
        given = environment(pods(folder)[pod])
        assert unknown(given) == set()
        assert not given & settings_of(folder).keys()
        assert {key for key in given if key in settings() and pod not in settings()[key].owners} == set()
    assert "MONGODB_URI" not in environment(pods("base")["api-gateway"])


def test_the_urls_name_services_and_their_ports() -> None:
    ports = {name(one): {port["port"] for port in one["spec"]["ports"]} for one in of_kind("base", "Service")}
    urls = [value for key, value in settings_of("base").items() if key.endswith(("_URL", "_ADDRESS"))]
    assert len(urls) == 4
    for url in urls:
        host, port = url.removeprefix("http://").split(":")
        assert int(port) in ports[host]


@pytest.mark.parametrize(("folder", "pod"), PODS)
def test_kubernetes_sets_no_variable_that_a_process_takes_for_a_setting(folder: str, pod: str) -> None:
    """For a Service auth-service it would set AUTH_SERVICE_PORT=tcp://10.0.0.1:8081, and nothing starts."""
    assert pods(folder)[pod]["spec"]["enableServiceLinks"] is False


@pytest.mark.parametrize(("folder", "pod"), PODS)
def test_every_pod_is_confined(folder: str, pod: str) -> None:
    spec = pods(folder)[pod]["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] > 0
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container(pods(folder)[pod])["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    resources = container(pods(folder)[pod])["resources"]
    assert resources["requests"].keys() == {"cpu", "memory"}
    assert resources["limits"].keys() == {"memory"}


@pytest.mark.parametrize("pod", PROCESSES)
def test_probes_ask_what_they_should(pod: str) -> None:
    one = container(pods("base")[pod])
    paths = {probe: one[probe]["httpGet"] for probe in one if probe.endswith("Probe")}
    assert paths == {
        "startupProbe": {"path": "/livez", "port": "http"},
        "livenessProbe": {"path": "/livez", "port": "http"},
        "readinessProbe": {"path": "/readyz", "port": "http"},
    }


@pytest.mark.parametrize("pod", PROCESSES)
def test_a_rolling_update_costs_no_request(pod: str) -> None:
    """A pod is ready before another stops. One that stops serves until no node sends it more, then drains."""
    (deployment,) = [one for one in of_kind("base", "Deployment") if name(one) == pod]
    assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    environment = settings_of("base")
    probe = container(pods("base")[pod])["readinessProbe"]
    assert float(environment["SHUTDOWN_DELAY"]) > probe["periodSeconds"] * probe["failureThreshold"]
    grace = pods("base")[pod]["spec"]["terminationGracePeriodSeconds"]
    assert grace > longest_stop(environment) + 5
    (budget,) = [one for one in of_kind("base", "PodDisruptionBudget") if name(one) == pod]
    assert budget["spec"]["maxUnavailable"] == 1


def test_a_deployment_has_a_number_of_pods_or_an_autoscaler_and_two_pods_at_least() -> None:
    """With both, each apply would undo what the autoscaler has done."""
    scaled = {
        one["spec"]["scaleTargetRef"]["name"]: one for one in of_kind("base", "HorizontalPodAutoscaler")
    }
    for deployment in of_kind("base", "Deployment"):
        given: Any = deployment["spec"].get("replicas")
        assert (given is None) == (name(deployment) in scaled)
        assert (given or scaled[name(deployment)]["spec"]["minReplicas"]) >= 2
    assert scaled.keys() == {"api-gateway"}


def test_the_ingress_leads_to_the_gateway() -> None:
    (ingress,) = of_kind("production", "Ingress")
    ((path,),) = [rule["http"]["paths"] for rule in ingress["spec"]["rules"]]
    target = path["backend"]["service"]
    assert target["port"]["name"] in container_ports(pods("base")[target["name"]])
    assert target["name"] == "api-gateway"
    assert ingress["spec"]["tls"][0]["hosts"] == [ingress["spec"]["rules"][0]["host"]]


def test_every_workload_is_known_here() -> None:
    kinds = {one["kind"] for folder in FOLDERS for one in manifests(folder)}
    assert kinds >= set(WORKLOADS)
    assert not kinds & {"DaemonSet", "CronJob", "Pod", "ReplicaSet"}
