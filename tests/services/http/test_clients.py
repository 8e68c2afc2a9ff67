"""The client of a forwarded request, and the fields that protect responses."""

from __future__ import annotations

import pytest

from actors import Panel
from protocols.topology import SCHOOL_SERVICE
from runtime.web.app import reply, service_app
from runtime.web.errors import ApiError, Code
from services.http.clients import TrustedGateways


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("127.0.0.1", ["192.0.2.1"], "192.0.2.1"),
        ("::1", ["192.0.2.1, 10.0.0.1"], "192.0.2.1"),
        ("::ffff:127.0.0.1", ["192.0.2.1", "10.0.0.1"], "192.0.2.1"),
        ("127.0.0.1", ["2001:db8::7"], "2001:db8::/64"),
        ("127.0.0.1", ["::ffff:192.0.2.1"], "192.0.2.1"),
        ("127.0.0.1", [], "127.0.0.1"),
        ("127.0.0.1", ["unknown"], "127.0.0.1"),
        ("127.0.0.1", ["x" * 5000], "127.0.0.1"),
        ("127.0.0.1", [", 192.0.2.1"], "127.0.0.1"),
        ("198.51.100.1", ["192.0.2.1"], "198.51.100.1"),
        ("2001:db8::7", ["192.0.2.1"], "2001:db8::/64"),
        ("<local>", ["192.0.2.1"], "<local>"),
        ("", ["192.0.2.1"], ""),
    ],
)
def test_the_client_is_the_one_that_a_trusted_gateway_names(
    peer: str, forwarded: list[str], client: str
) -> None:
    assert TrustedGateways().client(peer, forwarded) == client


def test_gateways_elsewhere_are_trusted_if_they_are_set() -> None:
    gateways = TrustedGateways("10.0.0.0/8, 2001:db8:1::/48")
    assert gateways.client("10.1.2.3", ["192.0.2.1"]) == "192.0.2.1"
    assert gateways.client("2001:db8:1::5", ["192.0.2.1"]) == "192.0.2.1"
    assert gateways.client("127.0.0.1", ["192.0.2.1"]) == "127.0.0.1"
    assert TrustedGateways("").client("127.0.0.1", ["192.0.2.1"]) == "127.0.0.1"
    with pytest.raises(ValueError, match="10.0.0.1/8"):
        TrustedGateways("10.0.0.1/8")


@pytest.mark.parametrize(
    ("path", "status"),
    [("/here", 200), ("/here/1", 403), ("/nothing", 404), ("/livez", 200), ("/openapi.json", 200)],
)
async def test_no_response_is_stored_and_no_type_is_guessed(panel: Panel, path: str, status: int) -> None:
    app = service_app(SCHOOL_SERVICE, panel)

    @app.get("/here")
    async def read() -> object:
        return reply("here", None)

    @app.get("/here/<number>")
    async def refuse(number: str) -> object:
        raise ApiError(Code.FORBIDDEN, number)

    response = await app.test_client().get(path)
    assert response.status_code == status
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
