"""The tooling's own parts, without a stack: settings, paths, configuration, logs."""

from __future__ import annotations

import configparser
import os
import socket
import sys
from pathlib import Path

import pytest

from deploy import procfs
from deploy.config import LONGEST_SOCKET_PATH, StackError, layout
from deploy.demo.ephemeral_stack import free_ports
from deploy.mongodb import find_mongod
from deploy.supervisor import render
from deploy.terminal import logs
from protocols.topology import PORTS


def test_the_defaults_are_the_contracts() -> None:
    """Ports, and the processes that hold them."""
    found = layout({})
    assert {name: found.ports_of(name) for name in found.processes} == {
        "mongodb": [27017],
        "auth-service": [8081],
        "school-service": [8082, 50051],
        "student-service": [8083],
        "api-gateway": [8080],
    }
    assert found.mongodb_uri == "mongodb://127.0.0.1:27017/?replicaSet=rs0"


@pytest.mark.parametrize("value", ["0", "65536", "-1", "80a", "1e3", " 80"])
def test_a_bad_port_is_named(value: str) -> None:
    """By its variable and what was there."""
    with pytest.raises(StackError, match=rf"setting GATEWAY_PORT: not a port .* \(got '{value}'\)"):
        layout({"GATEWAY_PORT": value})


def test_two_settings_cannot_share_a_port() -> None:
    """It would fail later, and elsewhere."""
    with pytest.raises(StackError, match="AUTH_SERVICE_PORT and SCHOOL_SERVICE_PORT are both 9000"):
        layout({"AUTH_SERVICE_PORT": "9000", "SCHOOL_SERVICE_PORT": "9000"})


def test_a_database_elsewhere_is_not_started() -> None:
    """And its URI reaches the services as it is."""
    found = layout({"MONGODB_URI": "mongodb://db.example:27017"})
    assert "mongodb" not in found.processes
    assert found.environment()["MONGODB_URI"] == "mongodb://db.example:27017"


def test_without_any_mongod_one_sentence_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a platform that the wheel isn't made for."""
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.delitem(sys.modules, "fiftyone", raising=False)
    with pytest.raises(StackError, match="^there is no mongod here: install MongoDB 6"):
        find_mongod()


def test_each_process_is_told_where_the_others_are() -> None:
    """Other ports than the usual reach all of them."""
    told = layout({"SCHOOL_SERVICE_PORT": "9002", "SCHOOL_GRPC_PORT": "9052"}).environment()
    assert (told["SCHOOL_SERVICE_URL"], told["SCHOOL_GRPC_ADDRESS"]) == (
        "http://127.0.0.1:9002",
        "127.0.0.1:9052",
    )


@pytest.mark.parametrize("depth", [10, 200])
def test_a_deep_folder_has_a_socket_that_can_be_bound(tmp_path: Path, depth: int) -> None:
    """Supervisor binds it with its pid behind the name first."""
    found = layout({"STACK_DIR": str(tmp_path / ("x" * depth))})
    assert len(str(found.socket)) <= LONGEST_SOCKET_PATH
    assert (found.socket.parent == found.folder) == (depth == 10)


def test_a_layout_is_remembered_for_commands_without_its_environment(tmp_path: Path) -> None:
    """`GATEWAY_PORT=9000 just up`, then `just health`."""
    started = layout({"STACK_DIR": str(tmp_path), "GATEWAY_PORT": "9000"})
    started.save()
    assert layout({"STACK_DIR": str(tmp_path)}).saved() == started


def test_a_percent_sign_in_a_path_survives_supervisors_own_syntax(tmp_path: Path) -> None:
    """It would be taken for an expansion."""
    found = layout({"STACK_DIR": str(tmp_path / "100%"), "MONGODB_URI": "mongodb://elsewhere"})
    parser = configparser.RawConfigParser()
    parser.read_string(render(found))
    expanded = parser["program:auth-service"]["stdout_logfile"] % {}
    assert expanded == f"{tmp_path}/100%/logs/auth-service.log"


def test_the_holder_of_a_port_is_found() -> None:
    """This process, while it listens; nobody afterwards."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert not procfs.is_free(port)
        assert procfs.holder(port) == procfs.Holder(os.getpid(), procfs.command_of(os.getpid()))
    assert procfs.is_free(port)
    assert procfs.holder(port).pid is None


def test_a_followed_log_goes_on_after_rotation(tmp_path: Path) -> None:
    """What was written before and after the move is read, once; half lines wait."""
    path = tmp_path / "a.log"
    path.write_text("old\n")
    tail = logs.Tail(path)
    with path.open("a") as file:
        file.write("one\ntw")
    assert list(tail.lines()) == ["one"]
    with path.open("a") as file:
        file.write("o\n")
    path.rename(tmp_path / "a.log.1")
    path.write_text("three\n")
    assert list(tail.lines()) == ["two", "three"]
    assert list(tail.lines()) == []


def test_several_logs_are_merged_by_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A line without a time stays behind the one before it."""
    found = layout({"STACK_DIR": str(tmp_path)})
    found.logs.mkdir(parents=True)
    found.log("mongodb").write_text('{"t":{"$date":"2030-01-01T00:00:02.5+00:00"}}\n')
    found.log("auth-service").write_text("2030-01-01T00:00:01Z first\n  more\n2030-01-01T00:00:03Z last\n")
    logs.show(found, ["mongodb", "auth-service"], follow=False, last=None)
    names = [line.split("│")[0].strip() for line in capsys.readouterr().out.splitlines()]
    assert names == ["auth-service", "auth-service", "mongodb", "auth-service"]


def test_free_ports_differ_and_are_free() -> None:
    """As many as a stack needs."""
    found = free_ports(len(PORTS))
    assert len(set(found)) == len(PORTS)
    assert all(map(procfs.is_free, found))
