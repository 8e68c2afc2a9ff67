"""The shared libraries that mongod needs and a minimal system lacks: links to those in pycurl's wheel."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from deploy.config import StackError

_ABSENT = re.compile(r"^\s*(\S+) => not found$", re.MULTILINE)  # as the loader prints it, also for ldd
_PACKAGES = {
    "libcurl.so.4": "libcurl4 (Debian, Ubuntu) or libcurl (Fedora)",
    "libssl.so.3": "libssl3 (Debian, Ubuntu) or openssl-libs (Fedora)",
    "libcrypto.so.3": "libssl3 (Debian, Ubuntu) or openssl-libs (Fedora)",
}


def environment(mongod: Path, folder: Path) -> dict[str, str]:
    """The variables that mongod needs to find its libraries; none where the system has all of them.

    Writes links to the libraries that are missing into `folder`. The variables are for mongod alone: other
    programs run on the system's libraries. Raises StackError naming each library that is still missing
    then, and the package that installs it.
    """
    absent = missing(mongod)
    if not absent:
        return {}
    bundled = _bundled()
    link(absent, bundled, folder)
    # The bundled libraries need each other by the names they have there.
    path = [str(folder), str(bundled), os.environ.get("LD_LIBRARY_PATH", "")]
    extended = {"LD_LIBRARY_PATH": os.pathsep.join(filter(None, path))}
    if absent := missing(mongod, extended):
        raise StackError("\n".join(map(_advice, absent)))
    return extended


def missing(program: Path, more: Mapping[str, str] | None = None) -> list[str]:
    """The libraries that the loader doesn't find for `program`. `more` is added to its environment."""
    # The loader lists the libraries in place of starting the program; this is what ldd does. A loader that
    # doesn't understand the variable starts the program, which prints its version and ends.
    traced = {**os.environ, **(more or {}), "LD_TRACE_LOADED_OBJECTS": "1"}
    done = subprocess.run(
        [program, "--version"],
        env=traced,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    return list(dict.fromkeys(_ABSENT.findall(done.stdout)))


def link(names: Iterable[str], source: Path, folder: Path) -> None:
    """Make links in `folder` that are called as `names` say, to those libraries in `source`.

    `source` has the file names that auditwheel gives: `libcurl-330bcbb6.so.4.8.0` for `libcurl.so.4`.
    A name that `source` has no file for gets no link.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():  # they may lead to an environment that is gone
        old.unlink()
    for name in names:
        stem, _, version = name.partition(".so")
        bundled_name = re.compile(rf"{re.escape(stem)}-[0-9a-f]+\.so{re.escape(version)}(\.\d+)*")
        if found := [file for file in source.glob("*.so*") if bundled_name.fullmatch(file.name)]:
            (folder / name).symlink_to(found[0])


def _bundled() -> Path:
    """The folder of the libraries in pycurl's wheel. It doesn't exist where pycurl isn't installed."""
    try:
        return Path(str(distribution("pycurl").locate_file("pycurl.libs")))
    except PackageNotFoundError:
        return Path("pycurl.libs")


def _advice(name: str) -> str:
    package = _PACKAGES.get(name, "the package of your system that has it")
    return f"mongod needs {name}: install {package}"
