"""The school and student services as processes: how they start, stop and refuse to start."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.mongo import free_port

ROOT = Path(__file__).parents[2]
PORTS = {
    "school": ("SCHOOL_SERVICE_PORT", "SCHOOL_GRPC_PORT"),
    "student": ("STUDENT_SERVICE_PORT",),
}


class ServiceProcess:
    """One service as a process; nothing that it depends on is there."""

    def __init__(self, name: str, **settings: str) -> None:
        absent = {
            "MONGODB_URI": f"mongodb://127.0.0.1:{free_port()}",
            "AUTH_SERVICE_URL": f"http://127.0.0.1:{free_port()}",
            "SCHOOL_GRPC_ADDRESS": f"127.0.0.1:{free_port()}",
        }
        ports = {variable: str(free_port()) for variable in PORTS[name]}
        self.settings = {**absent, **ports, **settings}
        self.running = subprocess.Popen(
            [sys.executable, "-m", f"services.{name}"],
            cwd=ROOT,
            env={**os.environ, **self.settings},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.url = f"http://127.0.0.1:{self.settings[PORTS[name][0]]}"

    def wait_until_up(self) -> None:
        for _ in range(200):
            try:
                httpx.get(f"{self.url}/livez", trust_env=False).raise_for_status()
            except httpx.HTTPError:
                time.sleep(0.05)
            else:
                return
        raise AssertionError("it doesn't come up")


@pytest.fixture
def processes() -> Iterator[list[ServiceProcess]]:
    started: list[ServiceProcess] = []
    yield started
    for process in started:
        process.running.kill()
        process.running.communicate()


@pytest.mark.parametrize("name", ["school", "student"])
def test_a_service_starts_without_its_dependencies_and_stops_with_0(
    name: str, processes: list[ServiceProcess]
) -> None:
    processes.append(process := ServiceProcess(name))
    process.wait_until_up()
    process.running.send_signal(signal.SIGTERM)
    output, errors = process.running.communicate(timeout=30)
    assert process.running.returncode == 0
    assert "Traceback" not in output + errors


@pytest.mark.parametrize("variable", PORTS["school"])
def test_a_taken_port_is_named_and_ends_the_process_with_1(
    variable: str, processes: list[ServiceProcess]
) -> None:
    processes.append(first := ServiceProcess("school"))
    first.wait_until_up()
    used_port = first.settings[variable]
    processes.append(second := ServiceProcess("school", **{variable: used_port}))
    _, errors = second.running.communicate(timeout=30)
    assert (second.running.returncode, errors.count("\n")) == (1, 1)
    assert f":{used_port}" in errors


def test_an_invalid_setting_is_named_and_ends_the_process_with_2(processes: list[ServiceProcess]) -> None:
    processes.append(process := ServiceProcess("student", STUDENT_SERVICE_PORT="eighty"))
    _, errors = process.running.communicate(timeout=30)
    assert process.running.returncode == 2
    assert "STUDENT_SERVICE_PORT" in errors


PROBES = """
[breakers.student-database]
probe = { kind = "ping" }
[breakers.student-service-grpc]
probe = { kind = "grpc.health" }
[breakers.auth-service-http]
probe = { kind = "http", path = "/readyz" }
"""


def test_a_service_uses_its_own_probes_of_a_file_for_all_services(
    tmp_path: Path, processes: list[ServiceProcess]
) -> None:
    file = tmp_path / "circuit-breakers.toml"
    file.write_text(PROBES)
    processes.append(process := ServiceProcess("student", CIRCUIT_BREAKERS=str(file)))
    process.wait_until_up()
    shown = httpx.get(f"{process.url}/metrics", trust_env=False).text
    assert '{service="student-database"' in shown
    assert '{service="student-service-grpc"' in shown


def test_a_probe_of_another_kind_ends_the_process_with_2(
    tmp_path: Path, processes: list[ServiceProcess]
) -> None:
    file = tmp_path / "circuit-breakers.toml"
    file.write_text(PROBES.replace('"grpc.health"', '"ping"'))
    processes.append(process := ServiceProcess("student", CIRCUIT_BREAKERS=str(file)))
    _, errors = process.running.communicate(timeout=30)
    assert process.running.returncode == 2
    assert "breakers.student-service-grpc.probe.kind: must be grpc.health" in errors
