"""The Python of the documents runs as it stands there."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def code_of(page: str) -> str:
    """All blocks of a page as one module, at the lines where they stand."""
    text = (DOCS / page).read_text()
    lines = [""] * text.count("\n")
    for block in BLOCK.finditer(text):
        first = text.count("\n", 0, block.start(1))
        for place, line in enumerate(block[1].splitlines(), first):
            lines[place] = line
    return "\n".join(lines)


def load(page: str) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "page"}
    exec(compile(code_of(page), str(DOCS / page), "exec"), names)
    return names


TESTING = load("reference/testing.md")
EXAMPLES = {name: one for name, one in TESTING.items() if name.startswith("test_")}


def test_the_page_has_its_examples() -> None:
    assert len(EXAMPLES) == 3


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_of_the_page_about_testing_passes(name: str) -> None:
    example: Callable[..., Any] = EXAMPLES[name]
    if name == "test_it_probes_after_its_wait":
        clock = MockClock()
        trio.run(example, clock, clock=clock)
    else:
        example()


def test_the_tutorials_program_does_what_the_tutorial_says(capsys: pytest.CaptureFixture[str]) -> None:
    page = (DOCS / "tutorial" / "first-breaker.md").read_text()
    told = re.search(r"^```text\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert told is not None
    names = load("tutorial/first-breaker.md")
    trio.run(names["main"], clock=MockClock(autojump_threshold=0))
    assert capsys.readouterr().out == told[1]
