"""`python -m benchmarks [NAME [ARGUMENTS]]`: run one of BENCHMARKS, or all of them."""

from __future__ import annotations

import subprocess
import sys

BENCHMARKS = {
    "core": "breaker",
    "gateway": "gateway",
    "observing": "observing",
    "shared": "sharing",
    "adaptive": "adaptive",
}
"""By the name that `just bench` takes: the package below this one."""

if __name__ == "__main__":
    words = sys.argv[1:]
    chosen = [words.pop(0)] if words and words[0] in BENCHMARKS else list(BENCHMARKS)
    for name in chosen:
        if subprocess.run(
            [sys.executable, "-m", f"benchmarks.{BENCHMARKS[name]}", *words], check=False
        ).returncode:
            raise SystemExit(1)
