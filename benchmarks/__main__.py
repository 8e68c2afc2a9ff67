"""`python -m benchmarks [core|gateway|observing] [ARGUMENTS]`: one of them, or all."""

from __future__ import annotations

import subprocess
import sys

PARTS = ("core", "gateway", "observing")

if __name__ == "__main__":
    words = sys.argv[1:]
    chosen = [words.pop(0)] if words and words[0] in PARTS else list(PARTS)
    for part in chosen:
        if subprocess.run([sys.executable, "-m", f"benchmarks.{part}", *words], check=False).returncode:
            raise SystemExit(1)
