"""README.md, CONTRIBUTING.md and docs/ refer only to links, headings, files and tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.typing.pages import ROOT, all_pages

PAGES = [*all_pages(), ROOT / "CONTRIBUTING.md"]
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
TOP = "actors|protocols|runtime|gateway|services|deploy|benchmarks|tests|docs"
SOURCE = re.compile(rf"`((?:{TOP})/[\w/.-]+\.\w+)(?:::\w+)?`")
TEST = re.compile(r"\b(test_\w+)\b(?!\.py)")
LINK = re.compile(r"\]\(\s*<?([^)\s>]+)|\b(?:src|srcset|href)=\"([^\"]+)\"")


def links(text: str) -> list[str]:
    """The targets of a page's links and pictures, but for those to other hosts."""
    found = [first or second for first, second in LINK.findall(FENCE.sub("", text))]
    return [target for target in found if not re.match(r"[a-z]+:", target)]


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, by GitHub's rules."""
    made: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.MULTILINE):
        shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        anchor = re.sub(r"[^\w\- ]", "", shown.strip().lower()).replace(" ", "-")
        number = 1
        while anchor in made:
            anchor = f"{anchor.removesuffix(f'-{number - 1}')}-{number}"
            number += 1
        made.add(anchor)
    return made


def broken(page: Path) -> list[str]:
    """The links of a page that lead nowhere."""
    found = []
    for target in links(page.read_text()):
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        if not file.exists() or (anchor and anchor not in anchors(file.read_text())):
            found.append(target)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    assert broken(page) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_named_on_a_page_exists(page: Path) -> None:
    assert [path for path in SOURCE.findall(page.read_text()) if not (ROOT / path).is_file()] == []


@pytest.mark.parametrize("name", ["reference/gateway.md", "explanation/security.md"])
def test_every_test_named_as_a_proof_exists(name: str) -> None:
    text, files = (ROOT / "docs" / name).read_text(), list((ROOT / "tests").rglob("test_*.py"))
    functions = set(re.findall(r"def (test_\w+)\(", "\n".join(file.read_text() for file in files)))
    assert len(set(TEST.findall(text))) > 15
    assert sorted(set(TEST.findall(text)) - functions) == []
    assert sorted(set(re.findall(r"(test_\w+\.py)", text)) - {file.name for file in files}) == []


def threats() -> list[list[str]]:
    """The cells of each row of the tables of threats."""
    page = (ROOT / "docs/explanation/security.md").read_text()
    rows = [line.strip("|").split(" | ") for line in page.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in row] for row in rows if "threat" not in row[0]]


@pytest.mark.parametrize("row", threats(), ids=lambda row: row[0][:40])
def test_every_threat_has_an_answer_and_a_test(row: list[str]) -> None:
    """A test, a file or a folder of tests. For a check by a tool, the tool is named."""
    assert len(row) == 3
    paths = re.findall(r"`(tests/[\w/.]+)`", row[2])
    assert row[1]
    assert paths or TEST.search(row[2]) or row[2] == "uv"
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_a_link_to_nothing_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A page, one\n[ok](#a-page-one) [no](#another) [no](gone.md) [other](https://example.org/)\n"
        '<img src="gone.png">\n![](page.md)\n```python\nx = y[0](gone)\n```\n'
    )
    assert broken(page) == ["#another", "gone.md", "gone.png"]


def test_headings_of_one_text_have_numbered_anchors() -> None:
    assert anchors("# Same\n## Same\n### `open_panel` and [Panel](x.md)\n# Same\n") == {
        "same",
        "same-1",
        "same-2",
        "open_panel-and-panel",
    }
