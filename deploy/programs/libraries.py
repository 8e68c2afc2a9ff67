"""Shared libraries that mongod needs and a minimal system lacks: links to the ones in pycurl's wheel."""

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
    """The environment variables with which mongod finds its libraries; empty if the system has all of them.

    Links the missing libraries into `folder`. Set the variables for mongod only: other programs use the
    system's libraries. Raises StackError, with the package to install, for each library still missing.
    """
    absent = missing(mongod)
    if not absent:
        return {}
    bundled = _bundled()
    link(absent, bundled, folder)
    # The bundled libraries find each other by their names in the wheel's folder.
    path = [str(folder), str(bundled), os.environ.get("LD_LIBRARY_PATH", "")]
    extended = {"LD_LIBRARY_PATH": os.pathsep.join(filter(None, path))}
    if absent := missing(mongod, extended):
        raise StackError("\n".join(map(_advice, absent)))
    return extended


def missing(program: Path, more: Mapping[str, str] | None = None) -> list[str]:
    """The libraries that the loader doesn't find for `program`. more: added to the environment."""
    # With this variable the loader lists the libraries and doesn't start the program, as for ldd. A loader
    # that ignores the variable starts the program, which prints its version and ends.
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
    """Link libraries from `source` into `folder` under their usual names. Removes all older links.

    The files in `source` have auditwheel's names: `libcurl-330bcbb6.so.4.8.0` for `libcurl.so.4`.
    A name without a file in `source` gets no link.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():  # it may point into an environment that was deleted
        old.unlink()
    for name in names:
        stem, _, version = name.partition(".so")
        bundled_name = re.compile(rf"{re.escape(stem)}-[0-9a-f]+\.so{re.escape(version)}(\.\d+)*")
        if found := [file for file in source.glob("*.so*") if bundled_name.fullmatch(file.name)]:
            (folder / name).symlink_to(found[0])


def _bundled() -> Path:
    """The folder of the libraries in pycurl's wheel. It doesn't exist if pycurl isn't installed."""
    try:
        return Path(str(distribution("pycurl").locate_file("pycurl.libs")))
    except PackageNotFoundError:
        return Path("pycurl.libs")


def _advice(name: str) -> str:
    package = _PACKAGES.get(name, "your system's package that has it")
    return f"mongod needs {name}: install {package}"
