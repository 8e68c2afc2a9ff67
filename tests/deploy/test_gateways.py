"""A stack of several gateways: names, ports, environments, and HAProxy in front of them."""

from __future__ import annotations

import configparser
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deploy import config as stack
from deploy import environments
from deploy.commands import print_addresses
from deploy.config import StackConfig, StackError, stack_config
from deploy.programs import gateways
from deploy.supervisor import render
from tests.certificates import TestCertificate

HAPROXY = "/usr/sbin/haproxy"


@pytest.fixture
def _haproxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let HAProxy be installed."""
    monkeypatch.setattr(stack, "find_haproxy", lambda: Path(HAPROXY))
    monkeypatch.setattr(gateways, "find_haproxy", lambda: Path(HAPROXY))


@pytest.fixture
def _no_haproxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let HAProxy not be installed."""
    monkeypatch.setattr(stack, "find_haproxy", lambda: None)
    monkeypatch.setattr(gateways, "find_haproxy", lambda: None)


def several(folder: Path, count: int = 3, **settings: str) -> StackConfig:
    """The configuration of a stack of several gateways, without a mongod."""
    own = {"STACK_DIR": str(folder), "MONGODB_URI": "mongodb://elsewhere", "GATEWAY_INSTANCES": str(count)}
    return stack_config({**own, **settings})


def programs(config: StackConfig) -> dict[str, dict[str, str]]:
    """supervisor's options of each process."""
    parser = configparser.RawConfigParser()
    parser.read_string(render(config))
    return {name: dict(parser[f"program:{name}"]) for name in config.processes}


@pytest.mark.usefixtures("_haproxy")
def test_behind_haproxy_every_gateway_has_a_port_of_its_own(tmp_path: Path) -> None:
    found = several(tmp_path)
    names = ("api-gateway", "api-gateway-2", "api-gateway-3")
    assert found.processes[-4:] == (*names, "load-balancer")
    assert [found.ports_of(name) for name in found.processes[-4:]] == [[8090], [8100], [8110], [8080]]
    assert found.gateway == "http://127.0.0.1:8080"
    assert {one.setting for one in found.listeners() if one.process == "api-gateway-2"} == {
        "GATEWAY_PORT + 20"
    }


@pytest.mark.usefixtures("_no_haproxy")
def test_without_haproxy_the_first_gateway_has_the_gateways_port(tmp_path: Path) -> None:
    found = several(tmp_path)
    assert not found.balanced
    assert [found.ports_of(name) for name in found.processes[-3:]] == [[8080], [8090], [8100]]
    variables = environments.settings_of(found, "api-gateway", {})
    assert variables["GATEWAY_PORT"] == "8080"
    assert "TRUSTED_PROXIES" not in variables


@pytest.mark.usefixtures("_haproxy")
def test_one_gateway_needs_no_load_balancer(tmp_path: Path) -> None:
    for found in (several(tmp_path, 1), several(tmp_path, GATEWAY_INSTANCES="")):
        assert found.processes[-1] == "api-gateway"
        assert found.ports_of("api-gateway") == [8080]


@pytest.mark.usefixtures("_haproxy")
def test_derived_ports_skip_those_of_other_settings(tmp_path: Path) -> None:
    found = several(tmp_path, 2, AUTH_SERVICE_PORT="8090", MONGODB_PORT="8110")
    assert [found.ports_of(name) for name in ("api-gateway", "api-gateway-2")] == [[8100], [8120]]


@pytest.mark.parametrize("value", ["0", "17", "-1", "two", "1.5", " 3", "²"])
def test_an_unusable_number_of_gateways_is_refused(tmp_path: Path, value: str) -> None:
    with pytest.raises(StackError, match=f"setting GATEWAY_INSTANCES: .*1 and 16 .*'{value}'"):
        several(tmp_path, GATEWAY_INSTANCES=value)


def test_ports_beyond_the_last_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="setting GATEWAY_PORT: 3 gateways would need port 655"):
        several(tmp_path, GATEWAY_PORT="65520")


@pytest.mark.usefixtures("_haproxy")
def test_each_gateway_behind_haproxy_trusts_it_and_listens_on_this_host(tmp_path: Path) -> None:
    found = several(tmp_path)
    assert gateways.gateway_environment(found, "api-gateway-2", {}) == {
        "GATEWAY_PORT": "8100",
        "HOST": "127.0.0.1",
        "TRUSTED_PROXIES": "127.0.0.1",
        "SHUTDOWN_DELAY": "3",
    }
    given = {
        "TRUSTED_PROXIES": "10.0.0.0/8",
        "HOST": "0.0.0.0",
        "SHUTDOWN_DELAY": "0",
    }
    assert gateways.gateway_environment(found, "api-gateway", given) == {
        "GATEWAY_PORT": "8090",
        "HOST": "127.0.0.1",
        "TRUSTED_PROXIES": "10.0.0.0/8,127.0.0.1",
        "SHUTDOWN_DELAY": "0",
    }


