"""Run pytest in forks of a process that has already imported the installed packages: most of a run's time."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
_PACKAGES = """
    pytest pytest_trio hypothesis trio trio_asyncio httpx httptools h2.connection hypercorn.trio.tcp_server
    quart quart_trio quart_schema pydantic structlog limits.strategies prometheus_client cryptography.x509
    opentelemetry.sdk.trace
"""
_context = multiprocessing.get_context("forkserver")
# Packages that aren't installed are ignored.
_context.set_forkserver_preload(_PACKAGES.split())


def run_pytest(arguments: Sequence[str], folder: Path, environment: dict[str, str]) -> tuple[int, str]:
    """Run pytest in `folder`, with `folder` first on sys.path. Returns its exit code and its output."""
    output = folder / ".pytest-output"
    process = _context.Process(target=_run, args=(list(arguments), folder, environment, output))
    process.start()
    process.join()
    return process.exitcode or 0, output.read_text("utf-8", "replace")


def _run(arguments: list[str], folder: Path, environment: dict[str, str], output: Path) -> None:
    import pytest

    file = os.open(output, os.O_WRONLY | os.O_CREAT)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.environ.update(environment)
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    # Forget modules of the original tree, which doesn't have the fault.
    own = {path.stem for path in ROOT.iterdir()}
    for name in [one for one in sys.modules if one.partition(".")[0] in own]:
        del sys.modules[name]
    code = pytest.main(arguments)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
