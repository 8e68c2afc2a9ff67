"""Several worker processes on one port: each a whole gateway, all accepting from one listening socket.

The supervisor serves no requests. It opens the listening socket and keeps it open, so that the connections in
the listen backlog survive a worker's death; it starts the workers, and replaces those that die.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Sequence
from contextlib import suppress
from socket import socket

import structlog
import trio

from gateway.settings import GatewaySettings
from runtime.config.policies import BadConfiguration
from runtime.config.policy_file import configuration_of, read_text
from runtime.config.reload import sighup_events
from runtime.serving import listen, stop_signal

STEADY_SECONDS = 10.0
"""A worker that dies after running for at least this long is replaced at once."""
FIRST_WAIT, LONGEST_WAIT = 0.1, 10.0
"""Seconds until a worker that died sooner is replaced: they double from the first to the longest."""
KILL_SECONDS = 1.0
"""Seconds between the end of the time for draining and SIGKILL."""

log = structlog.get_logger("workers")


async def run_workers(settings: GatewaySettings) -> None:
    """Run `settings.gateway_workers` workers until SIGTERM or SIGINT; then drain them and wait for their end.

    At SIGHUP all workers read breakers.toml and the certificate again. Raises CannotListen, and
    BadConfiguration if breakers.toml can't be used at the start. The workers drain too if this process dies.
    """
    listeners = [listen(settings.host, settings.gateway_port)]
    if settings.operations_port is not None:
        listeners.append(listen(settings.host, settings.operations_port))
    try:
        await WorkerSupervisor(settings, listeners).run()
    finally:
        for listener in listeners:
            listener.close()


class WorkerSupervisor:
    """Keeps one worker running in each slot. listeners: of GATEWAY_PORT, and of OPERATIONS_PORT if set."""

    def __init__(self, settings: GatewaySettings, listeners: Sequence[socket]) -> None:
        self._settings = settings
        self._listeners = listeners
        self._gateway = uuid.uuid4().hex
        """The workers' name for what they share. A gateway that starts again counts from zero."""
        self._workers: dict[int, trio.Process] = {}
        self._stopping = False
        self._policies = ""
        """The last text of breakers.toml that could be used."""
        # Nothing is ever written: the workers see the end of the pipe when this process has ended.
        self._lifeline, self._alive = os.pipe()

    async def run(self) -> None:
        """Run until a stop signal. Cancelling kills the workers."""
        self._read_policies()
        host, port = self._listeners[0].getsockname()[:2]
        async with trio.open_nursery() as nursery:
            await nursery.start(self._forward_hangups)
            for slot in range(self._settings.gateway_workers):
                nursery.start_soon(self._supervise, slot, f"{host}:{port}")
            log.info("listening", host=host, port=port, workers=self._settings.gateway_workers)
            await stop_signal()
            await self._stop()
            nursery.cancel_scope.cancel()

    def _read_policies(self) -> None:
        """Read breakers.toml. Raises BadConfiguration, and then keeps the earlier text."""
        path = self._settings.circuit_breakers
        text = read_text(path)
        configuration_of(text, path, self._settings.circuit_breaker_profile)
        self._policies = text

    async def _supervise(self, slot: int, address: str) -> None:
        """Keep a worker running in one slot."""
        wait = 0.0
        while True:
            started = trio.current_time()
            process = await self._start(slot, address)
            try:
                await self._hand_over_policies(process)
                status = await process.wait()
            finally:
                if process.returncode is None:
                    process.kill()
            if self._stopping:
                return
            del self._workers[slot]
            steady = trio.current_time() - started >= STEADY_SECONDS
            wait = 0.0 if steady else min(max(2 * wait, FIRST_WAIT), LONGEST_WAIT)
            log.warning("a worker has ended", worker=slot, pid=process.pid, status=status, wait=wait)
            await trio.sleep(wait)

    async def _start(self, slot: int, address: str) -> trio.Process:
        # A file that can't be used now is reported at SIGHUP; until then the earlier one holds.
        with suppress(BadConfiguration):
            self._read_policies()
        public, *operations = [one.fileno() for one in self._listeners]
        descriptors = public, self._lifeline, *operations
        words = [self._gateway, address, str(slot), *map(str, descriptors)]
        # The child inherits the signal mask: a SIGHUP waits until it can be handled.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
        try:
            process = await trio.lowlevel.open_process(
                [sys.executable, "-m", "gateway.workers.worker", *words],
                stdin=subprocess.PIPE,
                pass_fds=descriptors,
            )
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
        self._workers[slot] = process
        log.info("a worker has started", worker=slot, pid=process.pid)
        return process

    async def _hand_over_policies(self, process: trio.Process) -> None:
        assert process.stdin is not None
        with suppress(trio.BrokenResourceError):  # the worker has died, and is replaced
            async with process.stdin as pipe:
                await pipe.send_all(self._policies.encode())

    async def _stop(self) -> None:
        """Let the workers drain; `_supervise` kills those that don't end in time."""
        self._stopping = True
        ending = list(self._workers.values())
        for process in ending:
            process.terminate()
        # Once the last worker has closed its socket, a connection must be refused, not left in the backlog.
        for listener in self._listeners:
            listener.close()
        settings = self._settings
        with trio.move_on_after(settings.shutdown_delay + settings.grace() + KILL_SECONDS):
            for process in ending:
                await process.wait()

    async def _forward_hangups(
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Send each SIGHUP on to the workers, which report a file that can't be used."""
        with sighup_events() as signals:
            task_status.started()
            async for _ in signals:
                with suppress(BadConfiguration):
                    self._read_policies()
                for process in list(self._workers.values()):
                    process.send_signal(signal.SIGHUP)
