"""The deliberate faults of faults/*.toml: reading them, checking them against the tree, applying them.

A file has `tests`, the tests that must notice its faults, and any number of `[[fault]]`: `name`; `rule`, the
rule that the fault breaks; `[[fault.edits]]` with `file`, `old` and `new`, where `old` occurs exactly once in
the file; and, where not all tests of the file are needed, `tests` of its own.
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

FAULTS = Path(__file__).parent / "faults"


class BadFaultFileError(Exception):
    """A file of faults can't be read; str() says which and why."""


class StaleFaultError(Exception):
    """The code that a fault breaks isn't there any more, or is there twice; or its tests can't be run."""


class Edit(NamedTuple):
    """A text that occurs once in a file, and the text in its place. file: relative to the tree's root."""

    file: str
    old: str
    new: str


class Fault(NamedTuple):
    """group: the name of its file, without the ending. tests: what is given to pytest, in this order."""

    name: str
    rule: str
    group: str
    edits: tuple[Edit, ...]
    tests: tuple[str, ...]

    @property
    def part(self) -> str:
        """What comes before the first hyphen of its group."""
        return self.group.partition("-")[0]


def read_faults(folder: Path = FAULTS) -> list[Fault]:
    """All faults, in the order of their files. Raises BadFaultFileError."""
    found = []
    for path in sorted(folder.glob("*.toml")):
        try:
            found += list(_faults(path.stem, tomllib.loads(path.read_text("utf-8"))))
        except (tomllib.TOMLDecodeError, KeyError, TypeError) as error:
            raise BadFaultFileError(f"{path.name}: {error!r}") from error
    return found


def _faults(group: str, content: dict[str, Any]) -> Iterator[Fault]:
    for one in content["fault"]:
        edits = tuple(Edit(**edit) for edit in one["edits"])
        tests = tuple(one.get("tests", content["tests"]))
        yield Fault(one["name"], one["rule"], group, edits, tests)


def problems(faults: Sequence[Fault], root: Path) -> list[str]:
    """Why faults can't be tried on the tree at `root`: a line for each."""
    counts = Counter(one.name for one in faults)
    found = [f"{name}: {count} faults have this name" for name, count in counts.items() if count > 1]
    texts: dict[str, str] = {}
    for fault in faults:
        try:
            for text in _edited(fault, root, texts).values():
                ast.parse(text)
        except (StaleFaultError, SyntaxError) as error:
            # Any test would notice what isn't Python.
            found.append(f"{fault.name}: {error}")
        found += [f"{fault.name}: no such test: {test}" for test in fault.tests if not _exists(test, root)]
    return found


def apply(fault: Fault, root: Path) -> None:
    """Break the tree at `root`. Raises StaleFaultError, and changes nothing then."""
    for file, text in _edited(fault, root, {}).items():
        path = root / file
        path.write_text(text, "utf-8")
        # Bytecode is told from stale bytecode by seconds and size, and both may be the same.
        for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*"):
            compiled.unlink()


def _edited(fault: Fault, root: Path, texts: dict[str, str]) -> dict[str, str]:
    """The files that a fault changes, as they are then. texts: those read before, which are added to."""
    edited: dict[str, str] = {}
    for edit in fault.edits:
        if edit.file not in texts:
            path = root / edit.file
            texts[edit.file] = path.read_text("utf-8") if path.is_file() else ""
        text = edited.get(edit.file, texts[edit.file])
        count = text.count(edit.old)
        if count != 1 or edit.old == edit.new:
            raise StaleFaultError(f"the text to change occurs {count} times in {edit.file}")
        edited[edit.file] = text.replace(edit.old, edit.new)
    return edited


def _exists(test: str, root: Path) -> bool:
    file, _, name = test.partition("::")
    path = root / file
    if not name:
        return path.exists()
    function = rf"^(async )?def {re.escape(name)}\("
    return path.is_file() and re.search(function, path.read_text("utf-8"), re.MULTILINE) is not None
