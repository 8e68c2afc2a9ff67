"""Commands for all workers: every worker runs them in the same order, and so does one that starts later."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from socket import AF_UNIX, socket

import pytest
import structlog
import trio
from gateway.workers.admin import ClusterBreakerAdmin

import gateway.workers.cluster
from actors import CircuitBreaker, CircuitBreakerConfig, State, open_panel
from gateway.settings import GatewaySettings
from gateway.workers.cluster import WorkerCluster
from gateway.workers.command_log import RELOAD_POLICIES, CommandLog, commands_in_effect
from gateway.workers.notifications import RUN_COMMANDS, notify
from gateway.workers.policy_file import stage_policy_file
from gateway.workers.slot import WorkerSlot
from runtime.admin.history import Recorder
from runtime.admin.service import AdminCommand, local_breaker_admin
from runtime.web.errors import ApiError

SERVICE = "auth-service-http"


def workers_folder(folder: Path) -> Path:
    """The folder that the workers share."""
    return folder / "workers"


def command(reason: str = "", number: str = "abc") -> AdminCommand:
    return AdminCommand("somebody", reason, "", number)


@asynccontextmanager
async def worker(folder: Path, number: int) -> AsyncIterator[tuple[ClusterBreakerAdmin, CircuitBreaker]]:
    """A worker's admin, and its own breaker."""
    settings = GatewaySettings(circuit_breakers=folder / "breakers.toml")
    if not settings.circuit_breakers.exists():
        settings.circuit_breakers.touch()
        workers_folder(folder).mkdir()
        stage_policy_file(settings, workers_folder(folder))
    async with open_panel() as panel, trio.open_nursery() as nursery:
        breaker = panel.breaker(CircuitBreakerConfig(name=SERVICE))
        cluster = WorkerCluster(panel, WorkerSlot(number, workers_folder(folder)), None)
        own = local_breaker_admin(panel, Recorder("api-gateway", cluster), settings, cluster.slot.policies)
        admin = ClusterBreakerAdmin(own, cluster, settings)
        await nursery.start(cluster.run)
        yield admin, breaker
        nursery.cancel_scope.cancel()


async def test_concurrent_commands_leave_all_workers_alike(tmp_path: Path) -> None:
    """Whichever workers receive them."""
    async with worker(tmp_path, 0) as (one, first), worker(tmp_path, 1) as (other, there):
        for _ in range(20):
            async with trio.open_nursery() as nursery:
                crossing = ((one, "force_open"), (other, "reset"), (one, "disable"), (other, "observe"))
                for admin, action in crossing:
                    nursery.start_soon(admin.steer, SERVICE, action, command())
            assert first.state is there.state


async def test_a_later_worker_runs_commands_in_effect(tmp_path: Path) -> None:
    """A lasting state, and a policy changed since the last reload."""
    async with worker(tmp_path, 0) as (admin, _):
        await admin.change(SERVICE, {"max_failures": 8}, command())
        await admin.reload(command())
        await admin.change(SERVICE, {"reset_timeout": 7}, command())
        await admin.steer(SERVICE, "force_open", command("maintenance"))
        async with worker(tmp_path, 1) as (_, late):
            assert late.state is State.FORCED_OPEN
            assert (await late.snapshot()).last_reason == "forced by operator: maintenance"
            assert (late.config.max_failures, late.config.reset_timeout) == (5, 7)
            await admin.steer(SERVICE, "reset", command())
            assert late.state is State.CLOSED
        async with worker(tmp_path, 1) as (_, later):
            assert later.state is State.CLOSED


async def test_a_command_that_fails_in_one_worker_does_no_harm(tmp_path: Path) -> None:
    """The worker logs it, goes on, and runs the next one; the other workers have run it."""
    async with worker(tmp_path, 0) as (one, first), worker(tmp_path, 1) as (_, there):
        await first.configure(CircuitBreakerConfig(name=SERVICE, max_concurrent=3))
        with structlog.testing.capture_logs() as lines:
            await one.change(SERVICE, {"max_queue": 5}, command())
        assert "a command could not be run" in [line["event"] for line in lines]
        assert (first.config.max_queue, there.config.max_queue) == (5, 0)
        await one.steer(SERVICE, "force_open", command())
        assert there.state is State.FORCED_OPEN


