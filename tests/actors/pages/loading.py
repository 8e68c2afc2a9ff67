"""Load the Python of a page as a module."""

from __future__ import annotations

from typing import Any

from tests.typing.pages import ROOT, code_of

DOCS = ROOT / "docs"


def load(page: str) -> dict[str, Any]:
    """Run all blocks of a page as one module; its names."""
    names: dict[str, Any] = {"__name__": "page"}
    exec(compile(code_of(ROOT / page), str(ROOT / page), "exec"), names)
    return names
