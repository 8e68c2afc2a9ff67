"""deploy/systemd: the units are valid, confined, and run the four processes."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest

from deploy.settings import settings
from protocols.topology import API_GATEWAY, MODULES, PORTS
from tests.deploy.fleet.settings import longest_stop, unknown
from tests.deploy.fleet.tools import SYSTEMD, run, tool

SHARED = SYSTEMD / "school-.service.d" / "50-process.conf"
UNITS = sorted(SYSTEMD.glob("*@.service"))
HOME = "/opt/school"


class Section(dict[str, list[str]]):
    """The values of each key of a section. A key may stand several times."""


def sections(file: Path) -> dict[str, Section]:
    found: dict[str, Section] = {}
    for line in file.read_text().splitlines():
        if heading := re.fullmatch(r"\[(\w+)\]", line):
            found[heading[1]] = Section()
        elif line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found[list(found)[-1]].setdefault(key, []).append(value)
    return found


def environment(*files: Path) -> dict[str, str]:
    words = [
        word for file in files for line in sections(file)["Service"]["Environment"] for word in line.split()
    ]
    return dict(word.split("=", 1) for word in words)


def example() -> dict[str, str]:
    lines = (SYSTEMD / "school.env.example").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A root folder with the units in /etc/systemd/system, and an interpreter where they expect one."""
    folder = tmp_path / "etc/systemd/system"
    shutil.copytree(SYSTEMD, folder)
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\n")
    python.chmod(0o755)
    for unit in folder.glob("*@.service"):
        unit.write_text(unit.read_text().replace(f"{HOME}/.venv/bin/python", str(python)))
    return tmp_path


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_finds_no_fault(unit: Path, installed: Path) -> None:
    """Neither in the unit nor in shared parts. An unknown key is only a warning: nothing may be printed."""
    folder = installed / "etc/systemd/system"
    search = {**os.environ, "SYSTEMD_UNIT_PATH": f"{folder}:/lib/systemd/system"}
    instance = unit.name.replace("@.", "@8090.")
    output = run(tool("systemd-analyze"), "verify", "--man=no", folder / instance, env=search)
    ours = [line for line in output.splitlines() if "school" in line]
    assert ours == []


def test_systemd_finds_no_fault_in_the_target(installed: Path) -> None:
    folder = installed / "etc/systemd/system"
    search = {**os.environ, "SYSTEMD_UNIT_PATH": f"{folder}:/lib/systemd/system"}
    output = run(tool("systemd-analyze"), "verify", "--man=no", folder / "school.target", env=search)
    assert [line for line in output.splitlines() if "school" in line] == []


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_calls_it_well_confined(unit: Path, installed: Path) -> None:
    """0 is the best exposure, 10 the worst; fails above 1.5."""
    words = ["security", "--offline=yes", "--no-pager", "--threshold=15", f"--root={installed}"]
    output = run(tool("systemd-analyze"), *words, unit.name.replace("@.", "@8090."))
    assert "Overall exposure level" in output


def test_there_is_a_unit_for_each_process() -> None:
    assert [unit.name for unit in UNITS] == sorted(f"school-{process}@.service" for process in MODULES)


@pytest.mark.parametrize("process", MODULES)
def test_a_unit_runs_its_process_on_the_port_of_its_instance(process: str) -> None:
    unit = SYSTEMD / f"school-{process}@.service"
    service = sections(unit)["Service"]
    assert service["ExecStart"] == [f"{HOME}/.venv/bin/python -m {MODULES[process]}"]
    first = next(setting for setting, (owner, _) in PORTS.items() if owner == process)
    more = {"OPERATIONS_PORT": "1%i"} if process == API_GATEWAY else {}
    assert environment(unit) == {first: "%i", **more}
    assert sections(unit)["Install"]["WantedBy"] == ["school.target"]
    assert sections(unit)["Unit"]["PartOf"] == ["school.target"]


def test_the_variables_are_settings() -> None:
    assert unknown(environment(SHARED)) == set()
    assert unknown(example()) == set()


def test_the_example_has_no_secret_and_the_default_addresses() -> None:
    secret = {"ADMIN_TOKEN", "SCHOOL_GRPC_SECRET", "VALKEY_URL"}
    assert {key for key, value in example().items() if not value} == secret
    for key, value in example().items():
        if key.endswith(("_SERVICE_URL", "_GRPC_ADDRESS")) or key == "MONGODB_URI":
            assert value == settings()[key].default


def test_systemd_waits_until_a_process_has_stopped() -> None:
    (patience,) = sections(SHARED)["Service"]["TimeoutStopSec"]
    assert float(patience) > longest_stop(example()) + 5
    assert float(example()["SHUTDOWN_DELAY"]) >= 3  # HAProxy's: tests/deploy/fleet/test_load_balancer.py


def test_a_reload_and_a_crash_are_handled() -> None:
    service = sections(SHARED)["Service"]
    assert service["ExecReload"] == ["/bin/kill -HUP $MAINPID"]
    assert service["Restart"] == ["on-failure"]
    # Of load in runtime/config/settings.py.
    assert service["RestartPreventExitStatus"] == ["2"]
    assert service["KillMode"] == ["mixed"]
