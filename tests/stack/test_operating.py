"""The recipes up, stop, down, status, logs, health and clean-db on a real stack, and their error messages."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys

import pytest

from deploy import procfs
from deploy.config import ROOT
from deploy.demo.ephemeral_stack import EphemeralStack, wait_for
from protocols.topology import PROCESSES
from tests.stack.running import RunningStack


def pids(stack: EphemeralStack) -> dict[str, int]:
    """The pid of each process."""
    return {name: stack.pid(name) for name in PROCESSES}


def test_a_second_up_restarts_nothing(running: RunningStack) -> None:
    before = pids(running.stack)
    assert "The stack is up." in running.stack.run("up").stdout
    assert pids(running.stack) == before


def test_a_stopped_process_refuses_connections_and_stays_stopped(running: RunningStack) -> None:
    """Also after a second stop. The other processes go on; start starts it again."""
    stack = running.stack
    ports = stack.config.ports_of("school-service")
    for _ in range(2):
        stack.run("stop", "school-service")
        for port in ports:
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port), timeout=1)
    status = stack.run("status", check=False)
    assert status.returncode == 1
    assert status.stdout.count("RUNNING") == 5
    assert re.search(r"school-service\s+STOPPED\s+–\s+\d+ s\s", status.stdout)
    stack.run("start", "school-service")
    stack.run("start", "school-service")
    assert all(map(procfs.accepts_connections, ports))
    assert stack.run("status").stdout.count("RUNNING") == 6


def test_an_unknown_name_is_refused_with_the_list_of_names(running: RunningStack) -> None:
    """By every recipe that takes a name."""
    for recipe in ("stop", "start", "restart", "logs"):
        done = running.stack.run(recipe, "auth", check=False)
        assert done.returncode == 1
        assert done.stderr == f"there is no process 'auth'; one of: {', '.join(PROCESSES)}\n"


def test_logs_prints_the_whole_file_or_its_last_lines(running: RunningStack) -> None:
    """Of one process unchanged; of all processes with the process before each line."""
    stack = running.stack
    whole = stack.run("logs", "mongodb").stdout
    assert whole.splitlines()[-1].startswith("{")
    assert len(whole.splitlines()) > 50
    assert len(stack.run("logs", "mongodb", "-n", "3").stdout.splitlines()) == 3
    merged = stack.run("logs", "-n", "2").stdout.splitlines()
    assert {line.split("│")[0].strip() for line in merged} == set(PROCESSES)


def test_health_in_a_pipe_is_json_with_an_exit_status(running: RunningStack) -> None:
    """0 if all is healthy; 1 with an open breaker."""
    assert running.stack.run("health").stdout.startswith('{\n  "message": "All services are healthy"')
    running.stack.run("stop", "auth-service")
    for _ in range(5):
        running.stack.login()
    done = running.stack.run("health", check=False)
    assert done.returncode == 1
    assert '"error": "PARTIAL_OUTAGE"' in done.stdout


def test_reload_gives_every_process_the_policies_of_the_file(running: RunningStack) -> None:
    """A bad file changes nothing and is reported with file, key and reason. A stopped process is left out."""
    stack = running.stack
    policies = stack.folder / "breakers.toml"
    before = policies.read_text()

    def most() -> set[int]:
        names = ("auth-database", "student-database")
        found = [running.call("GET", f"/admin/breakers/{name}").json()["data"] for name in names]
        return {one["policy"]["max_failures"] for one in found}

    stack.run("stop", "school-service")
    try:
        policies.write_text(before.replace("-database]", "-database]\nmax_failures = 9"))
        done = stack.run("reload")
        names = ("auth-service", "student-service", "api-gateway")
        assert done.stdout.splitlines() == [f"{name} has read the policies again." for name in names]
        assert most() == {9}
        policies.write_text(before.replace("-database]", "-database]\nmax_failures = 0"))
        done = stack.run("reload", check=False)
        assert done.returncode == 1
        assert f"{policies}: breakers.auth-database.max_failures: " in done.stderr
        assert most() == {9}
        assert "nothing has changed" not in stack.log("auth-service")
    finally:
        policies.write_text(before)
    assert stack.run("reload").stdout.count("has read") == 3
    assert most() == {5}


def test_a_process_can_be_run_by_hand_with_its_environment_file(running: RunningStack) -> None:
    """As `just up` explains: in a shell without any setting of the stack."""
    stack = running.stack
    assert f"set -a; . {stack.config.environment_file('auth-service')};" in stack.run("up").stdout
    stack.run("stop", "auth-service")
    script = f'set -a; . "{stack.config.environment_file("auth-service")}"; exec "$0" -m services.auth'
    words = ["/bin/sh", "-c", script, sys.executable]
    bare = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}
    with subprocess.Popen(words, cwd=ROOT, env=bare, stdout=subprocess.DEVNULL) as process:
        try:
            assert wait_for(lambda: stack.login().status_code == 200, 60)
        finally:
            process.terminate()
            assert process.wait(30) == 0


def test_up_reports_a_taken_port_with_its_holder() -> None:
    """It starts no process."""
    code = (
        "import socket, sys; s = socket.create_server(('', int(sys.argv[1]))); print(1, flush=True); input()"
    )
    stack = EphemeralStack()
    port = stack.config.ports["SCHOOL_GRPC_PORT"]
    command = [sys.executable, "-c", code, str(port)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        holder.stdout.readline()
        with pytest.raises(RuntimeError) as caught:
            stack.__enter__()
        holder.kill()
    message = str(caught.value)
    assert (
        f"port {port} (SCHOOL_GRPC_PORT, for school-service) is taken by pid {holder.pid}: {sys.executable}"
        in message
    )
    assert procfs.processes_of(stack.config.folder) == []


def test_up_reports_invalid_policies_before_it_starts_a_process() -> None:
    """With file, key and reason."""
    stack = EphemeralStack(CIRCUIT_BREAKER_PROFILE="calm")
    with pytest.raises(RuntimeError) as caught:
        stack.__enter__()
    expected = "breakers.toml: CIRCUIT_BREAKER_PROFILE: must be one of default, dev, prod, got 'calm'"
    assert expected in str(caught.value)
    assert not stack.config.logs.exists()


@pytest.mark.resilience
def test_down_ends_frozen_and_orphaned_processes() -> None:
    """Also without a supervisor. A second down reports that the stack was not up."""
    with EphemeralStack() as stack:
        folder = stack.config.folder
        os.kill(stack.pid("auth-service"), signal.SIGSTOP)
        stack.run("down")
        assert procfs.processes_of(folder) == []
        stack.run("up")
        supervisor = int((folder / "supervisord.pid").read_text())
        os.kill(supervisor, signal.SIGKILL)
        assert wait_for(lambda: supervisor not in procfs.processes_of(folder), 5)
        assert len(procfs.processes_of(folder)) >= len(PROCESSES), "the others run without it"
        stack.run("up")
        assert stack.run("status").stdout.count("RUNNING") == 6
        os.kill(int((folder / "supervisord.pid").read_text()), signal.SIGKILL)
        assert stack.run("down").stdout.endswith("The stack is down.\n")
        assert procfs.processes_of(folder) == []
        assert all(map(procfs.is_free, stack.config.ports.values()))
        assert stack.run("down").stdout == "The stack was not up.\n"


@pytest.mark.resilience
def test_data_survive_down_and_other_ports_and_clean_db_deletes_them() -> None:
    """The replica set follows mongod's new port. clean-db works with and without a running mongod."""
    with EphemeralStack() as stack:
        stack.sign_up()
        stack.run("down")
        stack.move()
        stack.run("up")
        assert stack.login().status_code == 200
        stack.run("clean-db", "--yes")
        assert stack.login().status_code == 401
        stack.sign_up()
        stack.run("down")
        stack.run("clean-db", "--yes")
        stack.run("up")
        assert stack.login().status_code == 401