@pytest.mark.parametrize(
    "wrong",
    [
        partial(ClusterBreakerAdmin.steer, name="nobody", action="trip"),
        partial(ClusterBreakerAdmin.steer, name=SERVICE, action="nonsense"),
        partial(ClusterBreakerAdmin.change, name=SERVICE, table={"max_failures": 0}),
        partial(ClusterBreakerAdmin.change, name="nobody", table={"max_failures": 3}),
    ],
)
async def test_an_invalid_command_is_not_logged(tmp_path: Path, wrong: partial) -> None:
    """It is refused, and no other worker runs it."""
    async with worker(tmp_path, 0) as (admin, _):
        with pytest.raises(ApiError):
            await wrong(admin, command=command())
        assert CommandLog(WorkerSlot(0, workers_folder(tmp_path)).commands).read_new() == []


async def test_an_invalid_file_is_refused_and_not_logged(tmp_path: Path) -> None:
    """Workers that start later use the last valid file."""
    async with worker(tmp_path, 0) as (admin, breaker):
        (tmp_path / "breakers.toml").write_text(f"[breakers.{SERVICE}]\nmax_failures = 0\n")
        with pytest.raises(ApiError, match="max_failures"):
            await admin.reload(command())
        assert CommandLog(WorkerSlot(0, workers_folder(tmp_path)).commands).read_new() == []
        assert breaker.config.max_failures == 5
        async with worker(tmp_path, 1) as (_, late):
            assert late.config.max_failures == 5


async def test_a_worker_that_hangs_is_named_and_follows_later(tmp_path: Path) -> None:
    """The other workers run the command at once, and no one waits for long."""
    async with worker(tmp_path, 0) as (admin, breaker):
        with hanging(tmp_path, 1), trio.fail_after(5):
            seen = await admin.steer(SERVICE, "force_open", command())
        assert (breaker.state, seen["workers_behind"]) == (State.FORCED_OPEN, [1])
        async with worker(tmp_path, 1) as (_, late):
            assert late.state is State.FORCED_OPEN
            assert "workers_behind" not in await admin.steer(SERVICE, "reset", command())


async def test_each_worker_logs_a_command_with_its_id(tmp_path: Path) -> None:
    """The worker that received it, and the other one."""
    async with worker(tmp_path, 0) as (admin, _), worker(tmp_path, 1):
        with structlog.testing.capture_logs() as lines:
            await admin.steer(SERVICE, "trip", command("to see", "request-7"))
        said = [(line["who"], line["reason"], line["request_id"]) for line in lines if line.get("action")]
        assert said == [("somebody", "to see", "request-7")] * 2


async def test_of_three_only_the_one_that_hangs_is_behind(tmp_path: Path) -> None:
    """The others don't wait for it."""
    async with worker(tmp_path, 0) as (admin, _), worker(tmp_path, 1) as (_, there):
        with hanging(tmp_path, 2):
            seen = await admin.steer(SERVICE, "force_open", command())
            assert seen["workers_behind"] == [2]
            told = await admin.reload(command())
            assert "not yet by worker 2" in told["api-gateway"]["error"]
        assert there.state is State.FORCED_OPEN


@contextmanager
def hanging(folder: Path, number: int) -> Iterator[None]:
    """A worker that runs and never replies."""
    slot = WorkerSlot(number, workers_folder(folder))
    slot.counts.write_bytes(WorkerSlot(0, workers_folder(folder)).counts.read_bytes())
    with socket(AF_UNIX) as listener:
        listener.bind(str(slot.socket))
        listener.listen(100)
        yield
    slot.socket.unlink()


