"""Files and folders that only the user of the stack can read."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from deploy.config import StackError
from deploy.credentials import private_files


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.fixture(autouse=True)
def _lax_umask() -> object:
    before = os.umask(0)
    yield
    os.umask(before)


def test_a_file_is_private_also_if_an_older_one_was_not(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.touch(mode=0o666)
    private_files.write(path, "x")
    assert (mode(path), path.read_text()) == (0o600, "x")
    assert list(tmp_path.iterdir()) == [path]


def test_a_half_written_file_of_a_killed_process_is_replaced(tmp_path: Path) -> None:
    """The half-written file is never taken for the file, and a link in its place isn't followed."""
    other = tmp_path / "other"
    other.write_text("untouched")
    (tmp_path / ".a.new").symlink_to(other)
    private_files.write(tmp_path / "a", "x")
    assert (tmp_path / "a").read_text() == "x"
    assert other.read_text() == "untouched"


def test_a_secret_is_made_once(tmp_path: Path) -> None:
    """It is made again if its file is empty."""
    path = tmp_path / "a"
    assert private_files.kept_secret(path) == ""
    first = private_files.secret(path)
    assert len(first) == 48
    assert private_files.secret(path) == private_files.kept_secret(path) == first
    assert mode(path) == 0o600
    path.write_text("\n")
    assert private_files.secret(path) not in ("", first)


def test_a_folder_becomes_private(tmp_path: Path) -> None:
    open_one = tmp_path / "a"
    open_one.mkdir(mode=0o777)
    for folder in (open_one, tmp_path / "b" / "c"):
        private_files.make_folder(folder)
        assert mode(folder) == 0o700


def test_all_that_an_earlier_version_left_open_is_closed(tmp_path: Path) -> None:
    """The target of a link isn't changed. A program stays executable for its owner."""
    outside = tmp_path / "outside"
    outside.touch(mode=0o644)
    folder = tmp_path / "stack"
    (folder / "logs").mkdir(parents=True, mode=0o755)
    (folder / "logs" / "a.log").touch(mode=0o644)
    (folder / "program").touch(mode=0o755)
    (folder / "link").symlink_to(outside)
    private_files.close_to_others(folder)
    assert [mode(folder / name) for name in (".", "logs", "logs/a.log", "program")] == [
        0o700,
        0o700,
        0o600,
        0o700,
    ]
    assert mode(outside) == 0o644


@pytest.mark.skipif(os.getuid() != 0, reason="only root can make a file of another user")
def test_a_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    os.chown(tmp_path, 65534, 65534)
    with pytest.raises(StackError, match="belongs to another user"):
        private_files.make_folder(tmp_path)
