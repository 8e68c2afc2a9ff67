"""The deliberate faults in faults/*/*.toml: read them, check them against the tree, apply them.

A file has `tests`, of which one must fail for each fault, and any number of `[[fault]]`. A fault has `name`;
`rule`, the rule that it breaks; `[[fault.edits]]` with `file`, `old` and `new`, where `old` occurs exactly
once in the file; and optionally `tests` of its own.
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
    """A file of faults can't be read. The message has its name and the reason."""


class StaleFaultError(Exception):
    """A fault's `old` text doesn't occur exactly once, or its tests can't be run."""


class Edit(NamedTuple):
    """Replace `old`, which occurs once in the file, by `new`. file: relative to the tree's root."""

    file: str
    old: str
    new: str


class Fault(NamedTuple):
    """group: its file below faults/, without `.toml`. tests: arguments of pytest, in this order."""

    name: str
    rule: str
    group: str
    edits: tuple[Edit, ...]
    tests: tuple[str, ...]

    @property
    def part(self) -> str:
        """The folder of its file."""
        return self.group.partition("/")[0]


def read_faults(folder: Path = FAULTS) -> list[Fault]:
    """All faults, in the order of their files. Raises BadFaultFileError."""
    found = []
    for path in sorted(folder.glob("*/*.toml")):
        try:
            group = path.relative_to(folder).with_suffix("").as_posix()
            found += list(_faults(group, tomllib.loads(path.read_text("utf-8"))))
        except (tomllib.TOMLDecodeError, KeyError, TypeError) as error:
            raise BadFaultFileError(f"{path.relative_to(folder)}: {error!r}") from error
    return found


def _faults(group: str, content: dict[str, Any]) -> Iterator[Fault]:
    for one in content["fault"]:
        edits = tuple(Edit(**edit) for edit in one["edits"])
        tests = tuple(one.get("tests", content["tests"]))
        yield Fault(one["name"], one["rule"], group, edits, tests)


def problems(faults: Sequence[Fault], root: Path) -> list[str]:
    """One line for each reason why a fault can't be tried on the tree at `root`."""
    counts = Counter(one.name for one in faults)
    found = [f"{name}: {count} faults have this name" for name, count in counts.items() if count > 1]
    texts: dict[str, str] = {}
    for fault in faults:
        try:
            for text in _edited(fault, root, texts).values():
                ast.parse(text)
        except (StaleFaultError, SyntaxError) as error:
            # A syntax error would fail every test, and so prove nothing.
            found.append(f"{fault.name}: {error}")
        found += [f"{fault.name}: no such test: {test}" for test in fault.tests if not _exists(test, root)]
    return found


def apply(fault: Fault, root: Path) -> None:
    """Apply a fault to the tree at `root`. Raises StaleFaultError before it changes anything."""
    for file, text in _edited(fault, root, {}).items():
        path = root / file
        path.write_text(text, "utf-8")
        # Python compares time (in seconds) and size of a source with its bytecode; both may be equal.
        for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*"):
            compiled.unlink()


def _edited(fault: Fault, root: Path, texts: dict[str, str]) -> dict[str, str]:
    """The new texts of the files that a fault changes. texts: a cache of files that were read."""
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
