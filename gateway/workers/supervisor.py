"""Several processes on one port: each a whole gateway, all accepting from one listening socket.

The parent serves nobody. It opens the socket and keeps it, so that no connection that waits to be accepted is
lost with a worker; it starts the workers, and others in the place of those that die.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from socket import socket

import structlog
import trio

from gateway.settings import GatewaySettings
from gateway.workers.command_log import AGAIN, Orders
from gateway.workers.policy_file import stage_policy_file
from gateway.workers.slot import CERTIFICATE, FOLLOW, WorkerSlot, tell
from runtime.config.breakers import BadConfiguration
from runtime.config.reload import refuse, sighup_events
from runtime.serving import listen, stop_signal

STEADY_SECONDS = 10.0
"""A worker that lived as long is replaced at once when it dies."""
FIRST_WAIT, LONGEST_WAIT = 0.1, 10.0
KILL_SECONDS = 1.0
"""How much longer than it may take to drain a worker is given."""

log = structlog.get_logger("workers")


async def run_workers(settings: GatewaySettings) -> None:
    """Run `settings.gateway_workers` workers until SIGTERM or SIGINT; then they drain, and all have ended.

    SIGHUP reads breakers.toml again in all of them; one that can't be used is reported, and changes nothing.
    Raises CannotListen. However the parent ends, its workers see it and drain.
    """
    listener = listen(settings.host, settings.gateway_port)
    folder = Path(tempfile.mkdtemp(prefix="gateway-"))  # nobody else may enter it
    try:
        await WorkerSupervisor(settings, listener, folder).run()
    finally:
        listener.close()
        shutil.rmtree(folder, ignore_errors=True)


class WorkerSupervisor:
    """Keeps one worker in each seat."""

    def __init__(self, settings: GatewaySettings, listener: socket, folder: Path) -> None:
        self._settings = settings
        self._listener = listener
        self._folder = folder
        self._workers: dict[int, trio.Process] = {}
        self._stopping = False
        # Nothing is ever written: its end tells the workers that the parent has gone.
        self._lifeline, self._alive = os.pipe()

    async def run(self) -> None:
        """Until told to stop. Cancelling kills the workers."""
        stage_policy_file(self._settings, self._folder)
        host, port = self._listener.getsockname()[:2]
        async with trio.open_nursery() as nursery:
            await nursery.start(self._reload)
            for number in range(self._settings.gateway_workers):
                nursery.start_soon(self._keep, WorkerSlot(number, self._folder))
            log.info("listening", host=host, port=port, workers=self._settings.gateway_workers)
            await stop_signal()
            await self._stop()
            nursery.cancel_scope.cancel()

    async def _keep(self, seat: WorkerSlot) -> None:
        wait = 0.0
        while True:
            started = trio.current_time()
            process = await self._start(seat)
            try:
                status = await process.wait()
            finally:
                if process.returncode is None:
                    process.kill()
            if self._stopping:
                return
            del self._workers[seat.number]
            steady = trio.current_time() - started >= STEADY_SECONDS
            wait = 0.0 if steady else min(max(2 * wait, FIRST_WAIT), LONGEST_WAIT)
            log.warning("a worker has ended", worker=seat.number, pid=process.pid, status=status, wait=wait)
            await trio.sleep(wait)

    async def _start(self, seat: WorkerSlot) -> trio.Process:
        descriptors = self._listener.fileno(), self._lifeline
        words = [sys.executable, "-m", "gateway.workers.worker", str(seat.number), str(seat.folder)]
        # What is blocked stays so in the child: a SIGHUP is for the parent, also while the child starts.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
        try:
            process = await trio.lowlevel.open_process(
                [*words, *map(str, descriptors)], stdin=subprocess.DEVNULL, pass_fds=descriptors
            )
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
        self._workers[seat.number] = process
        log.info("a worker has started", worker=seat.number, pid=process.pid)
        return process

    async def _stop(self) -> None:
        """Let the workers drain; what doesn't end is killed by the end of its `_keep`."""
        self._stopping = True
        ending = list(self._workers.values())
        for process in ending:
            process.terminate()
        # Who connects when the last worker has closed its own must be refused, not left waiting.
        self._listener.close()
        settings = self._settings
        with trio.move_on_after(settings.shutdown_delay + settings.grace() + KILL_SECONDS):
            for process in ending:
                await process.wait()

    async def _reload(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        with sighup_events() as signals:
            task_status.started()
            async for _ in signals:
                seats = [WorkerSlot(number, self._folder) for number in self._workers]
                await tell(seats, CERTIFICATE)
                try:
                    stage_policy_file(self._settings, self._folder)
                except BadConfiguration as error:
                    refuse(error)
                else:
                    # In the list as well: who starts later mustn't take up what was changed before.
                    Orders(WorkerSlot(0, self._folder).orders).add(AGAIN)
                    await tell(seats, FOLLOW)
