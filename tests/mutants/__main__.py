"""Apply deliberate faults, one at a time, and check that a test fails for each.

`just mutants [NAME…]`. A name is that of a fault, of a folder in faults/, such as `breaker`, or of a file in
one, such as `breaker/actor`. Each fault is applied to a copy of the tree, and its tests run until one fails.
The exit status is 1 if a fault survives or is stale, or if the tests fail without a fault. `--check` only
checks that every fault can be applied.
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from tests.mutants.fault_files import BadFaultFileError, Fault, StaleFaultError, apply, problems, read_faults
from tests.mutants.warm_pytest import run_pytest

ROOT = Path(__file__).parents[2]
COPIED = ("actors", "protocols", "runtime", "services", "deploy", "gateway", "benchmarks", "tests")
AT_ONCE = 2
HANG_SECONDS = 20
"""A test that takes longer hangs, which counts as a failure."""
SLOW_SECONDS = 10.0
"""The time is printed for a fault that takes longer. Its `tests` should name the test that catches it."""


class Verdict(NamedTuple):
    """The result of one fault. seconds: the time of its tests."""

    is_caught: bool
    text: str
    seconds: float


def main(arguments: list[str]) -> int:
    """Try the named faults, or all. Returns the exit status."""
    try:
        faults = read_faults()
    except BadFaultFileError as error:
        print(error)
        return 1
    if arguments == ["--check"]:
        return _check(faults)
    start = time.monotonic()
    chosen = _chosen(faults, set(arguments))
    with ThreadPoolExecutor(AT_ONCE) as pool:
        if found := next(filter(None, pool.map(_failure_without_fault, _test_runs(chosen))), None):
            print(f"a test fails without any fault: {found}")
            return 1
        missed = 0
        for fault, verdict in zip(chosen, pool.map(judge, chosen), strict=True):
            missed += not verdict.is_caught
            slow = f"  ({verdict.seconds:.0f} s)" if verdict.seconds > SLOW_SECONDS else ""
            print(f"{verdict.text:<70} {fault.name}{slow}", flush=True)
            if not verdict.is_caught:
                print(f"  {fault.rule}")
    print(
        f"{len(chosen)} faults, {len(chosen) - missed} caught, {missed} not, {time.monotonic() - start:.0f} s"
    )
    return 1 if missed else 0


def _check(faults: Sequence[Fault]) -> int:
    found = problems(faults, ROOT)
    for line in found:
        print(f"STALE: {line}")
    print(f"{len(faults)} faults, {len(found)} problems")
    return 1 if found else 0


def _chosen(faults: Sequence[Fault], names: set[str]) -> list[Fault]:
    known = {name for one in faults for name in (one.name, one.group, one.part)}
    if unknown := names - known:
        sys.exit(f"no such fault: {', '.join(sorted(unknown))}")
    return [one for one in faults if not names or names & {one.name, one.group, one.part}]


def _test_runs(faults: Sequence[Fault]) -> list[tuple[str, ...]]:
    """The tests of the faults, without duplicates. All tests of a group are in one run."""
    runs: dict[str, dict[str, None]] = {}
    seen: set[str] = set()
    for fault in faults:
        for test in fault.tests:
            if test not in seen and test.partition("::")[0] not in seen:
                seen.add(test)
                runs.setdefault(fault.group, {})[test] = None
    return [tuple(tests) for tests in runs.values()]


def judge(fault: Fault) -> Verdict:
    """Run the fault's tests on a copy with the fault."""
    start = time.monotonic()
    try:
        found = _failure(fault.tests, fault)
    except StaleFaultError as error:
        return Verdict(False, f"STALE: {error}", 0.0)
    seconds = time.monotonic() - start
    text = "SURVIVED" if found is None else f"caught by {found}"
    return Verdict(found is not None, text, seconds)


def _failure_without_fault(tests: Sequence[str]) -> str | None:
    try:
        return _failure(tests)
    except StaleFaultError as error:
        return str(error)


def _failure(tests: Sequence[str], fault: Fault | None = None) -> str | None:
    """The first test that fails in a copy of the tree with the fault; None if all pass."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        copy = Path(folder)
        for name in COPIED:
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("mutants"))
        shutil.copy(ROOT / "pyproject.toml", copy)
        if fault is not None:
            apply(fault, copy)
        return _first_failure(tests, copy)


def _first_failure(tests: Sequence[str], copy: Path) -> str | None:
    arguments = ["-x", "-q", "--no-header", "--tb=no", "--assert=plain", "-p", "no:cacheprovider"]
    arguments += ["-p", "no:xdist", "-p", "no:cov", "--hypothesis-seed=0"]
    arguments += ["-o", f"faulthandler_timeout={HANG_SECONDS}", "-o", "faulthandler_exit_on_timeout=true"]
    environment = {
        # Import the copy, not the installed packages. The copied bytecode is used for unchanged files.
        "PYTHONPATH": str(copy),
        "PYTHONDONTWRITEBYTECODE": "1",
        "HYPOTHESIS_STORAGE_DIRECTORY": str(copy / ".hypothesis"),
    }
    code, printed = run_pytest([*arguments, *tests], copy, environment)
    if not code:
        return None
    if "Timeout (" in printed:
        hung = re.search(r'File "\S*/(test_\w+\.py)", line \d+ in (test_\w+)', printed)
        return f"{hung[1]}::{hung[2]}, which hangs" if hung else "a test that hangs"
    # ERROR: the fault prevents the import of a test's file.
    named = re.search(r"^(?:FAILED|ERROR) \S*?([\w.]+(?:::\w+)?)(?=\[|\s|$)", printed, re.MULTILINE)
    if named is None:
        raise StaleFaultError(f"pytest couldn't run the tests: {printed[-400:]}")
    return named[1]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