@pytest.mark.parametrize(
    ("name", "breaker"),
    [
        ("auth-service", "auth-database"),
        ("school-service", "school-database"),
        ("student-service", "student-service-grpc"),
        ("api-gateway", "auth-service-http"),
    ],
)
def test_sighup_reloads_the_policies(running: RunningStack, name: str, breaker: str) -> None:
    """In the same process. An invalid file changes nothing, and the log has the reason."""
    stack = running.stack
    policies = stack.folder / "breakers.toml"
    before, pid = policies.read_text(), stack.pid(name)
    table = f"[breakers.{breaker}]"

    def policy() -> int:
        answer = running.call("GET", f"/admin/breakers/{breaker}")
        return answer.json()["data"]["policy"]["max_failures"]

    try:
        policies.write_text(before.replace(table, f"{table}\nmax_failures = 9"))
        os.kill(pid, signal.SIGHUP)
        assert wait_for(lambda: policy() == 9, 5)
        policies.write_text(before.replace(table, f"{table}\nmax_failures = 0"))
        os.kill(pid, signal.SIGHUP)
        assert wait_for(lambda: "nothing has changed" in stack.log(name), 5)
        assert policy() == 9
    finally:
        policies.write_text(before)
        os.kill(pid, signal.SIGHUP)
    assert wait_for(lambda: policy() < 9, 5)
    assert stack.pid(name) == pid
