"""The call log writes the calls of a breaker, and delays none."""

from __future__ import annotations

import json
import threading
import time
from contextlib import asynccontextmanager

import httpx
import pytest
import structlog
import trio

from actors import CircuitBreakerConfig, CircuitOpenError, open_panel
from gateway.call_log import call_log
from gateway.call_log.call_log import CallLog
from gateway.call_log.log_file import CallLogFile
from tests.gateway.running_gateway import in_process_gateway
from tests.gateway.scripted_service import DEAD

NAME = "auth-service-http"


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@asynccontextmanager
async def logging(file, **policy):
    """A breaker whose calls are logged; the log has ended after the block."""
    async with open_panel(durations=(0.1,)) as panel, trio.open_nursery() as nursery:
        config = {"max_failures": 2, "failure": ValueError, **policy}
        breaker = panel.breaker(CircuitBreakerConfig(name=NAME, **config))
        log = CallLog(file)
        await nursery.start(log.run, [breaker])
        yield log.observed({NAME: breaker})[NAME]
        nursery.cancel_scope.cancel()


async def call(breaker, error=None, seconds=0.0):
    async with breaker.guard():
        await trio.sleep(seconds)
        if error is not None:
            raise error


async def fail(breaker):
    with pytest.raises(ValueError):
        await call(breaker, ValueError())


async def test_each_outcome_is_a_line(tmp_path):
    before = time.time()
    async with logging(CallLogFile(tmp_path / "log")) as breaker:
        await call(breaker, seconds=0.01)
        with pytest.raises(KeyError):
            await call(breaker, KeyError())
        with trio.move_on_after(0.01):
            await call(breaker, seconds=9)
        await fail(breaker)
        await fail(breaker)
        with pytest.raises(CircuitOpenError):
            await call(breaker)
    found = lines(tmp_path / "log")
    outcomes = ["success", "ignored", "cancelled", "failure", "failure", "rejected"]
    # A rejection is noted at once, the event of an earlier call when its reader runs.
    assert sorted(one["outcome"] for one in found) == sorted(outcomes)
    assert {one["breaker"] for one in found} == {NAME}
    assert all(before - 0.1 <= one["time"] <= time.time() for one in found)
    durations = {one["outcome"]: one["duration"] for one in found}
    assert 0.01 <= durations["success"] < 5
    assert durations["rejected"] is None


async def test_an_observing_breaker_has_an_outcome_for_every_call(tmp_path):
    async with logging(CallLogFile(tmp_path / "log")) as breaker:
        await breaker.observe("to record")
        for _ in range(4):
            await fail(breaker)
        await call(breaker)
    assert [one["outcome"] for one in lines(tmp_path / "log")] == ["failure"] * 4 + ["success"]


async def test_an_exception_of_the_block_that_looks_like_a_rejection_is_none(tmp_path):
    async with logging(CallLogFile(tmp_path / "log")) as breaker:
        with pytest.raises(CircuitOpenError):
            await call(breaker, CircuitOpenError("other"))
    assert [one["outcome"] for one in lines(tmp_path / "log")] == ["ignored"]


async def test_lines_are_written_while_it_runs(tmp_path):
    async with logging(CallLogFile(tmp_path / "log")) as breaker:
        for n in (1, 2):
            await call(breaker)
            with trio.fail_after(5):
                while len(lines(tmp_path / "log")) < n:  # noqa: ASYNC110
                    await trio.sleep(0.02)


class HungFile:
    """A disk that hangs until it is released."""

    def __init__(self):
        self.released = threading.Event()
        self.written = []
        self.dropped = 0

    def append(self, calls, dropped=0):
        self.released.wait(10)
        self.written += calls
        self.dropped += dropped

    def close(self):
        pass


async def test_a_hung_disk_delays_no_call_and_what_overflows_is_counted(monkeypatch):
    monkeypatch.setattr(call_log, "BATCH_SECONDS", 0.0)
    file = HungFile()
    with structlog.testing.capture_logs() as captured:
        async with open_panel() as panel, trio.open_nursery() as nursery:
            breaker = panel.breaker(CircuitBreakerConfig(name=NAME))
            await nursery.start(CallLog(file, waiting=10).run, [breaker])
            await call(breaker)
            await trio.sleep(0.1)  # the disk hangs with the first line
            start = time.monotonic()
            for _ in range(50):
                await call(breaker)
            assert time.monotonic() - start < 2
            file.released.set()
            nursery.cancel_scope.cancel()
    assert len(file.written) == 11
    assert file.dropped == 40
    [line] = [one for one in captured if "dropped" in one["event"]]
    assert line["count"] == 40


async def test_a_stop_does_not_wait_for_a_hung_disk(monkeypatch):
    monkeypatch.setattr(call_log, "LAST_SECONDS", 0.2)
    file = HungFile()
    with structlog.testing.capture_logs() as captured, trio.fail_after(5):
        async with logging(file) as breaker:
            await call(breaker)
    file.released.set()
    assert "the call log's last lines were not written" in {one["event"] for one in captured}


class FullDisk:
    """A disk without space for the first two batches."""

    def __init__(self, file):
        self._file = file
        self._failures = 2
        self.close = file.close

    def append(self, calls, dropped=0):
        if self._failures:
            self._failures -= 1
            raise OSError(28, "No space left on device")
        self._file.append(calls, dropped)


async def test_a_full_disk_is_logged_once_and_costs_lines_that_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(call_log, "BATCH_SECONDS", 0.0)
    with structlog.testing.capture_logs() as captured:
        async with logging(FullDisk(CallLogFile(tmp_path / "log"))) as breaker:
            for _ in range(3):
                await call(breaker)
                await trio.sleep(0.1)
    assert [one.get("dropped") for one in lines(tmp_path / "log")] == [2, None]
    failed = [one for one in captured if one["log_level"] == "error"]
    assert [one["reason"] for one in failed] == ["No space left on device"]


async def test_requests_through_the_gateway_are_logged_and_nothing_of_them_is(services, tmp_path):
    """Through a real app: a good request, five failing ones, a rejected one."""
    services["auth"].answer = DEAD
    services["school"].answer = httpx.Response(200, json={})
    log = CallLog(CallLogFile(tmp_path / "log"))
    async with trio.open_nursery() as nursery, in_process_gateway(services, call_log_of=log) as gateway:
        await nursery.start(log.run, list(gateway.panel))
        async with gateway.client() as client:
            await client.get("/schools/4711?name=secret", headers=gateway.issuer.headers())
            for _ in range(6):
                await client.get("/auth/4712")
        nursery.cancel_scope.cancel()
    found = [(one["breaker"], one["outcome"]) for one in lines(tmp_path / "log")]
    assert sorted(found) == [
        *[(NAME, "failure")] * 5,
        (NAME, "rejected"),
        ("school-service-http", "success"),
    ]
    text = (tmp_path / "log").read_text()
    assert not any(word in text for word in ("4711", "4712", "secret", "auth/", "schools"))
