"""Generates the Python code for school.proto beside it, or with --check exits with 1 if that is stale."""

from __future__ import annotations

import argparse
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROTO = "protocols/school.proto"
GENERATED = ("protocols/school_pb2.py", "protocols/school_pb2.pyi", "protocols/school_grpc.py")


def generate(target: Path) -> None:
    """Generate into `target`, a folder in place of the project's root. Raises CalledProcessError."""
    plugin = Path(sysconfig.get_path("scripts")) / "protoc-gen-grpclib_python"
    subprocess.run(
        [
            *(sys.executable, "-m", "grpc_tools.protoc"),
            f"--plugin=protoc-gen-grpclib_python={plugin}",
            f"--proto_path={ROOT}",
            f"--python_out={target}",
            f"--pyi_out={target}",
            f"--grpclib_python_out={target}",
            PROTO,
        ],
        check=True,
    )


def stale() -> list[str]:
    """Return the generated files that differ from the generator's output."""
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder)
        generate(fresh)
        return [name for name in GENERATED if not _same(ROOT / name, fresh / name)]


def _same(left: Path, right: Path) -> bool:
    return left.exists() and left.read_bytes() == right.read_bytes()


def main() -> int:
    """Generate, or with --check only compare; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail when the generated code is stale")
    if not parser.parse_args().check:
        generate(ROOT)
        return 0
    for name in (found := stale()):
        print(f"{name} is stale: run `just proto`", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
