"""`just reload`: the file is checked first, and each process confirms that it has read it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from deploy import environments
from deploy.config import StackConfig, StackError, stack_config
from deploy.recipes import reload
from deploy.supervisor import Process

NAMES = ("auth-service", "school-service", "student-service", "api-gateway")


@dataclass
class FakeSupervisor:
    """supervisor with processes that write `answer` to their logs at SIGHUP. stopped: they don't run."""

    config: StackConfig
    answer: Callable[[str], str]
    alive: bool = True
    stopped: tuple[str, ...] = ()
    signalled: list[str] = field(default_factory=list)

    def is_alive(self) -> bool:
        return self.alive

    def processes(self) -> dict[str, Process]:
        return {n: Process(n, "STOPPED" if n in self.stopped else "RUNNING", 1, 0, "") for n in NAMES}

    def hang_up(self, name: str) -> None:
        self.signalled.append(name)
        with self.config.log(name).open("a") as log:
            log.write(self.answer(name))


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSupervisor:
    """A running stack whose breakers.toml is in tmp_path, with another one in this shell."""
    config = stack_config({"STACK_DIR": str(tmp_path / "stack")})
    config.logs.mkdir(parents=True)
    policies = tmp_path / "breakers.toml"
    policies.write_text("[breakers.auth-database]\nmax_failures = 7\n")
    environments.write(config, {"CIRCUIT_BREAKERS": str(policies)})
    for name in NAMES:
        config.log(name).write_text(f"{reload.UNUSABLE}, long ago\n")
    found = FakeSupervisor(config, lambda _: f'{{"event": "{reload.READ_AGAIN}"}}\n')
    monkeypatch.setattr(reload, "StackSupervisor", lambda _: found)
    monkeypatch.setattr(reload, "CONFIRM_SECONDS", 0.3)
    monkeypatch.setenv("CIRCUIT_BREAKERS", "/nowhere")
    return found


def test_every_running_process_reads_the_file_again(
    stack: FakeSupervisor, capsys: pytest.CaptureFixture[str]
) -> None:
    stack.stopped = ("school-service",)
    assert reload.reload(stack.config)
    assert stack.signalled == ["auth-service", "student-service", "api-gateway"]
    assert capsys.readouterr().out.count("has read the policies again.") == 3


def test_a_bad_file_is_reported_and_no_process_reads_it(stack: FakeSupervisor, tmp_path: Path) -> None:
    """The file is the running stack's, not the one that this shell names."""
    (tmp_path / "breakers.toml").write_text("[breakers.auth-database]\nmax_failures = 0\n")
    with pytest.raises(StackError, match=f"^{tmp_path}/breakers.toml: breakers.auth-database.max_fail"):
        reload.reload(stack.config)
    assert stack.signalled == []


def test_a_process_that_does_not_confirm_it_is_named(
    stack: FakeSupervisor, capsys: pytest.CaptureFixture[str]
) -> None:
    confirmed = stack.answer
    stack.answer = lambda name: "" if name == "auth-service" else confirmed(name)
    assert not reload.reload(stack.config)
    output = capsys.readouterr().out
    assert "auth-service hasn't confirmed it" in output
    assert "`uv run just logs auth-service`" in output
    assert output.count("has read the policies again.") == 3


def test_a_process_that_refuses_the_file_is_reported(stack: FakeSupervisor) -> None:
    """If the file has changed since it was checked."""
    stack.answer = lambda name: f"{reload.UNUSABLE}; nothing has changed: it is empty\n"
    with pytest.raises(StackError, match="auth-service refuses the file: .*it is empty"):
        reload.reload(stack.config)


def test_without_a_stack_it_says_so(stack: FakeSupervisor) -> None:
    stack.alive = False
    with pytest.raises(StackError, match="the stack isn't up; start it with `uv run just up`"):
        reload.reload(stack.config)


def test_the_processes_log_the_events_that_it_waits_for() -> None:
    source = Path("runtime/config/reload.py").read_text()
    assert f'"{reload.READ_AGAIN}"' in source
    assert f'"{reload.UNUSABLE};' in source
