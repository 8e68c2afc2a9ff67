"""The commands trust supervisor's socket if it is ours, and a pid if the process is the stack's."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deploy import procfs
from deploy.config import MARK, StackConfig, StackError, stack_config
from deploy.demo.ephemeral_stack import wait_for
from deploy.supervisor import StackSupervisor

ROOT_ALONE = pytest.mark.skipif(os.getuid() != 0, reason="only root can make files of another user")
STRANGER = 65534


@contextmanager
def listening(config: StackConfig) -> Iterator[socket.socket]:
    """A listener at the place of supervisor's socket, as another program could make it."""
    config.socket.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(config.socket))
        config.socket.chmod(0o700)
        server.listen()
        server.settimeout(0.2)
        try:
            yield server
        finally:
            config.socket.unlink()


def is_reached(config: StackConfig, server: socket.socket) -> bool:
    """Whether a command connects to it."""
    server.setblocking(False)
    with pytest.raises(StackError, match="isn't this user's alone"):
        StackSupervisor(config).is_alive()
    with pytest.raises(StackError, match="isn't this user's alone"):
        StackSupervisor(config).start("auth-service")
    try:
        server.accept()
    except BlockingIOError:
        return False
    return True


@pytest.fixture(params=["own folder", "folder under /tmp"])
def config(request: pytest.FixtureRequest, tmp_path: Path) -> StackConfig:
    deep = tmp_path / ("x" * 120) if request.param == "folder under /tmp" else tmp_path
    found = stack_config({"STACK_DIR": str(deep / "stack")})
    assert (found.socket.parent == found.folder) == (request.param == "own folder")
    found.folder.mkdir(parents=True)
    return found


def test_without_a_socket_the_stack_is_down(config: StackConfig) -> None:
    assert not StackSupervisor(config).is_alive()
    with pytest.raises(StackError, match="the stack isn't up; start it with `uv run just up`"):
        StackSupervisor(config).start("auth-service")


def test_a_socket_that_others_may_use_is_not_trusted(config: StackConfig) -> None:
    with listening(config) as server:
        config.socket.chmod(0o722)
        assert not is_reached(config, server)


def test_a_socket_in_a_folder_that_others_may_write_is_not_trusted(config: StackConfig) -> None:
    with listening(config) as server:
        config.socket.parent.chmod(0o720)
        try:
            assert not is_reached(config, server)
        finally:
            config.socket.parent.chmod(0o700)


@ROOT_ALONE
@pytest.mark.parametrize("part", ["socket", "folder"])
def test_another_users_socket_or_folder_is_not_trusted(config: StackConfig, part: str) -> None:
    with listening(config) as server:
        path = config.socket if part == "socket" else config.socket.parent
        os.chown(path, STRANGER, STRANGER)
        try:
            assert not is_reached(config, server)
        finally:
            os.chown(path, 0, 0)


def test_a_link_in_place_of_the_socket_is_not_trusted(config: StackConfig, tmp_path: Path) -> None:
    """This also holds for a link to a socket that would be trusted."""
    other = stack_config({"STACK_DIR": str(tmp_path / "other")})
    config.socket.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with listening(other) as server:
        config.socket.symlink_to(other.socket)
        assert not is_reached(config, server)
        config.socket.unlink()


@contextmanager
def sleeper(folder: Path | None) -> Iterator[subprocess.Popen[bytes]]:
    """A process with the mark of a stack in its environment; None: without."""
    marked = {MARK: str(folder)} if folder else {}
    words = [sys.executable, "-c", "print(1, flush=True); import time; time.sleep(60)"]
    process = subprocess.Popen(words, env={**os.environ, **marked}, stdout=subprocess.PIPE)
    assert process.stdout
    process.stdout.readline()
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_the_processes_of_a_stack_are_ended_and_no_others(tmp_path: Path) -> None:
    with sleeper(tmp_path) as own, sleeper(tmp_path / "other") as other, sleeper(None) as foreign:
        assert procfs.end_processes(tmp_path) == [own.pid]
        assert wait_for(lambda: own.poll() == -signal.SIGTERM, 5)
        assert other.poll() is None
        assert foreign.poll() is None


def test_a_pid_that_another_process_has_got_meanwhile_is_not_signalled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pid changes hands between the list of the stack's processes and the signal."""
    with sleeper(None) as stranger:
        lists = iter([[stranger.pid], []])
        monkeypatch.setattr(procfs, "processes_of", lambda _: next(lists, []))
        procfs.end_processes(tmp_path, patience=0.5)
        assert not wait_for(lambda: stranger.poll() is not None, 0.5)
