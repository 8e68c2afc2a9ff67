"""Break breaker and gateway on purpose, one fault at a time, and see the tests notice.

`just mutants [NAME…]`; a name is a fault's, or `breaker` or `gateway` for all of theirs. Each file in
patches/ is one fault: a line that says what it breaks, then a unified diff. The tree is copied, the patch
applied, and the tests of that part are run, the quick ones first, until one notices.
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
AT_ONCE = 2


class Stage(NamedTuple):
    """Some tests. hangs: seconds after which one of them does, and the fault behind it is caught too."""

    name: str
    tests: tuple[str, ...]
    hangs: int


class Part(NamedTuple):
    """What is broken: where its faults are, what of the tree its tests need, and the tests."""

    patches: Path
    needed: tuple[str, ...]
    stages: tuple[Stage, ...]


def _files(folder: str, *names: str) -> tuple[str, ...]:
    return tuple(f"{folder}/test_{name}.py" for name in names)


BREAKER = Part(
    PATCHES,
    ("actors", "protocols", "tests/actors", "tests/conformance", "tests/optional.py", "pyproject.toml"),
    (
        # Of the breaker alone: its adapters and documents are tested by themselves.
        Stage(
            "unit tests",
            _files(
                "tests/actors",
                "machine",
                "trip",
                "config",
                "execute",
                "panel",
                "durations",
                "mailbox",
                "corners",
                "wrapper",
                "metrics",
                "answered",
                "sources",
                "probe_interval",
            ),
            10,
        ),
        Stage("conformance suite", ("tests/conformance",), 10),
        Stage("model", ("tests/actors/model", "--hypothesis-seed=0"), 120),
    ),
)
GATEWAY = Part(
    PATCHES / "gateway",
    (
        "actors",
        "protocols",
        "runtime",
        "gateway",
        "tests/gateway",
        "tests/runtime",
        "tests/tokens.py",
        "pyproject.toml",
    ),
    (
        # One stage: to start is most of what they take.
        Stage(
            "tests",
            (
                *_files("tests/runtime", "http1", "http1_agrees", "answering", "reasons"),
                *_files("tests/gateway", "fields", "target", "forwarded", "replies"),
                "tests/gateway/upstream",
                *_files("tests/gateway", "orders", "together"),
                *_files("tests/gateway", "exchange", "sly", "unchanged", "cuts", "house"),
                "tests/runtime/test_hall.py",
                *_files("tests/gateway", "wire", "flow"),
            ),
            60,
        ),
    ),
)
PARTS = {"breaker": BREAKER, "gateway": GATEWAY}


class Fault(NamedTuple):
    """A patch, and whose it is."""

    part: Part
    patch: Path


class Verdict(NamedTuple):
    """How one fault fared. fine: it was caught, or there was none and all passed."""

    fine: bool
    text: str


def main(names: list[str]) -> int:
    """Try the faults named, or all."""
    faults = [
        Fault(part, patch)
        for title, part in PARTS.items()
        for patch in sorted(part.patches.glob("*.patch"))
        if not names or title in names or patch.stem in names
    ]
    if unknown := set(names) - {one.patch.stem for one in faults} - set(PARTS):
        sys.exit(f"no such fault: {', '.join(sorted(unknown))}")
    start = time.monotonic()
    for part in PARTS.values():
        if any(one.part is part for one in faults) and (found := failures(part, None)) is not None:
            print(f"the tests fail without any fault: {found}")
            return 1
    bad = 0
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for fault, verdict in zip(faults, pool.map(judge, faults), strict=True):
            bad += not verdict.fine
            print(f"{verdict.text:<55} {fault.patch.stem}", flush=True)
            if not verdict.fine:
                print(f"  {fault.patch.read_text('utf-8').splitlines()[0]}")
    print(f"{len(faults)} faults, {len(faults) - bad} caught, {time.monotonic() - start:.0f} s")
    return 1 if bad or not faults else 0


def judge(fault: Fault) -> Verdict:
    """Whether the tests notice this fault."""
    try:
        found = failures(*fault)
    except StalePatchError as stale:
        return Verdict(False, f"STALE: {stale}")
    return Verdict(False, "SURVIVED") if found is None else Verdict(True, f"caught by {found}")


class StalePatchError(Exception):
    """The code that a patch breaks is no longer there."""


def failures(part: Part, patch: Path | None) -> str | None:
    """What fails with this fault in a copy of the tree: a test, or a stage that hangs; None: nothing."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        copy = Path(folder)
        for name in part.needed:
            take = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            take(ROOT / name, copy / name)
        for cache in copy.rglob("__pycache__"):
            shutil.rmtree(cache)
        if patch is not None:
            _apply(patch, copy)
        for stage in part.stages:
            if found := _first_failure(stage, copy):
                return found
    return None


def _apply(patch: Path, copy: Path) -> None:
    # A folder inside somebody's repository must not be taken for it.
    env = os.environ | {"GIT_CEILING_DIRECTORIES": str(copy.parent)}
    command = ["git", "apply", "--whitespace=nowarn", str(patch)]
    done = subprocess.run(command, cwd=copy, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise StalePatchError(done.stderr.strip().splitlines()[-1])


def _first_failure(stage: Stage, copy: Path) -> str | None:
    command = [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "--tb=no", "--assert=plain"]
    command += ["-p", "no:cacheprovider"]
    hang = ["-o", f"faulthandler_timeout={stage.hangs}", "-o", "faulthandler_exit_on_timeout=true"]
    env = os.environ | {
        # The copy, not what is installed; and no bytecode, which may be of another second's fault.
        "PYTHONPATH": str(copy),
        "PYTHONDONTWRITEBYTECODE": "1",
        "HYPOTHESIS_STORAGE_DIRECTORY": str(copy / ".hypothesis"),
    }
    done = subprocess.run(
        [*command, *hang, *stage.tests], cwd=copy, env=env, capture_output=True, text=True, check=False
    )
    if not done.returncode:
        return None
    if "Timeout (" in done.stderr:
        return f"the {stage.name}: one hangs"
    named = re.search(r"^(?:FAILED|ERROR) \S*?([\w.]+(?:::\w+)?)(?=\[|\s|$)", done.stdout, re.MULTILINE)
    return named[1] if named else f"the {stage.name}: {done.stdout[-200:]}{done.stderr[-200:]}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