async def test_a_slow_worker_runs_every_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The notifications have timed out, but the commands are in the log."""
    monkeypatch.setattr(gateway.workers.cluster, "REPLY_SECONDS", 0.002)

    async def slow(self: WorkerCluster, record: Mapping[str, object]) -> object:
        await trio.sleep(0.02)
        return await run_one(self, record)

    run_one = WorkerCluster._run_one
    async with worker(tmp_path, 0) as (admin, first), worker(tmp_path, 1) as (_, there):
        monkeypatch.setattr(WorkerCluster, "_run_one", slow)
        async with trio.open_nursery() as nursery:
            for failures in range(1, 9):
                nursery.start_soon(admin.change, SERVICE, {"max_failures": failures}, command())
        with trio.fail_after(5):
            while there.config != first.config:  # noqa: ASYNC110
                await trio.sleep(0.01)


@pytest.mark.parametrize("moment", ["_reload_policies", "_run_one"])
async def test_a_worker_that_starts_runs_old_commands_before_new_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """New commands wait while it reads the file and runs the old ones; ended states are not taken up."""
    original = getattr(WorkerCluster, moment)

    async def interrupted(self: WorkerCluster, *what: object) -> object:
        if self.slot.number == 1 and not came.is_set():
            came.set()
            await trio.sleep(0.1)
        return await original(self, *what)

    came = trio.Event()
    async with worker(tmp_path, 0) as (admin, first):
        for action in ("trip", "reset", "force_open"):
            await admin.steer(SERVICE, action, command("old"))
        monkeypatch.setattr(WorkerCluster, moment, interrupted)

        async def later() -> None:
            await came.wait()
            await admin.steer(SERVICE, "reset", command("new"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(later)
            async with worker(tmp_path, 1) as (_, late):
                await trio.sleep(0.2)
                assert late.state is first.state is State.CLOSED
                transitions = (await late.snapshot()).transitions
                assert (State.CLOSED, State.OPEN) not in transitions


async def test_a_file_that_changes_while_a_worker_starts_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has read the previous file; the log says that there is a new one."""
    original = WorkerCluster._reload_policies

    async def overtaken(self: WorkerCluster) -> None:
        await original(self)
        if not came:
            came.append(self)
            (tmp_path / "breakers.toml").write_text(f"[breakers.{SERVICE}]\nmax_failures = 4\n")
            stage_policy_file(
                GatewaySettings(circuit_breakers=tmp_path / "breakers.toml"), workers_folder(tmp_path)
            )
            CommandLog(self.slot.commands).append(RELOAD_POLICIES)

    came: list[WorkerCluster] = []
    async with worker(tmp_path, 0) as (_, first):
        monkeypatch.setattr(WorkerCluster, "_reload_policies", overtaken)
        async with worker(tmp_path, 1) as (_, late):
            await notify([WorkerSlot(number, workers_folder(tmp_path)) for number in (0, 1)], RUN_COMMANDS)
            assert late.config.max_failures == first.config.max_failures == 4


async def test_a_truncated_record_spoils_no_other(tmp_path: Path) -> None:
    """The records before and after it are read."""
    async with worker(tmp_path, 0) as (admin, first):
        await admin.steer(SERVICE, "force_open", command())
        with WorkerSlot(0, workers_folder(tmp_path)).commands.open("ab") as file:
            file.write(b'\n{"do": "st')
        await admin.change(SERVICE, {"max_failures": 8}, command())
        async with worker(tmp_path, 1) as (_, late):
            for breaker in (first, late):
                assert (breaker.state, breaker.config.max_failures) == (State.FORCED_OPEN, 8)


def steer(action: str, name: str = SERVICE) -> Mapping[str, str]:
    return {"do": "steer", "name": name, "action": action}


CHANGE = {"do": "change", "name": SERVICE, "table": {}}


@pytest.mark.parametrize(
    ("records", "left"),
    [
        ([], []),
        ([steer("force_open"), steer("trip", "other")], [0]),
        ([steer("force_open"), steer("disable")], [1]),
        ([steer("observe"), steer("trip")], []),
        ([steer("disable"), steer("reset"), steer("force_open", "other")], [2]),
        ([CHANGE, steer("force_open"), CHANGE], [0, 2, 1]),
        ([CHANGE, steer("force_open"), RELOAD_POLICIES, CHANGE], [3, 1]),
        ([CHANGE, {"do": "reload"}], []),
    ],
)
def test_commands_in_effect(records: list, left: list[int]) -> None:
    """The last lasting state of each breaker unless it has ended, and the changes since the last reload."""
    found = commands_in_effect(records)
    assert [id(one) for one in found] == [id(records[index]) for index in left]


def test_a_command_is_read_when_it_is_whole(tmp_path: Path) -> None:
    """Another worker may still be writing it."""
    path = tmp_path / "commands"
    reader, writer = CommandLog(path), CommandLog(path)
    assert reader.read_new() == []
    writer.append({"do": "one"})
    with path.open("ab") as file:
        file.write(b'{"do": "tw')
    assert reader.read_new() == [{"do": "one"}]
    with path.open("ab") as file:
        file.write(b'o"}\n')
    assert reader.read_new() == [{"do": "two"}]
    assert reader.read_new() == []
