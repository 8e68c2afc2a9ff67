"""Files and folders that only the user of the stack can read."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from deploy.config import StackError

_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def make_folder(folder: Path) -> None:
    """Create a folder of mode 0700, or give it this mode. Raises StackError if it is another user's."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise StackError(f"{folder} belongs to another user")
    folder.chmod(0o700)


def close_to_others(folder: Path) -> None:
    """Take the permissions of other users from a folder and all that it contains, except through links."""
    make_folder(folder)
    for path in folder.rglob("*"):
        found = path.lstat()
        if not stat.S_ISLNK(found.st_mode) and found.st_mode & _OTHERS:
            path.chmod(stat.S_IMODE(found.st_mode) & ~_OTHERS)


def write(path: Path, text: str) -> None:
    """Replace a file by one of mode 0600. If the process is killed, the old file or the new one is there."""
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    with open(
        new, "x", errors="surrogateescape", opener=lambda name, flags: os.open(name, flags, 0o600)
    ) as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(text)
    new.replace(path)


def kept_secret(path: Path) -> str:
    """The secret in a file; empty if there is none."""
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        return ""


def secret(path: Path) -> str:
    """The secret in a file. A missing or empty file gets a new secret of 48 hexadecimal digits first."""
    if found := kept_secret(path):
        return found
    made = secrets.token_hex(24)
    write(path, f"{made}\n")
    return made
