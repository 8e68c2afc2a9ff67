"""HAProxy in front of several gateways: its configuration is valid, and does what it should."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from pydantic_core import PydanticUndefined

from deploy.demo.ephemeral_stack import free_ports, wait_for
from deploy.programs.load_balancer import main, render, render_for_containers
from gateway.settings import GatewaySettings
from tests.certificates import TestCertificate
from tests.deploy.fleet.backends import Backend, backends, haproxy
from tests.deploy.fleet.tools import DOCKER, run, tool

FORWARDED = {"X-Forwarded-For": "6.6.6.6", "X-Forwarded-Host": "evil", "Forwarded": "for=6.6.6.6"}


@pytest.fixture
def pair() -> Iterator[list[Backend]]:
    with backends(2) as servers:
        yield servers


@pytest.fixture
def client(pair: list[Backend], tmp_path: Path) -> Iterator[httpx.Client]:
    """A client of HAProxy in front of `pair`."""
    (port,) = free_ports(1)
    configuration = render(f"127.0.0.1:{port}", [backend.address for backend in pair])
    with (
        haproxy(configuration, tmp_path, port),
        httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client,
    ):
        yield client


def check(configuration: str, folder: Path) -> str:
    file = folder / "haproxy.cfg"
    file.write_text(configuration)
    return run(tool("haproxy"), "-c", "-f", file)


@pytest.mark.parametrize("number", [1, 3, 16])
def test_haproxy_accepts_the_configuration_without_a_warning(number: int, tmp_path: Path) -> None:
    addresses = [f"127.0.0.1:{8090 + index}" for index in range(number)]
    assert "WARNING" not in check(render("127.0.0.1:8080", addresses), tmp_path)


def test_haproxy_accepts_a_certificate(tmp_path: Path) -> None:
    made = TestCertificate(tmp_path)
    both = tmp_path / "both.pem"
    both.write_bytes(made.certificate.read_bytes() + made.key.read_bytes())
    configuration = render("127.0.0.1:8443", ["127.0.0.1:8090"], certificate=both)
    assert "WARNING" not in check(configuration, tmp_path)
    assert "X-Forwarded-Proto https" in configuration


def test_haproxy_accepts_the_configuration_for_containers(tmp_path: Path) -> None:
    assert "WARNING" not in check((DOCKER / "haproxy.cfg").read_text(), tmp_path)


def test_without_a_gateway_there_is_nothing_to_balance() -> None:
    with pytest.raises(ValueError, match="at least one gateway"):
        render(":8080", [])


def test_the_command_line_prints_the_configuration(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["load_balancer", ":8080", "127.0.0.1:8090", "127.0.0.1:8091"])
    main()
    assert capsys.readouterr().out == render(":8080", ["127.0.0.1:8090", "127.0.0.1:8091"])


def test_both_gateways_get_requests(client: httpx.Client, pair: list[Backend]) -> None:
    ports = {client.get("/schools", headers={"Connection": "close"}).json()["port"] for _ in range(20)}
    assert ports == {backend.server_port for backend in pair}


def test_a_client_cannot_claim_another_address(client: httpx.Client, pair: list[Backend]) -> None:
    client.get("/schools", headers=FORWARDED)
    ((_, _, fields),) = pair[0].requests + pair[1].requests
    assert fields["x-forwarded-for"] == ["127.0.0.1"]
    assert fields["x-forwarded-proto"] == ["http"]
    assert not {"x-forwarded-host", "forwarded"} & fields.keys()


def test_a_gateway_that_is_gone_costs_no_request(client: httpx.Client, pair: list[Backend]) -> None:
    """Before the checks find it, the connection fails and the request goes to the other one."""
    gone, left = pair
    gone.shutdown()
    gone.server_close()
    answers = [client.post("/schools", content=b"x", headers={"Connection": "close"}) for _ in range(20)]
    assert [answer.status_code for answer in answers] == [200] * 20
    assert {answer.json()["port"] for answer in answers} == {left.server_port}


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_request_that_was_sent_is_not_repeated(
    client: httpx.Client, pair: list[Backend], method: str
) -> None:
    for backend in pair:
        backend.breaks_off = True
    answer = client.request(method, "/schools")
    assert (answer.status_code, answer.json()["error"]) == (502, "SERVICE_UNAVAILABLE")
    assert len(pair[0].requests + pair[1].requests) == 1


def test_a_gateway_that_stops_gets_no_more_requests(client: httpx.Client, pair: list[Backend]) -> None:
    """Within the two seconds that the configuration promises, while the gateway still serves."""
    stopping, other = pair
    stopping.ready = False

    def avoided() -> bool:
        stopping.requests.clear()
        answers = [client.get("/schools", headers={"Connection": "close"}) for _ in range(6)]
        assert all(answer.is_success for answer in answers)
        return not stopping.requests

    assert wait_for(avoided, 2.5)
    assert other.requests


def test_without_a_gateway_the_answer_has_the_contracts_form(
    client: httpx.Client, pair: list[Backend]
) -> None:
    for backend in pair:
        backend.ready = False
    assert wait_for(lambda: client.get("/schools").status_code == 503, 5)
    answer = client.get("/schools")
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Retry-After"] == "1"
    assert answer.json() == {"error": "SERVICE_UNAVAILABLE", "message": "No gateway is ready"}


def test_a_head_that_the_gateway_accepts_passes(client: httpx.Client, pair: list[Backend]) -> None:
    longest = GatewaySettings.model_fields["max_header_bytes"].default
    assert client.get("/schools", headers={"X-Long": "x" * longest}).status_code == 200


def seconds(name: str) -> float:
    """A timeout of HAProxy."""
    lines = render(":8080", ["127.0.0.1:8090"]).splitlines()
    (line,) = [line for line in lines if line.strip().startswith(f"timeout {name} ")]
    return float(line.split()[-1].removesuffix("s"))


@pytest.mark.parametrize(
    ("timeout", "setting"),
    [
        ("http-request", "client_header_timeout"),
        ("client", "client_body_timeout"),
        ("client", "client_upload_timeout"),
        ("client", "client_write_timeout"),
        ("server", "upstream_timeout"),
        ("server", "upstream_idle_timeout"),
    ],
)
def test_the_gateway_ends_a_slow_request_before_haproxy(timeout: str, setting: str) -> None:
    default = GatewaySettings.model_fields[setting].default
    assert default is not PydanticUndefined
    assert seconds(timeout) > default


def test_haproxy_keeps_no_queue_and_shows_no_statistics() -> None:
    """A server's maxconn would make a queue."""
    text = render(":8080", ["127.0.0.1:8090"])
    assert not [line for line in text.splitlines() if line.startswith("    server") and "maxconn" in line]
    assert "stats" not in text


def test_the_compose_files_configuration_is_the_rendered_one() -> None:
    """`uv run python -m deploy.recipes.generated` writes it."""
    assert (DOCKER / "haproxy.cfg").read_text() == render_for_containers(":8080", "gateway", 8080, 9)
