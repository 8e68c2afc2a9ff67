"""Check the types of the Python in README.md and docs/: `python -m tests.typing.pages`, part of `just lint`.

All ```python blocks of a page are one module. Each line of it has the number that it has on the page.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def all_pages() -> list[Path]:
    """README.md and every page of docs/."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def code_of(page: Path) -> str:
    """All blocks of a page as one module, at the lines where they stand. Empty without blocks."""
    text = page.read_text()
    lines = [""] * text.count("\n")
    for block in BLOCK.finditer(text):
        first = text.count("\n", 0, block.start(1))
        for place, line in enumerate(block[1].splitlines(), first):
            lines[place] = line
    return "\n".join(lines).rstrip()


def errors_of(pages: Iterable[Path]) -> str:
    """The errors that mypy --strict finds in the code of these pages; empty without any.

    Each line begins with the page's path and the line there. pyproject.toml configures mypy further.
    """
    with TemporaryDirectory() as folder:
        modules: dict[str, Path] = {}
        for page in pages:
            if code := code_of(page):
                module = Path(folder, re.sub(r"\W", "_", f"page{len(modules)}_{page.stem}") + ".py")
                module.write_text(code + "\n")
                modules[str(module)] = page
        command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", *modules]
        run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    found = run.stdout + run.stderr
    for module_path, page in modules.items():
        found = found.replace(module_path, str(page.relative_to(ROOT) if page.is_relative_to(ROOT) else page))
    return found


if __name__ == "__main__":
    if errors := errors_of(all_pages()):
        sys.exit(errors.rstrip())
