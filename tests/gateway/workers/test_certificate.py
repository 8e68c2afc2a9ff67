"""The gateway's certificate, by real processes: read at the start, and again at SIGHUP."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
import trio

from tests.certificates import TestCertificate, serial_of
from tests.gateway.workers.worker_processes import ROOT, gateway


async def shown(port, pair):
    """The serial number that a new connection is shown; it is closed again."""
    stream = trio.SSLStream(
        await trio.open_tcp_stream("127.0.0.1", port),
        pair.client_context(),
        server_hostname="127.0.0.1",
        https_compatible=True,
    )
    try:
        await stream.do_handshake()
        await stream.send_all(b"GET /livez HTTP/1.1\r\nHost: g\r\nConnection: close\r\n\r\n")
        assert (await stream.receive_some()).startswith(b"HTTP/1.1 200 ")
        return serial_of(stream)
    except trio.BrokenResourceError:  # it isn't the one that the context trusts
        return 0
    finally:
        await trio.aclose_forcefully(stream)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("workers", [1, 2])
async def test_a_renewed_certificate(tmp_path, monkeypatch, workers):
    """SIGHUP makes every process show it; a pair that can't be used is reported, and the old one stays."""
    pair = TestCertificate(tmp_path, serial=1)
    monkeypatch.setenv("TLS_CERT_FILE", str(pair.certificate))
    monkeypatch.setenv("TLS_KEY_FILE", str(pair.key))
    with trio.fail_after(40):
        async with gateway(tmp_path, workers) as running:
            assert {await shown(running.port, pair) for _ in range(6)} == {1}
            pair.renew(2)
            running.process.send_signal(signal.SIGHUP)
            with trio.fail_after(10):
                while {await shown(running.port, pair) for _ in range(10)} != {2}:  # noqa: ASYNC110
                    await trio.sleep(0.05)
            pair.key.write_bytes(b"nonsense")
            running.process.send_signal(signal.SIGHUP)
            with trio.fail_after(10):
                while running.log().count("the old one stays in use") < workers:  # noqa: ASYNC110
                    await trio.sleep(0.05)
            assert "TLS_KEY_FILE" in running.log()
            assert {await shown(running.port, pair) for _ in range(6)} == {2}


async def refusal(**environment):
    """Exit code and standard error of a gateway that can't start."""
    with trio.fail_after(20):
        done = await trio.run_process(
            [sys.executable, "-m", "gateway"],
            cwd=ROOT,
            env={
                **os.environ,
                "GATEWAY_PORT": "1",
                **{name: str(value) for name, value in environment.items()},
            },
            capture_stdout=True,
            stderr=subprocess.STDOUT,
            check=False,
        )
    return done.returncode, done.stdout.decode()


async def test_a_pair_that_cannot_be_used(tmp_path):
    """Exit code 2, and a sentence that names both settings and the reason; no traceback."""
    pair = TestCertificate(tmp_path)
    other = tmp_path / "other.pem"
    other.write_text("nonsense")
    code, said = await refusal(TLS_CERT_FILE=pair.certificate, TLS_KEY_FILE=other)
    assert code == 2
    assert "TLS_CERT_FILE" in said
    assert "TLS_KEY_FILE" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("given", "missing"), [("TLS_CERT_FILE", "TLS_KEY_FILE"), ("TLS_KEY_FILE", "TLS_CERT_FILE")]
)
async def test_one_of_the_two_alone(tmp_path, given, missing):
    """The error names the missing one."""
    pair = TestCertificate(tmp_path)
    path = pair.certificate if given == "TLS_CERT_FILE" else pair.key
    code, said = await refusal(**{given: path})
    assert code == 2
    assert missing in said
    assert "Traceback" not in said
