"""A folder with a log and a breakers.toml, and the tuner run in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.tune import candidates
from benchmarks.tune.__main__ import main
from tests.benchmarks.tune.recorded import NAME


class Tuner:
    """Runs the tuner on the log in its folder."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.log = folder / "calls.jsonl"
        self.breakers = folder / "breakers.toml"
        self.output = folder / "breakers.tuned.toml"
        self._capsys = capsys
        self.status = -1
        self.error = ""

    def configure(self, **policy: object) -> None:
        values = "".join(f"{key} = {value}\n" for key, value in policy.items())
        self.breakers.write_text(f"# As agreed.\n[breakers.{NAME}]\n{values}")

    def run(self, *arguments: str) -> str:
        """The tuner's output, without the path of its folder."""
        files = [str(self.log), "--breakers", str(self.breakers), "--output", str(self.output)]
        self.status = main([*files, *arguments])
        output = self._capsys.readouterr()
        self.error = output.err.replace(f"{self.log.parent}/", "")
        return output.out.replace(f"{self.log.parent}/", "")


@pytest.fixture
def few_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try only few policies: four fixed ones, and the defaults of Adaptive."""
    monkeypatch.setattr(candidates, "ADAPTIVE", {"failures": (6,)})
    monkeypatch.setattr(candidates, "fixed", lambda _: {})
    monkeypatch.setattr(candidates, "WAITS", (10.0,))
    monkeypatch.setattr(candidates, "FAILURES", (5,))


@pytest.fixture
def tuner(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Tuner:
    for name in ("CIRCUIT_BREAKERS", "CIRCUIT_BREAKER_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    made = Tuner(tmp_path, capsys)
    made.configure(max_failures=5, reset_timeout=60)
    return made
