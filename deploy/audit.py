"""`just audit`: look the locked dependencies up in the database of known vulnerabilities."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from deploy.config import ROOT

# Messages of uv and pip-audit without a network, in lower case.
_UNREACHABLE = (
    "connection error",
    "could not connect",
    "connection refused",
    "dns error",
    "error sending request",
    "failed to fetch",
    "max retries exceeded",
    "network is unreachable",
    "name resolution",
    "serviceerror",
    "timed out",
)


def main() -> int:
    """Print the known vulnerabilities of the packages in uv.lock. Returns 1 if there are any.

    Returns 0, with a message, if the database can't be reached.
    """
    with tempfile.TemporaryDirectory() as folder:
        listed = Path(folder) / "requirements.txt"
        export = ["uv", "export", "--frozen", "--all-groups", "--all-extras", "--no-emit-project"]
        subprocess.run([*export, "--quiet", "--output-file", str(listed)], cwd=ROOT, check=True)
        # The hashes of uv.lock: a package with another content isn't looked up, it is refused.
        audit = ["uvx", "pip-audit", "--disable-pip", "--require-hashes", "--requirement", str(listed)]
        done = subprocess.run(audit, cwd=ROOT, capture_output=True, text=True, check=False)
    return judge(done.returncode, done.stdout, done.stderr)


def judge(status: int, output: str, errors: str) -> int:
    """Print what pip-audit has found, and return the exit status."""
    if status and not output.strip() and any(one in errors.lower() for one in _UNREACHABLE):
        reason = errors.strip().splitlines()[-1]
        print(f"Nothing was checked: the database of vulnerabilities can't be reached ({reason}).")
        return 0
    print(output + errors, end="")
    return 1 if status else 0


if __name__ == "__main__":
    sys.exit(main())
