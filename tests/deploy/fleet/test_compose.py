"""deploy/docker/compose.yaml: valid, closed but for one port, and in step with the repository."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from deploy.settings import settings
from protocols.topology import MODULES
from tests.deploy.fleet.dockerfile import arguments, stages
from tests.deploy.fleet.settings import longest_stop, unknown
from tests.deploy.fleet.tools import DOCKER, ROOT, run, tool

FILE = DOCKER / "compose.yaml"
COMPOSE: dict[str, Any] = yaml.safe_load(FILE.read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
PROCESSES = [name for name, one in SERVICES.items() if one["image"].startswith("school-stack:")]
EXAMPLE = DOCKER / "env.example"


def example() -> dict[str, str]:
    """The variables of env.example, those in comments too."""
    return dict(re.findall(r"^#?([A-Z_]+)=(.*)$", EXAMPLE.read_text(), re.MULTILINE))


def test_it_is_valid_by_the_specifications_schema() -> None:
    run(tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", FILE)


def test_docker_compose_accepts_it(tmp_path: Any) -> None:
    """It resolves references, merges and variables, which a schema can't."""
    given = tmp_path / "env"
    given.write_text("".join(f"{name}={value or 'x' * 32}\n" for name, value in example().items()))
    run(tool("docker-compose"), "--env-file", given, "--file", FILE, "config", "--quiet")


def test_the_four_processes_run_with_their_commands() -> None:
    commands = {tuple(SERVICES[name]["command"]) for name in PROCESSES}
    assert commands == {("python", "-m", module) for module in MODULES.values()}
    assert SERVICES["gateway"]["deploy"]["replicas"] == 3


@pytest.mark.parametrize("name", SERVICES)
def test_every_container_is_confined(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "network_mode", "pid"} & service.keys()


def test_the_load_balancer_alone_has_a_port_of_the_host() -> None:
    assert [name for name, one in SERVICES.items() if "ports" in one] == ["load-balancer"]
    assert SERVICES["load-balancer"]["ports"] == ["${PUBLISH:-127.0.0.1:8080}:8080"]
    assert example()["PUBLISH"] == "127.0.0.1:8080"


def test_containers_share_a_network_only_where_one_calls_the_other() -> None:
    members = {
        network: {name for name, one in SERVICES.items() if network in one["networks"]}
        for network in COMPOSE["networks"]
    }
    services = {"auth-service", "school-service", "student-service"}
    assert members == {
        "edge": {"load-balancer", "gateway"},
        "services": {"gateway", *services},
        "sharing": {"valkey", "gateway", *services},
        "database": {"mongodb", "mongodb-initiate", *services},
    }
    inside = {name for name, network in COMPOSE["networks"].items() if network.get("internal")}
    assert inside == set(members) - {"edge"}


def test_a_container_is_waited_for_by_a_condition_it_can_meet() -> None:
    for name, service in SERVICES.items():
        for other, wait in service.get("depends_on", {}).items():
            if wait["condition"] == "service_healthy":
                # The processes' health check is in the image.
                assert other in PROCESSES or "healthcheck" in SERVICES[other], (name, other)
            else:
                assert wait["condition"] == "service_completed_successfully"
                assert SERVICES[other]["restart"] == "no"
    assert arguments(stages()[-1], "HEALTHCHECK")


@pytest.mark.parametrize("name", PROCESSES)
def test_the_processes_read_their_variables(name: str) -> None:
    environment = SERVICES[name]["environment"]
    assert unknown(environment) == set()
    owner = "api-gateway" if name == "gateway" else name
    strangers = {key for key in environment if key in settings() and owner not in settings()[key].owners}
    assert strangers == set()


@pytest.mark.parametrize("name", PROCESSES)
def test_the_urls_name_containers_and_their_ports(name: str) -> None:
    environment = SERVICES[name]["environment"]
    for setting in ("AUTH_SERVICE_URL", "SCHOOL_SERVICE_URL", "STUDENT_SERVICE_URL", "SCHOOL_GRPC_ADDRESS"):
        host, port = re.fullmatch(r"(?:http://)?([\w-]+):(\d+)", environment[setting]).groups()
        assert setting.lower().startswith(host.partition("-")[0])
        kind = "GRPC" if setting.endswith("GRPC_ADDRESS") else "SERVICE"
        assert port == settings()[f"{host.partition('-')[0].upper()}_{kind}_PORT"].default
    port = re.search(r"@valkey:(\d+)/", environment["VALKEY_URL"])[1]
    assert f"--port {port} " in SERVICES["valkey"]["command"][0]
    assert f"-p {port} " in SERVICES["valkey"]["healthcheck"]["test"][1]


@pytest.mark.parametrize("name", PROCESSES)
def test_docker_waits_until_a_process_has_stopped(name: str) -> None:
    service = SERVICES[name]
    assert seconds(service["stop_grace_period"]) > longest_stop(service["environment"]) + 5


def test_a_gateway_that_stops_serves_until_the_load_balancer_has_noticed() -> None:
    assert float(SERVICES["gateway"]["environment"]["SHUTDOWN_DELAY"]) >= 3
    hard = re.search(r"hard-stop-after (\d+)s", (DOCKER / "haproxy.cfg").read_text())[1]
    assert seconds(SERVICES["load-balancer"]["stop_grace_period"]) > float(hard)
    assert SERVICES["load-balancer"]["stop_signal"] == "SIGUSR1"


def test_the_gateway_believes_its_load_balancer_alone() -> None:
    (edge,) = COMPOSE["networks"]["edge"]["ipam"]["config"]
    assert SERVICES["gateway"]["environment"]["TRUSTED_PROXIES"] == edge["subnet"]


def test_every_mounted_file_is_there() -> None:
    named = COMPOSE["volumes"]
    for service in SERVICES.values():
        for source in (volume.split(":")[0] for volume in service.get("volumes", [])):
            assert source in named or (DOCKER / source).is_file(), source


def test_secrets_come_from_the_environment_file_alone() -> None:
    """Without one of them, docker compose refuses to start."""
    needed = set(re.findall(r"\$\{(\w+):\?set it in deploy/docker/\.env\}", FILE.read_text()))
    assert needed == {"ADMIN_TOKEN", "SCHOOL_GRPC_SECRET", "VALKEY_PASSWORD"}
    used = set(re.findall(r"(?<!\$)\$\{(\w+)", FILE.read_text()))
    assert used | {"CIRCUIT_BREAKER_PROFILE"} == example().keys()
    assert [name for name in needed if example()[name]] == []
    assert "/deploy/docker/.env\n" in (ROOT / ".gitignore").read_text()


def seconds(duration: str) -> float:
    return float(duration.removesuffix("s"))
