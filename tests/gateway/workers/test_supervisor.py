"""Several workers on one port: real processes, killed, ended and reloaded while clients never pause."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import trio

from tests.gateway.load_clients import load_clients, until
from tests.gateway.workers.worker_processes import (
    SERVICE,
    children,
    gateway,
    lives,
)

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


async def test_a_worker_that_dies_is_replaced_and_its_counts_stay(tmp_path: Path) -> None:
    """Killed outright under load, a worker costs its own requests at most, and no sum ever goes down."""
    success = f'outcome="success",service="{SERVICE}"'
    async with gateway(tmp_path, workers=2) as found:
        victim = (await found.staffed())[0]
        async with load_clients(found.port) as clients:
            await clients.progress(200)
            os.kill(victim, signal.SIGKILL)
            await clients.progress()
            shown = await found.metric("circuit_breaker_calls_total", success)
        assert len(clients.failures) <= 8
        assert victim not in await found.staffed()
        # The successor has written its report by now, and there were no requests since.
        kept = await found.metric("circuit_breaker_calls_total", success)
        assert shown <= kept <= clients.answered
        for pid in await found.staffed():
            os.kill(pid, signal.SIGKILL)
            await until(lambda: pid not in found.listening())  # noqa: B023
            await found.staffed()
            assert await found.metric("circuit_breaker_calls_total", success) == kept


async def test_counts_are_those_of_all_workers(tmp_path: Path) -> None:
    """Every worker shows each request once."""
    async with gateway(tmp_path, workers=2) as found:
        async with load_clients(found.port) as clients:
            await clients.progress(200)
        for _ in range(6):
            labels = f'outcome="success",service="{SERVICE}"'
            assert await found.metric("circuit_breaker_calls_total", labels) == clients.answered


async def test_a_worker_that_is_stopped_loses_no_request(tmp_path: Path) -> None:
    """SIGTERM to one worker, then to its successor, while clients never pause."""
    async with gateway(tmp_path, workers=2) as found, load_clients(found.port) as clients:
        for _ in range(2):
            victim = (await found.staffed())[0]
            await clients.progress()
            os.kill(victim, signal.SIGTERM)
            await clients.progress()
            await until(lambda: victim not in children(found.process.pid))  # noqa: B023
        await clients.progress()
        assert clients.failures == []
        assert clients.refused == 0


@pytest.mark.parametrize("workers", [1, 2])
async def test_the_end_of_all_loses_no_request(tmp_path: Path, workers: int) -> None:
    """At SIGTERM, accepted requests are answered, and later connections are refused."""
    async with gateway(tmp_path, workers) as found, load_clients(found.port) as clients:
        await clients.progress(200)
        found.process.terminate()
        with trio.fail_after(12):
            assert await found.process.wait() == 0
        assert clients.refused
        assert clients.failures == []


@pytest.mark.parametrize("workers", [1, 2])
async def test_before_the_end_a_load_balancer_has_time_to_notice(tmp_path: Path, workers: int) -> None:
    """For SHUTDOWN_DELAY it serves without being ready; then it stops listening, and exits with 0."""
    async with gateway(tmp_path, workers, SHUTDOWN_DELAY="3") as found:
        assert (await found.ask("/readyz")).status_code == 200
        found.process.terminate()
        with trio.fail_after(1):
            while (await found.ask("/readyz")).status_code != 503:
                pass
        for _ in range(5):
            assert (await found.ask("/auth/x")).status_code == 200
            assert (await found.ask("/readyz")).status_code == 503
        with trio.fail_after(10):
            assert await found.process.wait() == 0
        with pytest.raises(httpx.ConnectError):
            await found.ask("/livez")


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_hangup_reloads_the_policies_and_loses_no_request(tmp_path: Path, workers: int) -> None:
    """SIGHUP: every worker has the new policy; a bad file changes nothing, and is reported."""
    async with gateway(tmp_path, workers) as found, load_clients(found.port) as clients:
        await clients.progress()
        found.policies.write_text(f"[breakers.{SERVICE}]\nmax_failures = 9\n")
        found.process.send_signal(signal.SIGHUP)
        await found.all_workers(lambda view: view["policy"]["max_failures"] == 9)
        found.policies.write_text(f"[breakers.{SERVICE}]\nmax_failures = 0\n")
        found.process.send_signal(signal.SIGHUP)
        await until(lambda: "nothing has changed" in found.log())
        assert str(found.policies) in found.log()
        await found.all_workers(lambda view: view["policy"]["max_failures"] == 9)
        await clients.progress()
        assert clients.failures == []


async def test_a_new_worker_does_not_stumble_over_a_bad_file(tmp_path: Path) -> None:
    """The file became invalid after the start: the new worker has the policies of the others."""
    async with gateway(tmp_path, workers=2) as found:
        found.policies.write_text("nonsense")
        os.kill((await found.staffed())[1], signal.SIGKILL)
        await trio.sleep(0.2)
        await found.staffed()
        await found.all_workers(lambda view: view["policy"]["max_failures"] == 5)


async def test_an_operators_order_reaches_every_worker(tmp_path: Path) -> None:
    """A breaker opened through one worker is open in all; health and metrics show the worst state."""
    async with gateway(tmp_path, workers=3) as found:
        await found.ask(f"/admin/breakers/{SERVICE}/trip", "POST", json={"reason": "maintenance"})
        await found.all_workers(lambda view: view["state"] == "OPEN")
        for _ in range(6):
            assert (await found.ask("/auth/ping")).status_code == 503
            assert (await found.ask("/health")).json()["data"]["auth"]["status"] == "unhealthy"
            assert await found.metric("circuit_breaker_state") == 2


async def test_what_an_operator_holds_open_stays_so_when_workers_die(tmp_path: Path) -> None:
    """Each successor applies the hold before its first request; the same goes for a policy."""
    async with gateway(tmp_path, workers=2) as found:
        await found.ask(f"/admin/breakers/{SERVICE}/force_open", "POST", json={"reason": "maintenance"})
        await found.ask(f"/admin/breakers/{SERVICE}/policy", "PUT", json={"max_failures": 8})
        for pid in await found.staffed():
            os.kill(pid, signal.SIGKILL)
            await until(lambda: pid not in found.listening())  # noqa: B023
            await found.staffed()
            assert {(await found.ask("/auth/ping")).status_code for _ in range(12)} == {503}
        await found.all_workers(lambda view: view["policy"]["max_failures"] == 8)
        await found.ask(f"/admin/breakers/{SERVICE}/reset", "POST")
        assert {(await found.ask("/auth/ping")).status_code for _ in range(12)} == {200}


async def test_a_rate_limit_is_one_limit(tmp_path: Path) -> None:
    """The spread of a client's connections over the workers doesn't matter, nor does a worker's death."""
    async with gateway(tmp_path, workers=3, rate=10) as found:
        answers = []
        for _ in range(18):
            answers.append(await found.ask("/auth/ping"))
            # Longer than the workers take to exchange their counts.
            await trio.sleep(0.3)
        # Each worker may admit one before it gets the others' counts; and a minute that begins meanwhile
        # drops a little of the earlier count.
        assert 10 <= sum(one.status_code == 200 for one in answers) <= 14
        assert answers[-1].status_code == 429
        for pid in await found.staffed():
            os.kill(pid, signal.SIGKILL)
        await until(lambda: not found.listening())
        await found.staffed()
        later = []
        for _ in range(5):
            await trio.sleep(0.3)
            later.append((await found.ask("/auth/ping")).status_code)
        # A new worker gets this client's counts after the client's first request.
        assert later.count(200) <= 3


