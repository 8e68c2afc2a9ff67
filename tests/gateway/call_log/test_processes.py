"""CALL_LOG in real gateways: one process and several, the stop, and a path that can't be written."""

from __future__ import annotations

import json
import os
import signal
import sys

import pytest
import trio

from tests.gateway.workers.worker_processes import ROOT, gateway

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_stopped_gateway_has_written_every_call(tmp_path, workers):
    path = tmp_path / "calls.jsonl"
    with trio.fail_after(90):
        async with gateway(tmp_path, workers, CALL_LOG=str(path)) as running:
            for _ in range(20):
                assert (await running.ask("/auth/ping")).status_code == 200
            # At once: the last lines wait for their batch.
            running.process.send_signal(signal.SIGTERM)
            await running.process.wait()
    found = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(one["breaker"], one["outcome"]) for one in found] == [("auth-service-http", "success")] * 20
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_path_that_cannot_be_written_stops_the_start(tmp_path, workers):
    environment = {
        **os.environ,
        "CALL_LOG": str(tmp_path / "missing" / "calls.jsonl"),
        "GATEWAY_PORT": "0",
        "GATEWAY_WORKERS": workers,
        "VALKEY_URL": "valkey://127.0.0.1:1",
    }
    with trio.fail_after(60):
        ended = await trio.run_process(
            [sys.executable, "-m", "gateway"],
            cwd=ROOT,
            env=environment,
            check=False,
            capture_stdout=True,
            capture_stderr=True,
        )
    assert ended.returncode == 2
    assert b"setting CALL_LOG: can't be written: No such file or directory" in ended.stderr
