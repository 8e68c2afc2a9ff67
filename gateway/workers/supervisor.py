"""Several worker processes on one port: each a whole gateway, all accepting from one listening socket.

The supervisor serves no requests. It opens the listening socket and keeps it open, so that the connections in
the listen backlog survive a worker's death; it starts the workers, and replaces those that die.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from socket import socket

import structlog
import trio

from gateway.settings import GatewaySettings
from gateway.workers.command_log import RELOAD_POLICIES, CommandLog
from gateway.workers.notifications import RELOAD_CERTIFICATE, RUN_COMMANDS, notify
from gateway.workers.policy_file import stage_policy_file
from gateway.workers.slot import WorkerSlot
from runtime.config.policies import BadConfiguration
from runtime.config.reload import log_unusable, sighup_events
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

    At SIGHUP all workers read breakers.toml again; an invalid file is logged, and changes nothing.
    Raises CannotListen. The workers drain too if this process dies.
    """
    listeners = [listen(settings.host, settings.gateway_port)]
    if settings.operations_port is not None:
        listeners.append(listen(settings.host, settings.operations_port))
    folder = Path(tempfile.mkdtemp(prefix="gateway-"))  # only this user may enter it
    try:
        await WorkerSupervisor(settings, listeners, folder).run()
    finally:
        for listener in listeners:
            listener.close()
        shutil.rmtree(folder, ignore_errors=True)


class WorkerSupervisor:
    """Keeps one worker running in each slot. listeners: of GATEWAY_PORT, and of OPERATIONS_PORT if set."""

    def __init__(self, settings: GatewaySettings, listeners: Sequence[socket], folder: Path) -> None:
        self._settings = settings
        self._listeners = listeners
        self._folder = folder
        self._workers: dict[int, trio.Process] = {}
        self._stopping = False
        # Nothing is ever written: the workers see the end of the pipe when this process has ended.
        self._lifeline, self._alive = os.pipe()

    async def run(self) -> None:
        """Run until a stop signal. Cancelling kills the workers."""
        stage_policy_file(self._settings, self._folder)
        host, port = self._listeners[0].getsockname()[:2]
        async with trio.open_nursery() as nursery:
            await nursery.start(self._reload)
            for number in range(self._settings.gateway_workers):
                nursery.start_soon(self._supervise, WorkerSlot(number, self._folder))
            log.info("listening", host=host, port=port, workers=self._settings.gateway_workers)
            await stop_signal()
            await self._stop()
            nursery.cancel_scope.cancel()

    async def _supervise(self, slot: WorkerSlot) -> None:
        """Keep a worker running in one slot."""
        wait = 0.0
        while True:
            started = trio.current_time()
            process = await self._start(slot)
            try:
                status = await process.wait()
            finally:
                if process.returncode is None:
                    process.kill()
            if self._stopping:
                return
            del self._workers[slot.number]
            steady = trio.current_time() - started >= STEADY_SECONDS
            wait = 0.0 if steady else min(max(2 * wait, FIRST_WAIT), LONGEST_WAIT)
            log.warning("a worker has ended", worker=slot.number, pid=process.pid, status=status, wait=wait)
            await trio.sleep(wait)

    async def _start(self, slot: WorkerSlot) -> trio.Process:
        public, *operations = [one.fileno() for one in self._listeners]
        descriptors = public, self._lifeline, *operations
        command = [sys.executable, "-m", "gateway.workers.worker", str(slot.number), str(slot.folder)]
        # The child inherits the signal mask. SIGHUP is for the supervisor, also while the child starts.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
        try:
            process = await trio.lowlevel.open_process(
                [*command, *map(str, descriptors)], stdin=subprocess.DEVNULL, pass_fds=descriptors
            )
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
        self._workers[slot.number] = process
        log.info("a worker has started", worker=slot.number, pid=process.pid)
        return process

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

    async def _reload(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        with sighup_events() as signals:
            task_status.started()
            async for _ in signals:
                slots = [WorkerSlot(number, self._folder) for number in self._workers]
                await notify(slots, RELOAD_CERTIFICATE)
                try:
                    stage_policy_file(self._settings, self._folder)
                except BadConfiguration as error:
                    log_unusable(error)
                else:
                    # It is logged too: a worker that starts later must not repeat changes of the old
                    # policies.
                    CommandLog(WorkerSlot(0, self._folder).commands).append(RELOAD_POLICIES)
                    await notify(slots, RUN_COMMANDS)