async def test_workers_end_when_their_parent_was_killed(tmp_path: Path) -> None:
    """The port is free after the parent's death: another gateway can start there."""
    async with gateway(tmp_path, workers=2) as found:
        workers = await found.staffed()
        found.process.kill()
        await until(lambda: not any(map(lives, workers)))
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", found.port))


@pytest.mark.resilience
@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk isn't here; apt-get install wrk")
@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGHUP])
async def test_wrk_sees_no_failure(tmp_path: Path, sign: signal.Signals) -> None:
    """wrk runs while a worker drains and is replaced, or all reload: no error of any kind."""
    async with gateway(tmp_path, workers=2) as found:
        workers = await found.staffed()
        words = ["wrk", "-t1", "-c32", "-d4s", f"http://127.0.0.1:{found.port}/auth/ping"]
        load = await trio.lowlevel.open_process(words, stdout=subprocess.PIPE)
        try:
            await trio.sleep(1)
            os.kill(workers[0] if sign is signal.SIGTERM else found.process.pid, sign)
            assert load.stdout is not None
            with trio.fail_after(30):
                said = b"".join([piece async for piece in load.stdout]).decode()
        finally:
            load.kill()
        assert "Requests/sec" in said
        assert "Socket errors" not in said
        assert "Non-2xx" not in said
