"""The API page has every public name, and the examples of docstrings are on a page."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import actors
import actors.testing
from tests.actors.pages.loading import DOCS
from tests.typing.pages import all_pages, code_of


def test_the_reference_has_every_public_name() -> None:
    page = (DOCS / "reference/api.md").read_text()
    assert [name for name in actors.__all__ if not re.search(rf"\b{name}\b", page)] == []


def test_the_machine_has_every_name_of_the_reference() -> None:
    section = (DOCS / "reference/api.md").read_text().partition("\n## Machine\n")[2]
    names = set(re.findall(r"`\.(\w+)", section))
    assert {"admit", "settle", "wake"} <= names
    assert [name for name in sorted(names) if not hasattr(actors.Machine, name)] == []


def examples_in_docstrings() -> Iterator[tuple[str, list[str]]]:
    """The indented blocks of the docstrings of actors and its adapters, with the place of each."""
    for file in sorted(Path(actors.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                text = ast.get_docstring(node) or ""
                for block in re.findall(r"\n\n((?: {4}.*(?:\n|\Z)|\n(?= {4}))+)", text):
                    yield f"{file.stem}.{getattr(node, 'name', 'module')}", statements(block)


def statements(code: str) -> list[str]:
    return [line.strip() for line in code.splitlines() if line.strip()]


def test_an_example_in_a_docstring_stands_in_the_documents_too() -> None:
    pages = ["\n".join(statements(code_of(page))) for page in all_pages()]
    examples = {name: "\n".join(lines) for name, lines in examples_in_docstrings()}
    assert {"httpx.BreakerTransport", "logs.log_transitions"} <= examples.keys()
    assert [name for name, code in examples.items() if not any(code in page for page in pages)] == []
