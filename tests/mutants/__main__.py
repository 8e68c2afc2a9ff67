"""Break the breaker on purpose, one fault at a time, and see the tests notice: `just mutants [NAME…]`.

Each file in patches/ is one fault: a line that says what it breaks, then a unified diff. The tree is
copied, the patch applied, and the tests are run, the quick ones first, until one notices.
Exits with 1 where a fault survives, a patch no longer applies, or the tests fail without a fault.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PATCHES = Path(__file__).parent / "patches"
NEEDED = ("actors", "protocols", "tests/actors", "tests/conformance", "pyproject.toml")
STAGES = {
    # Of the breaker alone: its adapters and documents are tested by themselves.
    "unit tests": [
        *(f"tests/actors/test_{name}.py" for name in ("machine", "trip", "config", "execute", "panel")),
        *(f"tests/actors/test_{name}.py" for name in ("corners", "wrapper", "metrics")),
    ],
    "conformance suite": ["tests/conformance"],
    "model": ["tests/actors/model", "--hypothesis-seed=0"],
}
HANGS = {"unit tests": 10, "conformance suite": 10, "model": 120}
"""After how many seconds one test hangs: a fault that makes one hang is caught too."""
AT_ONCE = 2


class Verdict(NamedTuple):
    """How one fault fared. fine: it was caught, or there was none and all passed."""

    fine: bool
    text: str


def main(names: list[str]) -> int:
    """Try the faults named, or all."""
    patches = [one for one in sorted(PATCHES.glob("*.patch")) if not names or one.stem in names]
    if unknown := set(names) - {one.stem for one in patches}:
        sys.exit(f"no such patch: {', '.join(sorted(unknown))}")
    start = time.monotonic()
    found = failures(None)
    if found is not None:
        print(f"the tests fail without any fault: {found}")
        return 1
    bad = 0
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for patch, verdict in zip(patches, pool.map(judge, patches), strict=True):
            bad += not verdict.fine
            print(f"{verdict.text:<55} {patch.stem}", flush=True)
            if not verdict.fine:
                print(f"  {patch.read_text('utf-8').splitlines()[0]}")
    print(f"{len(patches)} faults, {len(patches) - bad} caught, {time.monotonic() - start:.0f} s")
    return 1 if bad or not patches else 0


def judge(patch: Path) -> Verdict:
    """Whether the tests notice this fault."""
    try:
        found = failures(patch)
    except StalePatchError as stale:
        return Verdict(False, f"STALE: {stale}")
    return Verdict(False, "SURVIVED") if found is None else Verdict(True, f"caught by {found}")


class StalePatchError(Exception):
    """The code that a patch breaks is no longer there."""


def failures(patch: Path | None) -> str | None:
    """What fails with this fault in a copy of the tree: a test, or a stage that hangs; None: nothing."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        copy = Path(folder)
        for name in NEEDED:
            take = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            take(ROOT / name, copy / name)
        for cache in copy.rglob("__pycache__"):
            shutil.rmtree(cache)
        if patch is not None:
            _apply(patch, copy)
        for stage, tests in STAGES.items():
            if found := _first_failure(stage, tests, copy):
                return found
    return None


def _apply(patch: Path, copy: Path) -> None:
    # A folder inside somebody's repository must not be taken for it.
    env = os.environ | {"GIT_CEILING_DIRECTORIES": str(copy.parent)}
    command = ["git", "apply", "--whitespace=nowarn", str(patch)]
    done = subprocess.run(command, cwd=copy, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise StalePatchError(done.stderr.strip().splitlines()[-1])


def _first_failure(stage: str, tests: list[str], copy: Path) -> str | None:
    command = [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "--tb=no", "--assert=plain"]
    command += ["-p", "no:cacheprovider"]
    hang = ["-o", f"faulthandler_timeout={HANGS[stage]}", "-o", "faulthandler_exit_on_timeout=true"]
    env = os.environ | {
        # The copy, not what is installed; and no bytecode, which may be of another second's fault.
        "PYTHONPATH": str(copy),
        "PYTHONDONTWRITEBYTECODE": "1",
        "HYPOTHESIS_STORAGE_DIRECTORY": str(copy / ".hypothesis"),
    }
    done = subprocess.run(
        [*command, *hang, *tests], cwd=copy, env=env, capture_output=True, text=True, check=False
    )
    if not done.returncode:
        return None
    if "Timeout (" in done.stderr:
        return f"the {stage}: one hangs"
    named = re.search(r"^(?:FAILED|ERROR) \S*?([\w.]+(?:::\w+)?)(?=\[|\s|$)", done.stdout, re.MULTILINE)
    return named[1] if named else f"the {stage}: {done.stdout[-200:]}{done.stderr[-200:]}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
