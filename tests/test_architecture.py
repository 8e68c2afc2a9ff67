"""docs/explanation/architecture.md describes the real tree: its folders, its files, its words."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.typing.pages import ROOT

PACKAGES = ("actors", "protocols", "runtime", "gateway", "services", "deploy", "benchmarks")
PAGE = (ROOT / "docs/explanation/architecture.md").read_text()
TREE = PAGE.partition("\n## The tree\n")[2].partition("\n## ")[0]
GLOSSARY = PAGE.partition("\n## Glossary\n")[2]
ENTRY = re.compile(r"^( *)- `([\w/.-]+)/`")


def entries(tree: str) -> list[tuple[str, str]]:
    """Each folder of the tree with the text about it."""
    found: list[tuple[str, str]] = []
    for line in tree.splitlines():
        if entry := ENTRY.match(line):
            found.append((entry[2], line))
        elif found and line.startswith(" "):
            found[-1] = found[-1][0], found[-1][1] + line
    return found


def folders(root: Path) -> set[str]:
    """Every folder of the packages that has a file."""
    return {
        file.parent.relative_to(root).as_posix()
        for package in PACKAGES
        for file in (root / package).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }


def test_the_tree_lists_every_folder_once_and_none_that_is_not_there() -> None:
    assert sorted(name for name, _ in entries(TREE)) == sorted(folders(ROOT))


def test_a_folder_stands_below_its_parent() -> None:
    for line in filter(None, map(ENTRY.match, TREE.splitlines())):
        assert len(line[1]) == 2 * line[2].count("/"), line[2]


@pytest.mark.parametrize(("folder", "text"), entries(TREE), ids=[name for name, _ in entries(TREE)])
def test_a_file_named_in_the_tree_is_in_its_folder(folder: str, text: str) -> None:
    named = re.findall(r"`(\w+\.(?:py|toml|proto))`", text)
    assert [name for name in named if not is_there(folder, name)] == []


def is_there(folder: str, name: str) -> bool:
    return (ROOT / folder / name).is_file() or (ROOT / name).is_file()


def test_every_path_named_on_the_page_exists() -> None:
    paths = set(re.findall(r"`((?:\w+/)+(?:[\w.]+)?)`", PAGE))
    assert {"actors/call/guard.py", "gateway/workers/"} <= paths
    assert sorted(path for path in paths if not (ROOT / path).exists()) == []


def test_the_glossary_has_each_word_once_in_order() -> None:
    words = re.findall(r"^\| ([^|]+) \|", GLOSSARY, re.MULTILINE)[1:]
    assert len(words) == 31
    assert words == sorted(set(words))