@pytest.mark.usefixtures("_haproxy")
def test_each_gateway_has_a_port_for_operators(tmp_path: Path) -> None:
    """HAProxy leads to none of them."""
    found = several(tmp_path, 3, OPERATIONS_PORT="9000")
    ports = [found.ports_of(name) for name in found.processes[-4:]]
    assert ports == [[8090, 9000], [8100, 9010], [8110, 9020], [8080]]
    given = [
        gateways.gateway_environment(found, name, {})["OPERATIONS_PORT"] for name in found.processes[-4:-1]
    ]
    assert given == ["9000", "9010", "9020"]
    assert (found.gateway, found.operations) == ("http://127.0.0.1:8080", "http://127.0.0.1:9000")
    assert several(tmp_path, 3).operations == found.gateway


def test_an_operators_port_of_another_setting_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="OPERATIONS_PORT and AUTH_SERVICE_PORT are both 8081"):
        several(tmp_path, 1, OPERATIONS_PORT="8081")


@pytest.mark.usefixtures("_haproxy")
def test_supervisor_runs_haproxy_and_stops_it_without_losing_requests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SHUTDOWN_DELAY", "SHUTDOWN_GRACE", "UPSTREAM_TIMEOUT"):
        monkeypatch.delenv(name, raising=False)
    found = programs(several(tmp_path))
    balancer = found["load-balancer"]
    assert balancer["command"] == f"{HAPROXY} -db -f {tmp_path}/load-balancer/haproxy.cfg"
    assert balancer["stopsignal"] == "USR1"
    command = found["api-gateway-2"]["command"]
    assert command.endswith("-m gateway")
    assert f" {tmp_path}/api-gateway-2.env " in command
    own = environments.settings_of(several(tmp_path), "api-gateway-2", {})
    assert own["JWKS_CACHE"] == f"{tmp_path}/jwks-api-gateway-2.json"
    patience = {name: int(program["stopwaitsecs"]) for name, program in found.items()}
    assert patience["api-gateway-2"] == patience["auth-service"] + 3


@pytest.mark.usefixtures("_haproxy")
def test_haproxy_sends_to_every_gateway(tmp_path: Path) -> None:
    """On the host that the setting names."""
    found = several(tmp_path)
    gateways.write_balancer_configuration(found, {"HOST": "0.0.0.0"})
    text = (tmp_path / "load-balancer" / "haproxy.cfg").read_text()
    assert "bind 0.0.0.0:8080" in text
    assert all(f"127.0.0.1:{port}" in text for port in (8090, 8100, 8110))


@pytest.mark.usefixtures("_haproxy")
def test_haproxy_has_the_certificate_and_the_gateways_have_none(tmp_path: Path) -> None:
    """Written again after the certificate's files were moved."""
    pair = TestCertificate(tmp_path)
    settings = {"TLS_CERT_FILE": str(pair.certificate), "TLS_KEY_FILE": str(pair.key)}
    found = several(tmp_path / "stack", **settings)
    assert found.gateway == "https://127.0.0.1:8080"
    found.folder.mkdir()
    for _ in range(2):
        gateways.write_balancer_configuration(found, settings)
    folder = found.folder / "load-balancer"
    assert f"ssl crt {folder}/gateway.pem" in (folder / "haproxy.cfg").read_text()
    assert (folder / "gateway.pem").read_bytes() == pair.certificate.read_bytes()
    assert (folder / "gateway.pem.key").read_bytes() == pair.key.read_bytes()
    environments.write(found, settings)
    words = environments.command(
        found, "api-gateway", [sys.executable, "-c", "import os; print(*os.environ)"]
    )
    seen = subprocess.run(
        words,
        env=environments.shared(found, {**os.environ, **settings}),
        capture_output=True,
        text=True,
        check=True,
    )
    assert "GATEWAY_PORT" in seen.stdout
    assert "TLS_" not in seen.stdout
    if haproxy := shutil.which("haproxy", path="/usr/sbin:/usr/bin"):
        subprocess.run([haproxy, "-c", "-f", str(folder / "haproxy.cfg")], check=True, capture_output=True)


@pytest.mark.usefixtures("_haproxy")
def test_a_removed_haproxy_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = several(tmp_path)
    monkeypatch.setattr(gateways, "find_haproxy", lambda: None)
    with pytest.raises(StackError, match="there is no haproxy"):
        render(found)


@pytest.mark.usefixtures("_haproxy")
def test_up_prints_the_gateways_and_that_nothing_is_shared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    print_addresses(several(tmp_path, 2, VALKEY_URL=""))
    text = capsys.readouterr().out
    assert "2 behind HAProxy, on the ports 8090 (api-gateway), 8100 (api-gateway-2)" in text
    assert "nothing is shared: every process decides alone, since VALKEY_URL is empty" in text


@pytest.mark.usefixtures("_no_haproxy")
def test_up_prints_that_there_is_no_load_balancer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_addresses(several(tmp_path, 2))
    text = capsys.readouterr().out
    assert "haproxy isn't installed" in text
    assert "8080 (api-gateway), 8090 (api-gateway-2)" in text
    assert "breakers are shared through Valkey at 127.0.0.1:6380" in text


@pytest.mark.usefixtures("_haproxy")
def test_a_stack_of_several_gateways_is_read_back_as_it_was_started(tmp_path: Path) -> None:
    """Also after HAProxy was removed, and without the setting."""
    started = several(tmp_path)
    started.save()
    assert stack_config({"STACK_DIR": str(tmp_path)}).saved() == started
