"""Tests that run twice: in clear text and over TLS."""

from __future__ import annotations

import pytest

from runtime.serving import ServerCertificate
from tests.certificates import TestCertificate
from tests.gateway import wire


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> TestCertificate:
    """A certificate and its key."""
    return TestCertificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(params=["clear", "tls"])
def clear_and_tls(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the test in clear text, then again with every gateway and every client speaking TLS."""
    if request.param == "clear":
        return
    pair = request.getfixturevalue("pair")
    # TLS has no half-closed connection: a refused client would see the end two seconds later.
    monkeypatch.setattr("runtime.serving.connection.LINGER_SECONDS", 0.1)
    monkeypatch.setitem(wire.TLS, "certificate", ServerCertificate(pair.certificate, pair.key))
    monkeypatch.setitem(wire.TLS, "context", pair.client_context())
