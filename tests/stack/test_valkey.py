"""The Valkey of a real stack."""

from __future__ import annotations

from pathlib import Path

from deploy import environments, procfs
from deploy.programs import valkey
from tests.stack.running import RunningStack


def test_the_python_processes_alone_have_its_address_and_no_command_line_has_its_password(
    running: RunningStack,
) -> None:
    """`ps` shows command lines to every user."""
    config = running.stack.config
    password = (config.valkey_folder / "password").read_text().strip()
    expected = f"VALKEY_URL=valkey://:{password}@127.0.0.1:{config.ports['VALKEY_PORT']}/0"
    for name in config.processes:
        folder = Path(f"/proc/{running.stack.pid(name)}")
        has_it = expected.encode() in (folder / "environ").read_bytes().split(b"\0")
        assert has_it == (name in environments.python_processes(config)), name
    for pid in procfs.processes_of(config.folder):
        assert password not in procfs.command_of(pid)


def test_the_others_run_and_start_without_it(running: RunningStack) -> None:
    """A stopped one refuses connections; the one started next has the same password."""
    stack = running.stack
    stack.run("stop", "valkey")
    assert not procfs.accepts_connections(stack.config.ports["VALKEY_PORT"])
    stack.run("restart", "school-service")
    assert running.call("GET", "/schools").status_code == 200
    assert stack.run("status", check=False).returncode == 1
    stack.run("restart", "valkey")
    assert valkey.is_ready(stack.config)
    assert "Ready to accept connections" in stack.run("logs", "valkey").stdout


def test_one_that_is_killed_is_started_again(running: RunningStack) -> None:
    killed = running.stack.kill("valkey")
    running.stack.run("up")
    assert valkey.is_ready(running.stack.config)
    assert running.stack.pid("valkey") != killed
