"""Check the types of the Python in README.md and docs/: `python -m tests.typing.pages`, part of `just lint`.

All ```python blocks of a page are one module. Each line of it has the number that it has on the page.

The pages import the installed package, `trio_breakers`. In this repository the package is the folder
`actors`, so the blocks are checked, and run by the tests, with that name in its place.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[2]
INSTALLED = re.compile(r"\btrio_breakers\b")
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def all_pages() -> list[Path]:
    """README.md and every page of docs/."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def code_of(page: Path) -> str:
    """All blocks of a page as one module, at the lines where they stand. Empty without blocks.

    The package has the name that it has in this repository.
    """
    text = INSTALLED.sub("actors", page.read_text())
    lines = [""] * text.count("\n")
    for block in BLOCK.finditer(text):
        first = text.count("\n", 0, block.start(1))
        for place, line in enumerate(block[1].splitlines(), first):
            lines[place] = line
    return "\n".join(lines).rstrip()


def errors_of(pages: Iterable[Path]) -> str:
    """The errors that mypy finds in the code of these pages, under pyproject.toml; empty without any.

    Each line begins with the page's path and the line there.
    """
    with TemporaryDirectory() as folder:
        names: dict[str, str] = {}
        for page in pages:
            if code := code_of(page):
                module = re.sub(r"\W", "_", f"page{len(names)}_{page.stem}") + ".py"
                names[module] = str(page.relative_to(ROOT) if page.is_relative_to(ROOT) else page)
                Path(folder, module).write_text(code + "\n")
        if not names:
            return ""
        command = [sys.executable, "-m", "mypy", "--no-error-summary"]
        run = subprocess.run(
            [*command, *(str(Path(folder, module)) for module in names)],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
    # The folder may be that of an earlier run: mypy repeats what its cache has found in the same code.
    place = re.compile(r"^.*?(page\d+_\w+\.py)(?=:)", re.MULTILINE)
    return place.sub(lambda found: names[found[1]], run.stdout + run.stderr)


if __name__ == "__main__":
    if errors := errors_of(all_pages()):
        sys.exit(errors.rstrip())
