"""The Python of README.md and docs/ is typed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.typing.pages import all_pages, code_of, errors_of

PYTHON = re.compile(r"^ {4}(from [\w.]+ import |import \w|async (def|with|for) |(.*= )?await )", re.MULTILINE)


# The type check of the pages.


def test_an_error_is_reported_at_its_place_on_the_page(tmp_path: Path) -> None:
    page = tmp_path / "a-page.md"
    blocks = ("x: int = 1\n", "y: str = x\n\ndef f(): ...\n")
    page.write_text("# A page\n" + "".join(f"\nAnd:\n\n```python\n{block}```\n" for block in blocks))
    other = tmp_path / "other.md"
    other.write_text("```python\nx: str = ''\n```\n")
    found = errors_of([page, other]).splitlines()
    assert found[0].startswith(f"{page}:12: error: Incompatible types in assignment")
    assert found[1].startswith(f"{page}:14: error: Function is missing a return type annotation")
    assert not any(str(other) in line for line in found)


def test_a_page_without_code_is_no_module(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```text\nx: int = 'one'\n```\n")
    assert (code_of(page), errors_of([page])) == ("", "")


@pytest.mark.parametrize("page", all_pages(), ids=lambda page: page.name)
def test_all_python_of_a_page_is_fenced_and_so_is_checked(page: Path) -> None:
    text = page.read_text()
    assert set(re.findall(r"^ *(?:```|~~~)(.+)$", text, re.MULTILINE)) <= {"python", "text"}
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    assert not PYTHON.search(prose)
