"""The recipes themselves: up, stop, down, status, logs, and what they say when something is wrong."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys

import pytest

from deploy import procfs
from deploy.demo.ephemeral_stack import EphemeralStack, wait_for
from protocols.topology import PROCESSES
from tests.stack.running import Running


def pids(stack: EphemeralStack) -> dict[str, int]:
    """Who listens now."""
    return {name: stack.pid(name) for name in PROCESSES}


def test_up_twice_is_harmless(running: Running) -> None:
    """Nothing is started anew."""
    before = pids(running.stack)
    assert "The stack is up." in running.stack.run("up").stdout
    assert pids(running.stack) == before


def test_a_stopped_process_refuses_connections_and_stays_stopped(running: Running) -> None:
    """Also when it is stopped twice; the others keep running; start brings it back."""
    stack = running.stack
    ports = stack.layout.ports_of("school-service")
    for _ in range(2):
        stack.run("stop", "school-service")
        for port in ports:
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port), timeout=1)
    status = stack.run("status", check=False)
    assert (status.returncode, status.stdout.count("RUNNING"), "STOPPED" in status.stdout) == (1, 4, True)
    stack.run("start", "school-service")
    stack.run("start", "school-service")
    assert all(map(procfs.answers, ports))
    assert stack.run("status").stdout.count("RUNNING") == 5


def test_an_unknown_name_is_answered_with_the_list(running: Running) -> None:
    """For every recipe that takes a name."""
    for recipe in ("stop", "start", "restart", "logs"):
        said = running.stack.run(recipe, "auth", check=False)
        assert (said.returncode, said.stderr) == (
            1,
            f"there is no process 'auth'; one of: {', '.join(PROCESSES)}\n",
        )


def test_logs_show_the_whole_file_or_its_end(running: Running) -> None:
    """One process raw; all of them merged, each line with its process."""
    stack = running.stack
    whole = stack.run("logs", "mongodb").stdout
    assert whole.splitlines()[-1].startswith("{")
    assert len(whole.splitlines()) > 50
    assert len(stack.run("logs", "mongodb", "-n", "3").stdout.splitlines()) == 3
    merge_reports = stack.run("logs", "-n", "2").stdout.splitlines()
    assert {line.split("│")[0].strip() for line in merge_reports} == set(PROCESSES)


def test_health_is_json_when_piped_and_tells_by_its_status(running: Running) -> None:
    """Healthy: 0; an open breaker: 1."""
    assert running.stack.run("health").stdout.startswith('{\n  "message": "All services are healthy"')
    running.stack.run("stop", "auth-service")
    for _ in range(5):
        running.stack.login()
    said = running.stack.run("health", check=False)
    assert (said.returncode, '"error": "PARTIAL_OUTAGE"' in said.stdout) == (1, True)


def test_a_taken_port_is_named_with_its_holder() -> None:
    """Before anything is started; nothing is left behind."""
    code = (
        "import socket, sys; s = socket.create_server(('', int(sys.argv[1]))); print(1, flush=True); input()"
    )
    stack = EphemeralStack()
    port = stack.layout.ports["SCHOOL_GRPC_PORT"]
    command = [sys.executable, "-c", code, str(port)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        holder.stdout.readline()
        with pytest.raises(RuntimeError) as caught:
            stack.__enter__()
        holder.kill()
    said = str(caught.value)
    assert (
        f"port {port} (SCHOOL_GRPC_PORT, for school-service) is taken by pid {holder.pid}: {sys.executable}"
        in said
    )
    assert procfs.left_over(stack.layout.folder) == []


def test_policies_that_cannot_be_used_stop_up_before_anything_runs() -> None:
    """With file, key and reason."""
    stack = EphemeralStack(CIRCUIT_BREAKER_PROFILE="calm")
    with pytest.raises(RuntimeError) as caught:
        stack.__enter__()
    said = "breakers.toml: CIRCUIT_BREAKER_PROFILE: must be one of default, dev, prod, got 'calm'"
    assert said in str(caught.value)
    assert not stack.layout.logs.exists()


@pytest.mark.resilience
def test_down_leaves_no_process_whatever_happened() -> None:
    """Frozen, or orphaned by a supervisor that was killed; and it may be said twice."""
    with EphemeralStack() as stack:
        folder = stack.layout.folder
        os.kill(stack.pid("auth-service"), signal.SIGSTOP)
        stack.run("down")
        assert procfs.left_over(folder) == []
        stack.run("up")
        supervisor = int((folder / "supervisord.pid").read_text())
        os.kill(supervisor, signal.SIGKILL)
        assert wait_for(lambda: supervisor not in procfs.left_over(folder), 5)
        assert len(procfs.left_over(folder)) >= len(PROCESSES), "the others live on without it"
        stack.run("up")
        assert stack.run("status").stdout.count("RUNNING") == 5
        os.kill(int((folder / "supervisord.pid").read_text()), signal.SIGKILL)
        assert stack.run("down").stdout.endswith("The stack is down.\n")
        assert procfs.left_over(folder) == []
        assert all(map(procfs.is_free, stack.layout.ports.values()))
        assert stack.run("down").stdout == "The stack was not up.\n"


@pytest.mark.resilience
def test_data_outlive_down_and_a_move_to_other_ports_but_not_clean_db() -> None:
    """The replica set follows mongod to its new port; clean-db empties it, running or not."""
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
def test_a_hangup_reloads_the_policies(running: Running, name: str, breaker: str) -> None:
    """Without a new process; a file that can't be used changes nothing, and the log says why."""
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
