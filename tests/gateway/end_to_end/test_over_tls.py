"""Hostile requests, cuts and framing once more, through TLS: the tests themselves are those of clear text."""

from __future__ import annotations

import pytest

from runtime.serving import ServerCertificate
from tests.certificates import TestCertificate
from tests.gateway import wire
from tests.gateway.end_to_end import test_hostile_requests as hostile
from tests.gateway.end_to_end import test_wire
from tests.gateway.end_to_end.test_hostile_requests import (  # noqa: F401
    test_a_flood_of_fields,
    test_an_early_answer_and_a_close,
    test_nothing_behind_the_last_request,
)
from tests.gateway.end_to_end.test_interim import (  # noqa: F401
    test_an_expectation_refused,
    test_early_hints,
    test_expect_reaches_the_service,
    test_trailers,
)
from tests.gateway.end_to_end.test_truncated_messages import test_a_request_cut_anywhere  # noqa: F401
from tests.gateway.end_to_end.test_upgrades import (  # noqa: F401
    test_the_body_of_a_request_that_offers_an_upgrade,
)
from tests.gateway.end_to_end.test_wire import (  # noqa: F401
    test_a_bad_chunk_is_answered_at_once,
    test_a_client_that_stops_sending,
    test_http_1_0_gets_a_whole_body,
    test_requests_in_one_stream,
)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    return TestCertificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(autouse=True)
def _over_tls(pair, monkeypatch):
    """Every gateway and every client of this module's tests speak TLS."""
    certificate = ServerCertificate(pair.certificate, pair.key)
    # TLS has no half-closed connection: a client that is refused would see the end two seconds later.
    monkeypatch.setattr("runtime.serving.connection.LINGER_SECONDS", 0.1)
    monkeypatch.setitem(wire.TLS, "certificate", certificate)
    monkeypatch.setitem(wire.TLS, "context", pair.client_context())


FEW = [
    "CL and TE",
    "obs-fold",
    "bare LF",
    "bad second chunk",
    "chunk ends in LF",
    "endless head",
    "endless line",
]


@pytest.mark.parametrize("kind", FEW)
async def test_hostile_requests(kind):
    """One answer, 4xx, and the end."""
    await test_wire.test_hostile_requests(test_wire.HOSTILE[kind])


@pytest.mark.parametrize(
    ("line", "status"),
    [(b"CONNECT /auth/x HTTP/1.1", 400), (b"GET /auth/x HTTP/0.9", 505), (b"GET /auth/\0 HTTP/1.1", 400)],
)
async def test_request_lines(line, status):
    """Refused, and nothing reaches the service."""
    await hostile.test_request_lines(line, status)
