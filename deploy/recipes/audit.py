"""`just audit`: look the locked dependencies up in the database of known vulnerabilities."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

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

    Returns 0, with a message, if the database can't be reached or doesn't know the packages.
    """
    with tempfile.TemporaryDirectory() as folder:
        listed = Path(folder) / "requirements.txt"
        export = ["uv", "export", "--frozen", "--all-groups", "--all-extras", "--no-emit-project"]
        subprocess.run([*export, "--quiet", "--output-file", str(listed)], cwd=ROOT, check=True)
        # The hashes of uv.lock: a package with another content isn't looked up, it is refused.
        audit = ["uvx", "--quiet", "pip-audit", "--disable-pip", "--require-hashes", "--format", "json"]
        audit += ["--requirement", str(listed)]
        done = subprocess.run(audit, cwd=ROOT, capture_output=True, text=True, check=False)
    return judge(done.returncode, done.stdout, done.stderr)


def judge(status: int, output: str, errors: str) -> int:
    """Print what pip-audit has found, and return the exit status."""
    try:
        dependencies: list[dict[str, Any]] = json.loads(output)["dependencies"]
    except (ValueError, KeyError):
        return _failed(status, errors)
    checked = [one for one in dependencies if "skip_reason" not in one]
    found = [(one, vulnerability) for one in checked for vulnerability in one["vulns"]]
    for one, vulnerability in found:
        fixed = ", ".join(vulnerability["fix_versions"]) or "no version"
        print(f"{one['name']} {one['version']}: {vulnerability['id']}, fixed in {fixed}")
    if not checked:
        print("Nothing was checked: the package index has no data about vulnerabilities.")
    elif not found:
        print(f"{len(checked)} packages have no known vulnerability.")
    if checked and (skipped := [str(one["name"]) for one in dependencies if "skip_reason" in one]):
        print(f"Not checked: {', '.join(skipped)}")
    return 1 if found else 0


def _failed(status: int, errors: str) -> int:
    """Print why there is no result. A missing network is no failure."""
    if any(one in errors.lower() for one in _UNREACHABLE):
        reason = errors.strip().splitlines()[-1]
        print(f"Nothing was checked: the database of vulnerabilities can't be reached ({reason}).")
        return 0
    print(errors, end="")
    return status or 1


if __name__ == "__main__":
    sys.exit(main())
