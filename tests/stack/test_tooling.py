"""Parts of deploy/ without a stack: settings, paths, supervisor's configuration, ports, logs."""

from __future__ import annotations

import configparser
import json
import os
import socket
import sys
from pathlib import Path

import pytest

from deploy import procfs
from deploy.commands import require_process
from deploy.config import LONGEST_SOCKET_PATH, StackError, ValkeyPlace, stack_config
from deploy.demo.ephemeral_stack import free_ports
from deploy.environments import settings_of
from deploy.programs.mongodb import find_mongod
from deploy.supervisor import render
from deploy.terminal import logs
from protocols.topology import PORTS


def test_the_default_ports_of_all_processes() -> None:
    found = stack_config({})
    assert {name: found.ports_of(name) for name in found.processes} == {
        "mongodb": [27017],
        "valkey": [6380],
        "auth-service": [8081],
        "school-service": [8082, 50051],
        "student-service": [8083],
        "api-gateway": [8080],
    }
    assert found.mongodb_uri == "mongodb://127.0.0.1:27017/?replicaSet=rs0"


@pytest.mark.parametrize("value", ["0", "65536", "-1", "80a", "1e3", " 80"])
def test_an_invalid_port_is_refused_with_its_setting_and_value(value: str) -> None:
    with pytest.raises(StackError, match=rf"setting GATEWAY_PORT: not a port .* \(got '{value}'\)"):
        stack_config({"GATEWAY_PORT": value})


def test_two_settings_cannot_share_a_port() -> None:
    with pytest.raises(StackError, match="AUTH_SERVICE_PORT and SCHOOL_SERVICE_PORT are both 9000"):
        stack_config({"AUTH_SERVICE_PORT": "9000", "SCHOOL_SERVICE_PORT": "9000"})


def test_with_mongodb_uri_no_mongod_is_started() -> None:
    """The services get the URI unchanged."""
    found = stack_config({"MONGODB_URI": "mongodb://db.example:27017"})
    assert "mongodb" not in found.processes
    assert settings_of(found, "auth-service", {})["MONGODB_URI"] == "mongodb://db.example:27017"


def test_without_any_mongod_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """For example on a platform without a wheel."""
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.delitem(sys.modules, "fiftyone", raising=False)
    with pytest.raises(StackError, match="^there is no mongod here: install MongoDB 6"):
        find_mongod()


@pytest.mark.parametrize(
    ("url", "place"), [("valkey://:p@v.example:6379/0", ValkeyPlace.ELSEWHERE), ("", ValkeyPlace.NONE)]
)
def test_with_valkey_url_no_valkey_is_started(url: str, place: ValkeyPlace) -> None:
    """Set to a server elsewhere, or empty."""
    found = stack_config({"VALKEY_URL": url})
    assert found.valkey == place
    assert "valkey" not in found.processes
    with pytest.raises(StackError, match="^this stack doesn't run valkey: VALKEY_URL is set$"):
        require_process(found, "valkey")


def test_the_environment_has_the_addresses_of_all_processes() -> None:
    """With the ports that are configured."""
    found = stack_config({"SCHOOL_SERVICE_PORT": "9002", "SCHOOL_GRPC_PORT": "9052"})
    environment = settings_of(found, "student-service", {})
    assert environment["SCHOOL_SERVICE_URL"] == "http://127.0.0.1:9002"
    assert environment["SCHOOL_GRPC_ADDRESS"] == "127.0.0.1:9052"


@pytest.mark.parametrize("depth", [10, 200])
def test_the_socket_of_a_deep_folder_has_a_short_path(tmp_path: Path, depth: int) -> None:
    """Including the pid that supervisor appends to it first."""
    found = stack_config({"STACK_DIR": str(tmp_path / ("x" * depth))})
    assert len(str(found.socket)) <= LONGEST_SOCKET_PATH
    assert (found.socket.parent == found.folder) == (depth == 10)


def test_a_saved_configuration_is_used_without_its_environment(tmp_path: Path) -> None:
    """As in `GATEWAY_PORT=9000 just up`, then `just health`."""
    started = stack_config({"STACK_DIR": str(tmp_path), "GATEWAY_PORT": "9000"})
    started.save()
    assert stack_config({"STACK_DIR": str(tmp_path)}).saved() == started


def test_a_configuration_that_an_earlier_version_saved_has_no_valkey(tmp_path: Path) -> None:
    """Its stack may still run, without one, and later commands work on it."""
    older = {
        "folder": str(tmp_path),
        "ports": {name: port for name, (_, port) in PORTS.items() if name != "VALKEY_PORT"},
        "mongodb_uri": "mongodb://127.0.0.1:27017/?replicaSet=rs0",
        "own_mongod": True,
        "tls": True,
    }
    (tmp_path / "stack.json").write_text(json.dumps(older))
    found = stack_config({"STACK_DIR": str(tmp_path)}).saved()
    assert found.processes == ("mongodb", "auth-service", "school-service", "student-service", "api-gateway")
    assert found.tls
    assert found.ports_of("api-gateway") == [8080]
    assert "VALKEY_PORT" not in settings_of(found, "auth-service", {})


def test_a_percent_sign_in_a_path_is_escaped_for_supervisor(tmp_path: Path) -> None:
    found = stack_config({"STACK_DIR": str(tmp_path / "100%"), "MONGODB_URI": "mongodb://elsewhere"})
    parser = configparser.RawConfigParser()
    parser.read_string(render(found))
    expanded = parser["program:auth-service"]["stdout_logfile"] % {}
    assert expanded == f"{tmp_path}/100%/logs/auth-service.log"


def test_the_holder_of_a_port_is_the_process_that_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert not procfs.is_free(port)
        assert procfs.holder(port) == procfs.Holder(os.getpid(), procfs.command_of(os.getpid()))
    assert procfs.is_free(port)
    assert procfs.holder(port).pid is None


def test_tail_reads_on_after_a_rotation(tmp_path: Path) -> None:
    """It returns every line once, old and new ones, and waits for the end of incomplete lines."""
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
    """A line without a time stays after the line before it."""
    found = stack_config({"STACK_DIR": str(tmp_path)})
    found.logs.mkdir(parents=True)
    found.log("mongodb").write_text('{"t":{"$date":"2030-01-01T00:00:02.5+00:00"}}\n')
    found.log("valkey").write_text("7:M 01 Jan 2030 00:00:02.250 * Ready\n")
    found.log("auth-service").write_text("2030-01-01T00:00:01Z first\n  more\n2030-01-01T00:00:03Z last\n")
    logs.show(found, ["mongodb", "valkey", "auth-service"], follow=False, last=None)
    names = [line.split("│")[0].strip() for line in capsys.readouterr().out.splitlines()]
    assert names == ["auth-service", "auth-service", "valkey", "mongodb", "auth-service"]


def test_free_ports_differ_and_are_free() -> None:
    found = free_ports(len(PORTS))
    assert len(set(found)) == len(PORTS)
    assert all(map(procfs.is_free, found))
